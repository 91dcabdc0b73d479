//! `cargo xtask bench growth`: what a client and the coordinator compute and send in a secure round
//! as the cohort grows: with a coordinator that is not trusted, over complete graphs, and with one
//! that is trusted to follow the protocol, over sparse ones above 512 clients. The vectors are small:
//! what is left is the protocol.
//!
//! `--clients 10,100` names other cohorts.

use std::process::ExitCode;

use roundelay_program::note;
use roundelay_protocol::limits::COMPLETE_COHORT_MAX;
use roundelay_protocol::manifest::{CoordinatorTrust, Rules};
use roundelay_protocol::testing;
use roundelay_tests::bench::in_process::{Costs, Federation};
use roundelay_tests::bench::{Figure, machine, tell_parts, wants_json};

const PARAMETERS: u32 = 100;
const COHORTS: [usize; 3] = [10, 100, 1_000];

fn main() -> ExitCode {
    let figures = cohorts().and_then(|cohorts| {
        let parts = cohorts.into_iter().map(part).collect::<Result<Vec<_>, _>>()?;
        Ok(parts.into_iter().flatten().collect::<Vec<_>>())
    });
    match figures {
        Ok(figures) => tell_parts(&figures, wants_json()),
        Err(reason) => {
            note!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn cohorts() -> Result<Vec<usize>, String> {
    let arguments: Vec<String> = std::env::args().collect();
    let Some(at) = arguments.iter().position(|one| one == "--clients") else {
        return Ok(COHORTS.to_vec());
    };
    let given = arguments.get(at + 1).map(|given| given.split(',').map(str::parse).collect());
    match given {
        Some(Ok(cohorts)) => Ok(cohorts),
        _ => Err("--clients takes numbers, such as 10,100".to_owned()),
    }
}

fn part(clients: usize) -> Result<Vec<Figure>, String> {
    let (coordinator, graph) = if clients > COMPLETE_COHORT_MAX {
        (CoordinatorTrust::SemiHonest, "sparse")
    } else {
        (CoordinatorTrust::Malicious, "complete")
    };
    let rules = Rules { coordinator, dropout_permille: 100, ..testing::rules() };
    let mut federation =
        Federation::new(clients, PARAMETERS, rules).map_err(|error| error.to_string())?;
    let degree = federation.degree();
    let Costs { client, coordinator, .. } =
        federation.round(0).map_err(|error| error.to_string())?;
    let each = clients as f64;
    let figure = |what: &str, ours: f64, unit| Figure {
        bench: "growth",
        part: Some(format!("{clients} clients, {graph} graph of degree {degree}: {what}")),
        ours,
        reference: None,
        unit,
        ratio: None,
        target: None,
        pass: true,
        runs: 1,
        machine: machine(),
        notes: Vec::new(),
    };
    Ok(vec![
        figure("a client's processor time", client.seconds * 1_000.0, "ms"),
        figure("the coordinator's for each client", coordinator.seconds * 1_000.0 / each, "ms"),
        figure("sent by a client", client.sent as f64 / 1_024.0, "KiB"),
        figure("received by a client", client.received as f64 / 1_024.0, "KiB"),
    ])
}
