//! Tasks and rows that several tests share.

use std::path::PathBuf;

use roundelay_client::data::{Data, Source};
use roundelay_client::train::Options;
use roundelay_protocol::manifest::{Hyperparameters, Task};
use roundelay_protocol::model::ModelSpec;
use roundelay_protocol::schema::Schema;
use roundelay_protocol::testing;

use crate::skip::skip;

/// Grey pictures of 8 × 8 pixels in four classes.
pub(crate) fn pictures() -> Schema {
    Schema::Images { channels: 1, height: 8, width: 8, classes: 4 }
}

/// Batches of 16, learning rate 0.1, no momentum, no proximal term.
pub(crate) fn hyperparameters() -> Hyperparameters {
    Hyperparameters { batch_rows: 16, ..testing::hyperparameters() }
}

/// A task with plain averaging.
pub(crate) fn task(schema: Schema, model: ModelSpec) -> Task {
    Task { hyperparameters: hyperparameters(), ..testing::task(schema, model) }
}

/// Options of a trainer whose data is in memory.
pub(crate) fn options() -> Options {
    Options::new(Source::new("(memory)"))
}

/// A bright 3 × 3 blob in one of the four corners of a faint noisy picture; the corner is the
/// class. Not linearly trivial, learnable by every architecture.
pub(crate) fn blobs(rows: u32) -> Data {
    let mut noise = 1_u32;
    let (mut inputs, mut labels) = (Vec::new(), Vec::new());
    for row in 0..rows {
        let class = row % 4;
        let (down, across) = ((class / 2) * 4 + row % 2, (class % 2) * 4 + (row / 3) % 2);
        for y in 0..8 {
            for x in 0..8 {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let faint = f32::from(u16::try_from(noise >> 16).unwrap()) / 65535.0 * 0.4;
                let inside = (down..down + 3).contains(&y) && (across..across + 3).contains(&x);
                inputs.push(if inside { 1.0 - faint } else { faint });
            }
        }
        labels.push(class);
    }
    Data::from_memory(&pictures(), &inputs, &labels, 20).expect("well-made rows")
}

/// Options of a trainer that reads the rows to train on from NumPy files, written to `folder`.
#[cfg(all(feature = "daemon", feature = "torch"))]
pub(crate) fn options_of(folder: &std::path::Path, data: &Data) -> Options {
    let file = |name: &str, descr: &str, shape: &str, values: Vec<u8>| {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        let header = format!("{header:<117}\n");
        let bytes = [&b"\x93NUMPY\x01\x00\x76\x00"[..], header.as_bytes(), &values].concat();
        std::fs::write(folder.join(name), bytes).expect("a file in the folder");
    };
    let rows = data.train.len();
    let inputs = data.train.inputs().iter().flat_map(|value| value.to_le_bytes()).collect();
    let labels = data.train.labels().iter().flat_map(|label| label.to_le_bytes()).collect();
    file("features.npy", "<f4", &format!("({rows}, 8, 8)"), inputs);
    file("labels.npy", "<i4", &format!("({rows},)"), labels);
    Options::new(Source::new(folder))
}

/// The folder of a real data set, or `None` after saying that the test skips.
pub(crate) fn real_data(set: &str) -> Option<PathBuf> {
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let root = std::env::var_os("ROUNDELAY_DATA")
        .map_or_else(|| workspace.join("../shared/data"), PathBuf::from);
    let folder = root.join(set);
    if folder.is_dir() {
        return Some(folder);
    }
    let reason = format!("{} is not there; set ROUNDELAY_DATA", folder.display());
    skip(&format!("training on {set}"), &reason);
    None
}
