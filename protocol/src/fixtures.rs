//! Small manifests and their parts for the tests of this crate.

pub(crate) mod wire;

use crate::manifest::{Hyperparameters, Quantisation, Task};
use crate::model::ModelSpec;
use crate::optimiser::OptimiserSpec;
use crate::schema::Schema;

/// Grey pictures of `side` × `side` pixels.
pub(crate) fn images(side: u32, classes: u32) -> Schema {
    Schema::Images { channels: 1, height: side, width: side, classes }
}

/// A task with plain averaging.
pub(crate) fn task_of(schema: Schema, model: ModelSpec) -> Task {
    Task {
        schema,
        model,
        optimiser: OptimiserSpec::FedAvg { learning_rate: 1.0 },
        hyperparameters: Hyperparameters {
            local_epochs: 1,
            batch_rows: 32,
            learning_rate: 0.1,
            momentum: 0.0,
            proximal: 0.0,
        },
        quantisation: Quantisation {
            ring_bits: 32,
            clip: 1.0,
            weight_max: 100,
            rows_per_weight: 10,
        },
        rounds: 3,
    }
}
