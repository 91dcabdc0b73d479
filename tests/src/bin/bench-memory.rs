//! `cargo xtask bench memory`: the coordinator's peak resident memory at 10 and at 100 clients, or
//! at `--clients FEW,MORE`, with a model of ten million parameters; growth of at most 10 %.
//!
//! The coordinator is a process of its own, on real QUIC over loopback. The clients are real ones
//! too, through the SDK in this process, with a trainer that takes no step: their masked vectors
//! are as long as any. Each holds the model, its update and its masked vector, 40 MB each and more
//! than one of some, and a round over n of them expands n² masks of 40 MB. Two train rounds and the
//! last evaluation.
//!
//! What may grow with the clients is vectors on their way, up to their budget
//! (`rounds.memory_bytes`); both sides run under the same, which ten uploads of 40 MB fill.
//!
//! With `--parameters N` it measures another thing: what the coordinator has resident beyond its one
//! accumulator, with three clients and a model of at least N parameters, at most 256 MiB. It takes
//! about 30 bytes of disk for each parameter, and 20 of memory.

use std::process::ExitCode;
use std::time::Duration;

use roundelay_program::note;
use roundelay_tests::bench::long_model;
use roundelay_tests::bench::processes::peak_mib;
use roundelay_tests::bench::small::{configure, found};
use roundelay_tests::bench::still::Clients;
use roundelay_tests::bench::{Figure, machine, wants_json};
use roundelay_tests::harness::Programs;

const ROUNDS: u32 = 2;
/// 4 × 3160 + 3160 × 3160 + 3160 × 2 weights and 6,322 biases: 10.01 million.
const MODEL: &str = "mlp = { hidden = [3160, 3160], seed = 1 }";
const GROWTH_MAX: f64 = 1.1;
/// A hundred clients share the processors of this machine: they take long to come together, and a
/// stage that takes each of them a tenth of a second takes longer than the 15 s that clients on
/// machines of their own have. Every round is one of all of them.
const CONFIGURATION: &str = "\
[rounds]
assembly_ms = 60000
advertise_keys_ms = 120000
share_keys_ms = 120000
consistency_check_ms = 120000
";

fn main() -> ExitCode {
    match figure() {
        Ok(figure) => figure.tell(wants_json()),
        Err(reason) => {
            note!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn figure() -> Result<Figure, String> {
    let programs = Programs::find()?;
    if let Some(parameters) = option("--parameters") {
        let parameters = parameters.and_then(|given| given.parse().ok());
        let parameters = parameters.filter(|given| (10_000..2_000_000_000).contains(given));
        let wanted = "--parameters takes a number from 10,000 to 2,000,000,000";
        return long_model::figure(&programs, parameters.ok_or(wanted)?);
    }
    let (at_few, at_more) = sides()?;
    let few = peak(&programs, at_few)?;
    let more = peak(&programs, at_more)?;
    let ratio = more / few;
    Ok(Figure {
        bench: "memory",
        part: None,
        ours: more,
        reference: Some(few),
        unit: "MiB",
        ratio: Some(ratio),
        target: Some(GROWTH_MAX),
        // The target is about 10 and 100: a smaller run says how memory grows, and passes nothing.
        pass: ratio <= GROWTH_MAX && (at_few, at_more) == (10, 100),
        runs: 1,
        machine: machine(),
        notes: vec![("with the fewer clients", few), ("with more of them", more)],
    })
}

/// How many clients on either side.
fn sides() -> Result<(usize, usize), String> {
    let Some(given) = option("--clients") else { return Ok((10, 100)) };
    let given = given.and_then(|given| {
        let (few, more) = given.split_once(',')?;
        Some((few.parse().ok()?, more.parse().ok()?))
    });
    given.ok_or_else(|| "--clients takes two numbers, such as 10,40".to_owned())
}

/// Whether an option is given, and its value.
fn option(name: &str) -> Option<Option<String>> {
    let mut arguments = std::env::args().skip_while(|one| one != name);
    arguments.next().map(|_| arguments.next())
}

fn peak(programs: &Programs, count: usize) -> Result<f64, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    configure(folder.path(), CONFIGURATION)?;
    let mut federation = found(programs, folder.path(), count, ROUNDS, MODEL)?;
    let clients = Clients::start(&federation)?;
    let id = federation.id.clone();
    federation.coordinator.verb(&["federation", "start", &id])?;
    let finished = federation.watch_every(Duration::from_secs(1), &mut |_| {});
    let peak = federation.coordinator.id().and_then(peak_mib);
    clients.stop();
    finished?;
    let peak = peak.ok_or("the coordinator is gone")?;
    note!("{count} clients: {peak:.0} MiB");
    Ok(peak)
}
