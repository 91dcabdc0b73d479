//! `cargo xtask bench memory-few`: the coordinator's peak resident memory at 3 and at 12 clients,
//! with a model of ten million parameters.
//!
//! Real processes over loopback QUIC, an MLP in libtorch on a handful of rows: two train rounds
//! and the last evaluation. What may grow with the clients is undo data, up to its fixed budget
//! (`rounds.undo_bytes`), which three uploads of 40 MB do not fill and five do.

use std::process::ExitCode;
use std::time::Duration;

use roundelay_tests::bench::processes::peak_mib;
use roundelay_tests::bench::small::found;
use roundelay_tests::bench::{Figure, machine, wants_json};
use roundelay_tests::harness::Programs;

const FEW: usize = 3;
const MORE: usize = 12;
const ROUNDS: u32 = 2;
/// 4 × 3160 + 3160 × 3160 + 3160 × 2 weights and 6,322 biases: 10.01 million.
const MODEL: &str = "mlp = { hidden = [3160, 3160], seed = 1 }";
/// Undo data of 192 MiB at most beside what every round needs.
const GROWTH_MAX: f64 = 1.5;

fn main() -> ExitCode {
    match figure() {
        Ok(figure) => figure.tell(wants_json()),
        Err(reason) => {
            eprintln!("bench memory-few: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn figure() -> Result<Figure, String> {
    let programs = Programs::find()?;
    let few = peak(&programs, FEW)?;
    let more = peak(&programs, MORE)?;
    Ok(Figure {
        bench: "memory-few",
        ours: more,
        reference: Some(few),
        unit: "MiB",
        ratio: more / few,
        target: GROWTH_MAX,
        pass: more / few <= GROWTH_MAX,
        runs: 1,
        machine: machine(),
        notes: vec![("at 3 clients", few), ("at 12 clients", more)],
    })
}

fn peak(programs: &Programs, clients: usize) -> Result<f64, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut federation = found(programs, folder.path(), clients, ROUNDS, MODEL)?;
    federation.start()?;
    federation.watch_every(Duration::from_secs(1), &mut |_| {})?;
    let coordinator = federation.coordinator.id();
    let peak = coordinator.and_then(peak_mib).ok_or("the coordinator is gone")?;
    eprintln!("{clients} clients: {peak:.0} MiB");
    Ok(peak)
}
