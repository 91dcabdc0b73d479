//! What the coordinator has resident beyond its one accumulator, with three clients and one long
//! model. The clients take [turns](super::turns): a machine holds no three models of a billion
//! parameters. Their updates are known, and so is the model that has to come out; the file that
//! `model export` writes is held against it.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use roundelay_program::note;

use super::processes::peak_mib;
use super::small::{configure, found};
use super::still::Still;
use super::turns::{Clients, Held};
use super::{Figure, machine};
use crate::harness::Programs;

const CLIENTS: usize = 3;
/// What may be resident beyond the accumulator.
const BEYOND_MIB: f64 = 256.0;
/// Clients that take turns take as long as all of them together; and so a stage lasts.
const CONFIGURATION: &str = "\
[rounds]
masked_input_ms = 7200000
consistency_check_ms = 600000
unmasking_ms = 600000
";
/// Half a step of the quantiser: 32 bits for three clients of weight 8, and updates up to 1.
const TOLERANCE: f32 = 1e-6;

/// Trains a model of at least so many parameters for one round.
///
/// # Errors
/// The line of the process that failed, or what came out is not the model that it has to be.
pub fn figure(programs: &Programs, parameters: u64) -> Result<Figure, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    configure(folder.path(), CONFIGURATION)?;
    // 4 × h + h × h + h × 2 weights and 2 × h + 2 biases.
    let hidden = (parameters as f64).sqrt().ceil() - 4.0;
    let model = format!("mlp = {{ hidden = [{hidden}, {hidden}], seed = 1 }}");
    let began = Instant::now();
    let mut federation = found(programs, folder.path(), CLIENTS, 1, &model)?;
    federation.patience = Duration::from_secs(3_600);
    let clients = Clients::start(&federation, |_| Still(update))?;
    let id = federation.id.clone();
    federation.coordinator.verb(&["federation", "start", &id])?;
    let finished = federation.watch_every(Duration::from_secs(1), &mut |_| {});
    finished?;
    let held = clients.finish()?;
    note!("trained in {:.0} s", began.elapsed().as_secs_f64());
    moved_as_told(&held)?;
    let file = folder.path().join("model.safetensors");
    let to = file.display().to_string();
    federation.coordinator.verb(&["model", "export", &id, "--to", &to])?;
    is_exported(&held, &file)?;
    let peak = federation.coordinator.id().and_then(peak_mib).ok_or("the coordinator is gone")?;
    let accumulator = 4.0 * held.last.model().len() as f64 / f64::from(1 << 20);
    let beyond = peak - accumulator;
    let ratio = beyond / BEYOND_MIB;
    Ok(Figure {
        bench: "memory",
        part: Some(format!("{} parameters, beyond the accumulator", held.last.model().len())),
        ours: beyond,
        reference: Some(BEYOND_MIB),
        unit: "MiB",
        ratio: Some(ratio),
        target: Some(1.0),
        pass: ratio <= 1.0,
        runs: 1,
        machine: machine(),
        notes: vec![("the accumulator", accumulator), ("all that was resident", peak)],
    })
}

/// The same for every client, and another one for each coordinate far and wide.
fn update(parameters: usize) -> Vec<f32> {
    (0..parameters).map(told).collect()
}

fn told(coordinate: usize) -> f32 {
    (coordinate % 1_021) as f32 / 1_024.0 - 0.5
}

/// The mean of equal updates is that update.
fn moved_as_told(Held { first, last }: &Held) -> Result<(), String> {
    let pairs = first.model().iter().zip(last.model()).enumerate();
    let mut wrong =
        pairs.filter(|(at, (before, after))| (*after - *before - told(*at)).abs() > TOLERANCE);
    match wrong.next() {
        Some((at, (before, after))) => {
            Err(format!("parameter {at} went from {before} to {after}, not by {}", told(at)))
        }
        None => Ok(()),
    }
}

fn is_exported(held: &Held, file: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut file = BufReader::with_capacity(1 << 20, File::open(file).map_err(failed)?);
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(failed)?;
    std::io::copy(&mut file.by_ref().take(u64::from_le_bytes(length)), &mut std::io::sink())
        .map_err(failed)?;
    let mut value = [0; 4];
    for (at, meant) in held.last.model().iter().enumerate() {
        file.read_exact(&mut value).map_err(failed)?;
        if value != meant.to_le_bytes() {
            return Err(format!("parameter {at} of the exported file is another one"));
        }
    }
    Ok(())
}
