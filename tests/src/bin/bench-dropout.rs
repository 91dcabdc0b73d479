//! `cargo xtask bench dropout`: what unmasking costs the coordinator when one client of 32 drops out,
//! at a million parameters, as a multiple of the cost when none does.
//!
//! With none, one self mask of every client comes off: n keystreams. A client that drops before its
//! input is complete leaves n − 1 self masks and its n − 1 pairwise ones: 2·(n − 1) keystreams over
//! the same words, so 2·(n − 1) / n times as much, and n − 1 key agreements that do not grow with
//! the model.

use std::process::ExitCode;

use roundelay_program::note;
use roundelay_protocol::testing;
use roundelay_tests::bench::in_process::{Failed, Federation};
use roundelay_tests::bench::{Figure, machine, wants_json};
use roundelay_tests::cpu::median;

const CLIENTS: usize = 32;
const PARAMETERS: u32 = 1_000_000;
const RUNS: usize = 7;
/// Keystreams with a dropout over keystreams without.
const PREDICTED: f64 = 2.0 * (CLIENTS as f64 - 1.0) / CLIENTS as f64;

fn main() -> ExitCode {
    match figure() {
        Ok(figure) => figure.tell(wants_json()),
        Err(reason) => {
            note!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn figure() -> Result<Figure, Failed> {
    let mut federation = Federation::new(CLIENTS, PARAMETERS, testing::rules())?;
    // The first finds no memory warm.
    federation.round(0)?;
    let mut took = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        took.0.push(federation.round(0)?.unmasking_seconds);
        took.1.push(federation.round(1)?.unmasking_seconds);
    }
    let (none, one) = (median(took.0), median(took.1));
    let multiple = one / none;
    Ok(Figure {
        bench: "dropout",
        part: None,
        ours: one * 1_000.0,
        reference: Some(none * 1_000.0),
        unit: "ms",
        ratio: Some(multiple),
        target: None,
        pass: true,
        runs: RUNS,
        machine: machine(),
        notes: vec![("as the keystreams alone would have it", PREDICTED * none * 1_000.0)],
    })
}
