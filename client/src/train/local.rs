//! The trainer that works in its own process: it owns the rows, draws the batches, and drives a
//! [`Learner`], which knows one architecture and nothing of rounds.

use std::path::PathBuf;
use std::sync::Arc;

use roundelay_protocol::ids::ModelVersion;
use roundelay_protocol::manifest::{Hyperparameters, Task};
use roundelay_protocol::statistics::{ColumnStatistics, Standardisation};
use serde::{Deserialize, Serialize};

use super::batches::Batches;
use super::{Control, DataSummary, Metrics, TrainError, Trainer, Update};
use crate::data::{Data, Rows, Source};

mod prepared;

use prepared::Prepared;

/// Where libtorch computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum Device {
    /// On a GPU where there is one, else on the CPU.
    #[default]
    Auto,
    /// On the CPU.
    Cpu,
    /// On the first GPU, or not at all.
    Cuda,
}

/// What computes a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "daemon", derive(clap::ValueEnum))]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// `ndarray` for softmax regression, libtorch for everything else.
    #[default]
    Auto,
    /// `ndarray`, which knows softmax regression only.
    Ndarray,
    /// libtorch.
    Torch,
}

/// How a client trains, as its own configuration says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Where the data lies.
    pub data: Source,
    /// Seed of the batch order, the client's own.
    pub seed: u64,
    /// What computes the model.
    pub engine: Engine,
    /// Threads that libtorch computes with; results depend on it.
    pub threads: u16,
    /// Where libtorch computes.
    pub device: Device,
    /// The TorchScript module's file, for tasks that name one.
    pub module: Option<PathBuf>,
}

impl Options {
    /// Seed 0, one thread, any engine and device, no module.
    #[must_use]
    pub fn new(data: Source) -> Self {
        Self { data, seed: 0, engine: Engine::Auto, threads: 1, device: Device::Auto, module: None }
    }
}

/// One architecture with its arithmetic. Inputs are row-major, one row per label.
pub trait Learner: Send {
    /// Length of the flat model.
    fn parameters(&self) -> usize;

    /// Takes a flat model of the right length.
    ///
    /// # Errors
    /// A fault of the library underneath.
    fn load(&mut self, model: &[f32]) -> Result<(), TrainError>;

    /// Writes the flat model.
    ///
    /// # Errors
    /// A fault of the library underneath.
    fn store(&self, model: &mut [f32]) -> Result<(), TrainError>;

    /// Starts a round from the loaded model: no momentum yet, and the model is the anchor of the
    /// proximal term. `seed` is for whatever the architecture draws itself, such as dropout.
    ///
    /// # Errors
    /// A fault of the library underneath.
    fn begin(&mut self, hyperparameters: &Hyperparameters, seed: u64) -> Result<(), TrainError>;

    /// One step of SGD on one batch. Returns the sum of the rows' losses before the step.
    ///
    /// # Errors
    /// A fault of the library underneath.
    fn step(&mut self, inputs: &[f32], labels: &[u32]) -> Result<f64, TrainError>;

    /// Sums over rows, without training.
    ///
    /// # Errors
    /// A fault of the library underneath.
    fn evaluate(&mut self, inputs: &[f32], labels: &[u32]) -> Result<Metrics, TrainError>;
}

/// A [`Trainer`] in this process.
///
/// Several may work at once. What a TorchScript module draws itself, such as dropout, comes from
/// libtorch's one generator per process: repeatable only while no other trainer runs beside it.
pub struct LocalTrainer {
    options: Options,
    in_memory: Option<Arc<Data>>,
    prepared: Option<Prepared>,
}

impl LocalTrainer {
    /// A trainer on the data that `options` names, read when it is prepared.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, in_memory: None, prepared: None }
    }

    /// A trainer on data in memory, for simulations and for programs with readers of their own.
    /// Trainers may share the same data.
    #[must_use]
    pub fn with_data(data: impl Into<Arc<Data>>, options: Options) -> Self {
        Self { options, in_memory: Some(data.into()), prepared: None }
    }

    /// Evaluates `model` on other rows than those held out, such as a common test set. They are
    /// standardised like the trainer's own.
    ///
    /// # Errors
    /// As [`Trainer::evaluate`].
    pub fn evaluate_on(&mut self, model: &[f32], rows: &Rows) -> Result<Metrics, TrainError> {
        let prepared = self.prepared()?;
        prepared.load(model)?;
        prepared.evaluate(rows)
    }

    fn prepared(&mut self) -> Result<&mut Prepared, TrainError> {
        let missing = || TrainError::NotPrepared("prepare comes first".to_owned());
        self.prepared.as_mut().ok_or_else(missing)
    }
}

impl Trainer for LocalTrainer {
    fn prepare(&mut self, task: &Task) -> Result<DataSummary, TrainError> {
        self.prepared = None;
        task.schema.validate().map_err(|error| TrainError::Task(error.to_string()))?;
        let data = match &self.in_memory {
            Some(data) => Arc::clone(data),
            None => Arc::new(Data::load(&self.options.data, &task.schema)?),
        };
        let prepared = Prepared::new(task, data, &self.options)?;
        let summary = prepared.summary();
        self.prepared = Some(prepared);
        Ok(summary)
    }

    fn statistics(&mut self) -> Result<Vec<ColumnStatistics>, TrainError> {
        let prepared = self.prepared()?;
        prepared.statistics()
    }

    fn standardise(&mut self, by: &Standardisation) -> Result<(), TrainError> {
        self.prepared()?.standardise(by)
    }

    fn initial(&mut self) -> Result<Vec<f32>, TrainError> {
        self.prepared()?.initial()
    }

    fn train(
        &mut self,
        model: &[f32],
        hyperparameters: &Hyperparameters,
        version: ModelVersion,
        control: &dyn Control,
    ) -> Result<Update, TrainError> {
        let seed = self.options.seed;
        let prepared = self.prepared()?;
        let batches = Batches::new(prepared.rows()?.len(), seed, version);
        prepared.load(model)?;
        let loss = prepared.descend(hyperparameters, batches, control)?;
        prepared.update(model, loss)?.ok_or(TrainError::Diverged { version })
    }

    fn evaluate(&mut self, model: &[f32]) -> Result<Metrics, TrainError> {
        let prepared = self.prepared()?;
        prepared.load(model)?;
        prepared.evaluate_held_out()
    }
}
