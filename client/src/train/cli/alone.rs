//! `alone`: what a tenant reaches on its own rows, with the task's local training and as many
//! rounds. It is the figure to hold a federation against.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use roundelay_protocol::contribution;
use roundelay_protocol::ids::ModelVersion;
use roundelay_protocol::layout::Layout;
use roundelay_protocol::manifest::Task;
use roundelay_protocol::metrics::Metrics;
use roundelay_protocol::plain::counted;
use roundelay_protocol::plan::PlanKind;
use roundelay_protocol::schema::Schema;
use roundelay_protocol::statistics::Standardisation;

use super::arguments::{Local, test_rows};
use roundelay_program::{Output, answer, tell};

use crate::data::Rows;
use crate::train::model_file::ModelFile;
use crate::train::{LocalTrainer, TrainError, Trainer, Uninterrupted};

/// Train on this data alone.
#[derive(Debug, Args)]
pub(super) struct Alone {
    #[command(flatten)]
    local: Local,
    /// Evaluate on these rows instead of the ones held out.
    #[arg(long, value_name = "PATH")]
    test: Option<PathBuf>,
    /// Rounds to train; the task's unless given.
    #[arg(long)]
    rounds: Option<u32>,
    /// Write the last model to a safetensors file.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

/// What came of it.
struct Outcome {
    model: Vec<f32>,
    /// After each round.
    curve: Vec<Metrics>,
    rows: u64,
    /// Spent on training, without evaluation.
    seconds: f64,
}

impl Alone {
    pub(super) fn run(&self, output: Output) -> Result<(), TrainError> {
        let task = self.local.task()?;
        let test = self.test.as_ref().map(|path| test_rows(path, &task)).transpose()?;
        let mut trainer = LocalTrainer::new(self.local.options());
        let summary = trainer.prepare(&task)?;
        let standardisation = standardise(&mut trainer, &task)?;
        let rounds = self.rounds.unwrap_or(task.rounds);
        let outcome =
            self.train(&mut trainer, &task, summary.rows, rounds, test.as_ref(), output)?;
        print(&outcome, output);
        match &self.save {
            Some(file) => ModelFile { model: outcome.model, standardisation }.write(&task, file),
            None => Ok(()),
        }
    }

    fn train(
        &self,
        trainer: &mut LocalTrainer,
        task: &Task,
        rows: u64,
        rounds: u32,
        test: Option<&Rows>,
        output: Output,
    ) -> Result<Outcome, TrainError> {
        let mut outcome =
            Outcome { model: trainer.initial()?, curve: Vec::new(), rows, seconds: 0.0 };
        let bar = bar(rounds, output);
        for version in (0..u64::from(rounds)).map(ModelVersion) {
            let (start, model) = (Instant::now(), &mut outcome.model);
            let settings = &task.hyperparameters;
            let update = trainer.train(model, settings, version, &Uninterrupted)?;
            outcome.seconds += start.elapsed().as_secs_f64();
            model.iter_mut().zip(&update.delta).for_each(|(value, change)| *value += change);
            let metrics = match test {
                Some(rows) => trainer.evaluate_on(model, rows)?,
                None => trainer.evaluate(model)?,
            };
            bar.set_message(format!("accuracy {:.4}", metrics.accuracy()));
            bar.inc(1);
            outcome.curve.push(metrics);
        }
        bar.finish_and_clear();
        Ok(outcome)
    }
}

/// A bar on a terminal; nothing for machines.
fn bar(rounds: u32, output: Output) -> ProgressBar {
    if output == Output::Json {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(u64::from(rounds));
    let style = ProgressStyle::with_template("{bar:16} round {pos}/{len}, {eta} left, {wide_msg}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[allow(clippy::cast_precision_loss, reason = "no client has 2^53 rows")]
fn print(outcome: &Outcome, output: Output) {
    let last = outcome.curve.last().copied().unwrap_or_default();
    let trained = outcome.rows as f64 * outcome.curve.len() as f64;
    let rows_per_second = trained / outcome.seconds.max(f64::MIN_POSITIVE);
    if output == Output::Json {
        let curve: Vec<f64> = outcome.curve.iter().map(Metrics::accuracy).collect();
        answer(
            "alone",
            serde_json::json!({
                "accuracy": last.accuracy(),
                "loss": last.loss(),
                "rows": outcome.rows,
                "test_rows": last.rows,
                "rounds": outcome.curve.len(),
                "curve": curve,
                "seconds": outcome.seconds,
                "rows_per_second": rows_per_second,
            }),
        );
        return;
    }
    tell!(
        "alone: accuracy {:.4}, loss {:.4} on {}, after {} over {} \
         ({:.1} s, {:.0} rows/s)",
        last.accuracy(),
        last.loss(),
        counted(last.rows, "row"),
        counted(outcome.curve.len() as u64, "round"),
        counted(outcome.rows, "row"),
        outcome.seconds,
        rows_per_second,
    );
}
/// Standardises by this data's own statistics, rounded like a federation's.
fn standardise(
    trainer: &mut LocalTrainer,
    task: &Task,
) -> Result<Option<Standardisation>, TrainError> {
    if !matches!(task.schema, Schema::Table { standardise: true, .. }) {
        return Ok(None);
    }
    if !task.takes_statistics() {
        let by = Standardisation::from_bounds(&task.schema);
        trainer.standardise(&by)?;
        return Ok(Some(by));
    }
    let internal = |error: &dyn std::error::Error| TrainError::Internal(error.to_string());
    let sums = trainer.statistics()?;
    let layout = Layout::for_plan(PlanKind::Statistics, task, 1).map_err(|e| internal(&e))?;
    let upload = contribution::statistics(&layout, &sums).map_err(|e| internal(&e))?;
    let by = Standardisation::from_sums(&task.schema, &layout, &upload);
    let by = by.map_err(|e| internal(&e))?;
    trainer.standardise(&by)?;
    Ok(Some(by))
}
