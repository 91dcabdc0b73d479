//! The demo's federation as a task file, the one that `federation create` reads.

use roundelay_protocol::manifest::Task;

use super::data::DataSet;
use super::options::{Model, Options};

/// Rows that count as one unit of weight. A power of two keeps weights easy to read.
const ROWS_PER_WEIGHT: u32 = 16;

/// The task file.
#[must_use]
pub fn task_toml(data: &DataSet, options: &Options, rows_max: usize) -> String {
    let weight_max = u32::try_from(rows_max).unwrap_or(u32::MAX).div_ceil(ROWS_PER_WEIGHT).max(1);
    let seed = options.seed;
    let model = match options.model {
        Model::Softmax => format!("kind = \"softmax\"\nseed = {seed}"),
        Model::Mlp => format!("kind = \"mlp\"\nhidden = [200]\nseed = {seed}"),
        Model::Cnn => format!("kind = \"cnn\"\nchannels = [16, 32]\nseed = {seed}"),
    };
    format!(
        "[rules]
coordinator = \"malicious\"
dropout_permille = 200
clients_min = 2
pinned_peers_min = 2
whole_groups = false
amendment = \"all\"

[task]
rounds = {rounds}

[task.model]
{model}

[task.optimiser]
kind = \"fed_avg\"
learning_rate = 1.0

[task.hyperparameters]
local_epochs = 1
batch_rows = 32
learning_rate = 0.1
momentum = 0.0
proximal = 0.0

[task.quantisation]
ring_bits = 32
clip = 1.0
weight_max = {weight_max}
rows_per_weight = {ROWS_PER_WEIGHT}

{schema}",
        rounds = options.rounds,
        schema = data.schema_toml(),
    )
}

/// The task in a task file.
///
/// # Errors
/// Where the file is no task.
pub fn task_of(toml: &str) -> Result<Task, String> {
    #[derive(serde::Deserialize)]
    struct File {
        task: Task,
    }
    let file: File = toml::from_str(toml).map_err(|error| error.to_string())?;
    Ok(file.task)
}
