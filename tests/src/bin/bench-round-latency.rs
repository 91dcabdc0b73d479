//! `cargo xtask bench round-latency`: no-op secure rounds of 10 clients back to back.
//!
//! Real processes over loopback QUIC with mutual TLS, fsync on, the next round's preparation
//! inside: a coordinator, and for each client a daemon with its trainer. The model has 10
//! parameters and the trainers a handful of rows, so that what is left is the round itself. A run
//! is a federation of its own; its figure is the median time from one published aggregate to the
//! next. A round's training plan goes out when the round before it is published, so this is plan
//! to published aggregate with training, evaluation, server optimiser and every durable write.

use std::process::ExitCode;
use std::time::Duration;

use roundelay_program::note;
use roundelay_tests::bench::disk::fdatasync_ms;
use roundelay_tests::bench::processes::cpu_ms;
use roundelay_tests::bench::small::found;
use roundelay_tests::bench::{Figure, machine, quantile, wants_json};
use roundelay_tests::harness::{Programs, Site};
use serde_json::Value;

const CLIENTS: usize = 10;
const RUNS: usize = 5;
/// Train rounds of a run.
const ROUNDS: u32 = 100;
const MODEL: &str = "softmax = { seed = 1 }";
/// The limit that a user feels, in milliseconds.
const LIMIT_MS: f64 = 50.0;
/// A look is a process of its own and takes part of the same cores.
const LOOK: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    match figure() {
        Ok(figure) => figure.tell(wants_json()),
        Err(reason) => {
            note!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// One federation from its founding to its last round.
struct Run {
    /// From one published aggregate to the next.
    rounds_ms: Vec<f64>,
    /// Processor time of a round, all clients with their trainers.
    clients_cpu_ms: f64,
    /// Processor time of a round, the coordinator.
    coordinator_cpu_ms: f64,
}

fn figure() -> Result<Figure, String> {
    let programs = Programs::find()?;
    let mut runs = Vec::new();
    for number in 1..=RUNS {
        let run = run(&programs)?;
        note!("run {number}: p50 {:.1} ms", quantile(&run.rounds_ms, 0.5)?);
        runs.push(run);
    }
    let p50s: Vec<f64> =
        runs.iter().map(|run| quantile(&run.rounds_ms, 0.5)).collect::<Result<_, _>>()?;
    let all: Vec<f64> = runs.iter().flat_map(|run| run.rounds_ms.iter().copied()).collect();
    let median = |of: fn(&Run) -> f64| quantile(&runs.iter().map(of).collect::<Vec<_>>(), 0.5);
    let p50 = quantile(&p50s, 0.5)?;
    Ok(Figure {
        bench: "round-latency",
        part: None,
        ours: p50,
        reference: Some(LIMIT_MS),
        unit: "ms",
        ratio: Some(p50 / LIMIT_MS),
        target: Some(1.0),
        pass: p50 <= LIMIT_MS,
        runs: runs.len(),
        machine: machine(),
        notes: vec![
            ("lowest p50 of a run", quantile(&p50s, 0.0)?),
            ("highest p50 of a run", quantile(&p50s, 1.0)?),
            ("p90 of all rounds", quantile(&all, 0.9)?),
            ("p99 of all rounds", quantile(&all, 0.99)?),
            ("processor time of a round, coordinator", median(|run| run.coordinator_cpu_ms)?),
            ("processor time of a round, clients", median(|run| run.clients_cpu_ms)?),
            ("one fdatasync of 300 appended bytes", fdatasync_ms()?),
        ],
    })
}

fn run(programs: &Programs) -> Result<Run, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut federation = found(programs, folder.path(), CLIENTS, ROUNDS, MODEL)?;
    federation.start()?;
    let coordinator = federation.coordinator.id().into_iter().collect::<Vec<_>>();
    let clients: Vec<u32> = federation.sites.iter().filter_map(Site::id).collect();
    let mut looks: Vec<Look> = Vec::new();
    federation.watch_every(LOOK, &mut |status| {
        looks.push(Look::now(status, &coordinator, &clients));
    })?;
    let rounds = federation.coordinator.verb(&["rounds", &federation.id])?;
    let ends: Vec<u64> = rounds.as_array().into_iter().flatten().filter_map(published_ms).collect();
    let rounds_ms = ends.windows(2).map(|pair| pair[1].saturating_sub(pair[0]) as f64).collect();
    // The first rounds also wait for the trainers' processes to start.
    let first = looks.iter().find(|look| look.version > 0).ok_or("no round was seen")?;
    let last = looks.last().ok_or("no round was seen")?;
    let between = (last.version - first.version).max(1) as f64;
    Ok(Run {
        rounds_ms,
        clients_cpu_ms: (last.clients_ms - first.clients_ms) / between,
        coordinator_cpu_ms: (last.coordinator_ms - first.coordinator_ms) / between,
    })
}

/// How far a run was at a moment, and what it had cost.
struct Look {
    version: u64,
    coordinator_ms: f64,
    clients_ms: f64,
}

impl Look {
    fn now(status: &Value, coordinator: &[u32], clients: &[u32]) -> Self {
        let sum = |processes: &[u32]| processes.iter().map(|one| cpu_ms(*one)).sum();
        Self {
            version: status["engine"]["model_version"].as_u64().unwrap_or(0),
            coordinator_ms: sum(coordinator),
            clients_ms: sum(clients),
        }
    }
}

/// When a train round was published.
fn published_ms(round: &Value) -> Option<u64> {
    let trained = round["kind"] == "train" && round["state"] == "published";
    if trained { round["ended_unix_ms"].as_u64() } else { None }
}
