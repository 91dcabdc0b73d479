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
        Model::Softmax => format!("[model.softmax]\nseed = {seed}"),
        Model::Mlp => format!("[model.mlp]\nhidden = [200]\nseed = {seed}"),
        Model::Cnn => format!("[model.cnn]\nchannels = [16, 32]\nseed = {seed}"),
    };
    format!(
        "rounds = {rounds}

[rules]
coordinator = \"malicious\"
dropout_permille = 200
clients_min = 2
pinned_peers_min = 2
whole_groups = false
amendment = \"all\"

{model}

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
    let mut table: toml::Table =
        toml.parse().map_err(|error: toml::de::Error| error.to_string())?;
    table.remove("rules");
    table.try_into().map_err(|error: toml::de::Error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser as _;

    use super::*;

    #[test]
    fn the_demos_task_files_are_valid_tasks() {
        let folder = tempfile::tempdir().unwrap();
        let digits = folder.path().join("digits.csv.gz");
        let row = vec!["1"; 65].join(",");
        write_gzip(&digits, &format!("{row}\n").repeat(20));
        let data = DataSet::digits(&digits).unwrap();
        for model in ["softmax", "mlp"] {
            let options = Options::parse_from(["demo", "--model", model]);
            let task = task_of(&task_toml(&data, &options, 400)).unwrap();
            task.validate(5).unwrap();
            assert_eq!(task.schema.feature_count(), 64);
        }
    }

    fn write_gzip(file: &Path, text: &str) {
        use std::io::Write as _;
        let target = std::fs::File::create(file).unwrap();
        let mut writer = flate2::write::GzEncoder::new(target, flate2::Compression::fast());
        writer.write_all(text.as_bytes()).unwrap();
        writer.finish().unwrap();
    }
}
