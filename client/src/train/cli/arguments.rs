//! What the verbs that train or evaluate have in common: a task, data, and how to compute.

use std::path::{Path, PathBuf};

use clap::Args;
use roundelay_program::file::read_text;
use roundelay_protocol::manifest::Task;
use roundelay_protocol::suggestion::with_suggestion;

use crate::data::{Data, HELD_OUT_PERCENT, Rows, Source};
use crate::train::{Device, Engine, Options, TrainError};

/// Bytes of a task file.
const TASK_BYTES_MAX: u64 = 16 << 20;

/// A task and data for it.
#[derive(Debug, Args)]
pub(super) struct Local {
    /// The task file, as for `roundelay-coordinator federation create`.
    #[arg(long, value_name = "FILE")]
    task: PathBuf,
    /// The data: a CSV file, or a folder of CSV, IDX or NumPy files.
    #[arg(long, value_name = "PATH")]
    pub(super) data: PathBuf,
    /// Share of the rows to hold out, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = HELD_OUT_PERCENT,
        value_parser = clap::value_parser!(u8).range(..100))]
    held_out_percent: u8,
    /// Seed of the batch order.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// What computes the model.
    #[arg(long, value_enum, default_value_t = Engine::Auto)]
    engine: Engine,
    /// Threads that libtorch computes with.
    #[arg(long, default_value_t = 1)]
    threads: u16,
    /// Where libtorch computes.
    #[arg(long, value_enum, default_value_t = Device::Auto)]
    device: Device,
    /// The TorchScript module's file, for tasks that name one.
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
}

impl Local {
    /// Reads the task file.
    pub(super) fn task(&self) -> Result<Task, TrainError> {
        let file = self.task.display();
        let text = read_text(&self.task, TASK_BYTES_MAX).map_err(|error| {
            TrainError::Installation(format!("{file}: {error}; name a task file with --task"))
        })?;
        let task: Task = toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let what = error.message().lines().next().unwrap_or_default();
            TrainError::TaskFile(format!("{file}, line {line}: {}", with_suggestion(what)))
        })?;
        // One contributor: who else takes part is not in the file.
        task.validate(1).map_err(|error| TrainError::TaskFile(format!("{file}: {error}")))?;
        Ok(task)
    }

    /// How to read the data and to compute.
    pub(super) fn options(&self) -> Options {
        Options {
            data: Source { held_out_percent: self.held_out_percent, ..Source::new(&self.data) },
            seed: self.seed,
            engine: self.engine,
            threads: self.threads,
            device: self.device,
            module: self.module.clone(),
        }
    }
}

/// The rows of a test set: all of them, or where the folder holds some out itself, those.
pub(super) fn test_rows(path: &Path, task: &Task) -> Result<Rows, TrainError> {
    let data = all_rows(path, task)?;
    Ok(if data.held_out.is_empty() { data.train } else { data.held_out })
}

/// Data of which no row is held out by its hash.
pub(super) fn all_rows(path: &Path, task: &Task) -> Result<Data, TrainError> {
    let source = Source { held_out_percent: 0, ..Source::new(path) };
    Ok(Data::load(&source, &task.schema)?)
}
