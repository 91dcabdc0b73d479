//! `evaluate`: how good a model is on rows that the caller has: a federation's exported one, or one
//! that `alone` saved.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use roundelay_protocol::schema::Schema;

use super::arguments::{Local, all_rows};
use roundelay_program::{Output, answer, tell};

use crate::train::model_file::ModelFile;
use crate::train::{LocalTrainer, TrainError, Trainer};

/// Evaluate a model on all rows of the data; where a folder holds rows out itself, on those.
#[derive(Debug, Args)]
pub(super) struct Evaluate {
    #[command(flatten)]
    local: Local,
    /// The model: a safetensors file with a tensor per parameter.
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
}

impl Evaluate {
    pub(super) fn run(&self, output: Output) -> Result<(), TrainError> {
        let task = self.local.task()?;
        let file = ModelFile::read(&task, &self.model)?;
        let data = Arc::new(all_rows(&self.local.data, &task)?);
        let rows = if data.held_out.is_empty() { &data.train } else { &data.held_out };
        let mut trainer = LocalTrainer::with_data(Arc::clone(&data), self.local.options());
        trainer.prepare(&task)?;
        match (&file.standardisation, &task.schema) {
            (Some(by), _) => trainer.standardise(by)?,
            (None, Schema::Table { standardise: true, .. }) => {
                return Err(TrainError::Installation(format!(
                    "{} does not say how its columns were standardised; export it again",
                    self.model.display()
                )));
            }
            (None, _) => {}
        }
        let metrics = trainer.evaluate_on(&file.model, rows)?;
        let (accuracy, loss, rows) = (metrics.accuracy(), metrics.loss(), metrics.rows);
        match output {
            Output::Json => answer(
                "evaluated",
                serde_json::json!({ "accuracy": accuracy, "loss": loss, "rows": rows }),
            ),
            Output::Human => tell!("accuracy {accuracy:.4}, loss {loss:.4} on {rows} rows"),
        }
        Ok(())
    }
}
