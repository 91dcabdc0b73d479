//! What the federation is compared with: each tenant alone, and all rows pooled. Only the demo can
//! compute these, because only the demo holds everyone's rows.

use std::path::Path;

use roundelay_client::data::Source;
use roundelay_client::train::process::TrainerProcess;
use roundelay_client::train::{Engine, Options, Trainer, Uninterrupted};
use roundelay_protocol::ids::ModelVersion;
use roundelay_protocol::manifest::Task;
use roundelay_protocol::schema::NumericColumn;
use roundelay_protocol::statistics::{ColumnStatistics, Standardisation, StandardisedColumn};

/// A trainer on rows in a folder, whose held-out rows are the common test rows.
pub struct Baseline<'a> {
    trainer: TrainerProcess,
    task: &'a Task,
}

impl<'a> Baseline<'a> {
    /// Reads the folder.
    ///
    /// # Errors
    /// The trainer's own line.
    pub fn new(program: &Path, folder: &Path, task: &'a Task, seed: u64) -> Result<Self, String> {
        let options = Options { seed, engine: Engine::Auto, ..Options::new(Source::new(folder)) };
        let mut trainer = TrainerProcess::new(program, options);
        trainer.prepare(task).map_err(|error| error.to_string())?;
        Ok(Self { trainer, task })
    }

    /// Standardises by the rows of this folder alone.
    ///
    /// # Errors
    /// The trainer's own line.
    pub fn standardise_by_own_rows(&mut self) -> Result<(), String> {
        let statistics = self.trainer.statistics().map_err(|error| error.to_string())?;
        if statistics.is_empty() {
            return Ok(());
        }
        let columns = self.task.schema.numeric_columns().zip(&statistics);
        self.standardise(&Standardisation {
            columns: columns.map(|(column, sums)| standardised(&column, sums)).collect(),
        })
    }

    /// Standardises as the federation did.
    ///
    /// # Errors
    /// The trainer's own line.
    pub fn standardise(&mut self, by: &Standardisation) -> Result<(), String> {
        self.trainer.standardise(by).map_err(|error| error.to_string())
    }

    /// Trains from the initial model for as many epochs as the federation's rounds have, and
    /// returns the accuracy on the test rows.
    ///
    /// # Errors
    /// The trainer's own line.
    pub fn train(&mut self) -> Result<f64, String> {
        let mut model = self.trainer.initial().map_err(|error| error.to_string())?;
        for version in 0..self.task.rounds {
            let update = self.update(&model, ModelVersion(version.into()))?;
            model.iter_mut().zip(&update).for_each(|(value, delta)| *value += delta);
        }
        self.accuracy(&model)
    }

    /// One round's local update from a model of this version.
    ///
    /// # Errors
    /// The trainer's own line.
    pub fn update(&mut self, model: &[f32], version: ModelVersion) -> Result<Vec<f32>, String> {
        let hyperparameters = &self.task.hyperparameters;
        let trained = self.trainer.train(model, hyperparameters, version, &Uninterrupted);
        trained.map(|update| update.delta).map_err(|error| error.to_string())
    }

    /// Accuracy of a model on the test rows.
    ///
    /// # Errors
    /// The trainer's own line.
    pub fn accuracy(&mut self, model: &[f32]) -> Result<f64, String> {
        let metrics = self.trainer.evaluate(model).map_err(|error| error.to_string())?;
        Ok(metrics.correct as f64 / metrics.rows.max(1) as f64)
    }
}

/// Mean and deviation of one column from one party's own sums, which no rounding has touched.
fn standardised(column: &NumericColumn<'_>, sums: &ColumnStatistics) -> StandardisedColumn {
    let rows = sums.rows.max(1) as f64;
    let (mean, square) = (sums.sum / rows, sums.squares / rows);
    let (min, max) = (f64::from(column.min), f64::from(column.max));
    let deviation = (square - mean * mean).max(0.0).sqrt() * (max - min) / 2.0;
    let constant = deviation < 1e-6 * (max - min);
    StandardisedColumn {
        mean: ((min + max) / 2.0 + mean * (max - min) / 2.0) as f32,
        inverse_deviation: if constant { 0.0 } else { (1.0 / deviation) as f32 },
    }
}
