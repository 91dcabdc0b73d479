//! `cargo xtask bench secagg-cpu`: processor time of a whole secure round on the complete graph, of
//! the coordinator and of a client, against Flower's SecAgg+ with all clients as neighbours and half
//! of them as threshold.
//!
//! Both sides run in one process, without sockets or disks. Ours encodes and decodes every message,
//! signs, agrees on post-quantum keys and steps to the next model; Flower's messages pass as
//! objects. Flower's round of a hundred clients takes minutes and is run once.

use std::process::ExitCode;

use roundelay_program::note;
use roundelay_protocol::testing;
use roundelay_tests::bench::in_process::Federation;
use roundelay_tests::bench::python::Peer;
use roundelay_tests::bench::{Figure, machine, tell_parts, wants_json};
use roundelay_tests::cpu::median;

const FLOWER: [&str; 1] = ["flwr==1.41.0"];
const SCRIPT: &str = include_str!("../bench/flower.py");
const RUNS: usize = 5;

/// What is compared: so many clients and parameters, Flower's rounds, and the ratios to reach.
struct Case {
    clients: usize,
    parameters: u32,
    flower_runs: usize,
    coordinator: f64,
    client: f64,
}

const CASES: [Case; 2] = [
    Case { clients: 32, parameters: 1_000_000, flower_runs: 3, coordinator: 40.0, client: 10.0 },
    Case { clients: 100, parameters: 100_000, flower_runs: 1, coordinator: 300.0, client: 20.0 },
];

fn main() -> ExitCode {
    let mut flower = Peer::start_if_possible(&FLOWER, SCRIPT);
    let mut figures = Vec::new();
    for case in &CASES {
        match measured(case, flower.as_mut()) {
            Ok(parts) => figures.extend(parts),
            Err(reason) => {
                note!("error: {reason}");
                return ExitCode::FAILURE;
            }
        }
    }
    tell_parts(&figures, wants_json())
}

/// Seconds of the coordinator and of a client, a pair for each run.
type Seconds = (Vec<f64>, Vec<f64>);

fn measured(case: &Case, flower: Option<&mut Peer>) -> Result<[Figure; 2], String> {
    let Case { clients, parameters, .. } = *case;
    let theirs = flower.and_then(|flower| flower_rounds(case, flower));
    let ours = our_rounds(case)?;
    let (their_coordinator, their_client) = theirs.unzip();
    note!("{clients} clients, {parameters} parameters");
    Ok([
        figure(case, "coordinator", ours.0, their_coordinator, case.coordinator),
        figure(case, "client", ours.1, their_client, case.client),
    ])
}

fn our_rounds(case: &Case) -> Result<Seconds, String> {
    let said = |error: roundelay_tests::bench::in_process::Failed| error.to_string();
    let mut federation =
        Federation::new(case.clients, case.parameters, testing::rules()).map_err(said)?;
    // The first finds no memory warm.
    federation.round(0).map_err(said)?;
    let rounds = (0..RUNS).map(|_| federation.round(0).map_err(said));
    let rounds = rounds.collect::<Result<Vec<_>, _>>()?;
    Ok(rounds.iter().map(|costs| (costs.coordinator.seconds, costs.client.seconds)).unzip())
}

fn flower_rounds(case: &Case, flower: &mut Peer) -> Option<Seconds> {
    let order = format!("{} {}", case.clients, case.parameters);
    let rounds =
        (0..case.flower_runs).map(|_| Some((*flower.ask(&order)?.first_chunk::<2>()?).into()));
    Some(rounds.collect::<Option<Vec<(f64, f64)>>>()?.into_iter().unzip())
}

fn figure(
    case: &Case,
    party: &'static str,
    ours: Vec<f64>,
    theirs: Option<Vec<f64>>,
    target: f64,
) -> Figure {
    let (ours, reference) = (median(ours), theirs.map(median));
    let ratio = reference.map_or(0.0, |reference| reference / ours);
    note!("  {party}: {:.1} ms, ratio {ratio:.1} of {target}", ours * 1_000.0);
    Figure {
        bench: "secagg-cpu",
        part: Some(format!("{party}, {} clients, {} parameters", case.clients, case.parameters)),
        ours,
        reference,
        unit: "s",
        ratio: Some(ratio),
        target: Some(target),
        pass: ratio >= target,
        runs: RUNS,
        machine: machine(),
        notes: vec![],
    }
}
