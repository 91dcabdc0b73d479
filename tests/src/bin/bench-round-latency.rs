//! `cargo xtask bench round-latency`: no-op secure rounds of 10 clients back to back.
//!
//! Real processes over loopback QUIC with mutual TLS, fsync on, the next round's preparation
//! inside. The model has 10 parameters and the trainers a handful of rows, so that what is left is
//! the round itself. The figure is the time from one published aggregate to the next: a round's
//! training plan goes out when the round before it is published, so this is plan to published
//! aggregate with training, evaluation, server optimiser and every durable write in it.

use std::path::PathBuf;
use std::process::ExitCode;

use roundelay_tests::bench::{Figure, machine, wants_json};
use roundelay_tests::demo::federation::Federation;
use roundelay_tests::harness::Programs;

const CLIENTS: usize = 10;
const ROUNDS: u32 = 200;
/// The limit that a user feels, in milliseconds.
const LIMIT_MS: f64 = 50.0;

fn main() -> ExitCode {
    match run() {
        Ok(figure) => figure.tell(wants_json()),
        Err(reason) => {
            eprintln!("bench round-latency: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<Figure, String> {
    let programs = Programs::find()?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let names: Vec<String> = (0..CLIENTS).map(|place| format!("tenant-{place}")).collect();
    let rows: Vec<PathBuf> =
        names.iter().map(|name| folder.path().join("rows").join(name)).collect();
    for folder in &rows {
        std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        let text = "a,b,c,d,label\n".to_owned() + &"0,1,0,1,no\n1,0,1,0,yes\n".repeat(4);
        std::fs::write(folder.join("data.csv"), text).map_err(|error| error.to_string())?;
    }
    let task = folder.path().join("task.toml");
    std::fs::write(&task, TASK.replace("ROUNDS", &ROUNDS.to_string()))
        .map_err(|error| error.to_string())?;
    let said = |what: &str| eprintln!("{what}");
    let mut federation = Federation::found(&programs, folder.path(), &names, &rows, &task, &said)?;
    federation.start()?;
    federation.watch(&mut |_| {})?;
    let rounds = federation.coordinator.verb(&["rounds", &federation.id])?;
    let ends: Vec<u64> = rounds
        .as_array()
        .map(|all| all.iter().filter_map(published_ms).collect())
        .unwrap_or_default();
    let mut took: Vec<f64> =
        ends.windows(2).map(|pair| pair[1].saturating_sub(pair[0]) as f64).collect();
    took.sort_by(f64::total_cmp);
    // The first rounds also wait for the trainers' processes to start.
    let p50 = took.get(took.len() / 2).copied().ok_or("no round was published")?;
    let p99 = took.get(took.len() * 99 / 100).copied().unwrap_or(p50);
    Ok(Figure {
        bench: "round-latency",
        ours: p50,
        reference: Some(LIMIT_MS),
        unit: "ms",
        ratio: p50 / LIMIT_MS,
        target: 1.0,
        pass: p50 <= LIMIT_MS,
        runs: took.len(),
        machine: machine(),
        notes: vec![("p99", p99)],
    })
}

/// When a train round was published.
fn published_ms(round: &serde_json::Value) -> Option<u64> {
    let trained = round["kind"] == "train" && round["state"] == "published";
    if trained { round["ended_unix_ms"].as_u64() } else { None }
}

const TASK: &str = r#"
rounds = ROUNDS

[rules]
coordinator = "malicious"
dropout_permille = 200
clients_min = 2
pinned_peers_min = 2
whole_groups = false
amendment = "all"

[model.softmax]
seed = 1

[optimiser.fedavg]
learning_rate = 1.0

[hyperparameters]
local_epochs = 1
batch_rows = 32
learning_rate = 0.1
momentum = 0.0
proximal = 0.0

[quantisation]
ring_bits = 32
clip = 1.0
weight_max = 8
rows_per_weight = 1

[schema.table]
label = "label"
labels = ["no", "yes"]
standardise = false
columns = [
    { name = "a", kind = { number = { min = 0.0, max = 1.0 } } },
    { name = "b", kind = { number = { min = 0.0, max = 1.0 } } },
    { name = "c", kind = { number = { min = 0.0, max = 1.0 } } },
    { name = "d", kind = { number = { min = 0.0, max = 1.0 } } },
]
"#;
