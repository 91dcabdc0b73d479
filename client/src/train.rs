//! Local training: the one trait through which a round reaches a tenant's rows, and its trainers.
//!
//! | trainer | models | where |
//! |---|---|---|
//! | [`LocalTrainer`] with [`linear`] | softmax regression, by `ndarray` | in this process |
//! | [`LocalTrainer`] with `torch` | softmax, MLP, CNN, TorchScript, by libtorch | feature `torch` |
//! | `process::TrainerProcess` | whatever its child `roundelay-trainer` was built with | feature `daemon` |
//!
//! A trainer is deterministic: the same data, seed, model, version and number of threads give the
//! same bits on the same machine.

mod batches;
#[cfg(feature = "daemon")]
pub mod cli;
mod error;
#[cfg(feature = "daemon")]
pub mod job;
pub mod linear;
mod local;
#[cfg(feature = "daemon")]
mod model_file;
#[cfg(feature = "daemon")]
pub mod process;
#[cfg(any(test, feature = "torch"))]
mod release;
#[cfg(feature = "torch")]
pub mod torch;
#[cfg(feature = "daemon")]
pub mod worker;

use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::ModelVersion;
use roundelay_protocol::manifest::{Hyperparameters, Task};
use roundelay_protocol::statistics::{ColumnStatistics, Standardisation};
use serde::{Deserialize, Serialize};

pub use error::TrainError;
pub use local::{Device, Engine, Learner, LocalTrainer, Options};
pub use roundelay_protocol::metrics::Metrics;

/// Trains and evaluates one federation's model on one client's rows.
///
/// Models are flat vectors in the order of [`roundelay_protocol::model`]. The order of calls is
/// [`prepare`](Trainer::prepare), for tables that are standardised
/// [`statistics`](Trainer::statistics) and [`standardise`](Trainer::standardise), then any number
/// of [`train`](Trainer::train) and [`evaluate`](Trainer::evaluate).
pub trait Trainer: Send {
    /// Reads the data, checks it against the task's schema and builds the model.
    ///
    /// # Errors
    /// [`TrainError::Data`] with the first fault of the data; [`TrainError::Task`] or
    /// [`TrainError::Installation`] where the model cannot be trained here.
    fn prepare(&mut self, task: &Task) -> Result<DataSummary, TrainError>;

    /// Counts and sums of the numeric columns over the rows that are trained on, for the masked
    /// statistics round. Empty for pictures.
    ///
    /// # Errors
    /// [`TrainError::NotPrepared`] before `prepare`.
    fn statistics(&mut self) -> Result<Vec<ColumnStatistics>, TrainError>;

    /// Takes the federation's common standardisation. A later call replaces it.
    ///
    /// # Errors
    /// [`TrainError::Task`] where it does not fit the schema's numeric columns.
    fn standardise(&mut self, by: &Standardisation) -> Result<(), TrainError>;

    /// The initial model: the manifest's, or for TorchScript what the module file holds.
    ///
    /// # Errors
    /// [`TrainError::NotPrepared`] before `prepare`.
    fn initial(&mut self) -> Result<Vec<f32>, TrainError>;

    /// Trains from `model`, of this version, for the local epochs and returns what changed. A round
    /// that failed asks for the same again, and whoever has signed its survivor set gives no other
    /// answer than the first: what is random here comes from the version.
    ///
    /// # Errors
    /// [`TrainError::Model`] for a vector of the wrong length or with a non-finite value,
    /// [`TrainError::Diverged`], [`TrainError::Cancelled`] soon after `control` says so.
    fn train(
        &mut self,
        model: &[f32],
        hyperparameters: &Hyperparameters,
        version: ModelVersion,
        control: &dyn Control,
    ) -> Result<Update, TrainError>;

    /// Evaluates `model` on the rows held out.
    ///
    /// # Errors
    /// [`TrainError::Model`] as for [`train`](Trainer::train).
    fn evaluate(&mut self, model: &[f32]) -> Result<Metrics, TrainError>;
}

/// How a running job hears from its caller and reports to it. Called between two batches.
pub trait Control {
    /// Whether to stop now.
    fn cancelled(&self) -> bool;
    /// `done` of `total` rows have been trained on.
    fn progress(&self, done: u64, total: u64);
}

/// A [`Control`] that never cancels and ignores progress.
#[derive(Debug, Clone, Copy, Default)]
pub struct Uninterrupted;

impl Control for Uninterrupted {
    fn cancelled(&self) -> bool {
        false
    }

    fn progress(&self, _done: u64, _total: u64) {}
}

/// What a trainer says about its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataSummary {
    /// Rows to train on.
    pub rows: u64,
    /// Rows held out.
    pub held_out_rows: u64,
    /// Digest of the schema they were checked against.
    pub schema: Digest,
    /// Names this version of the data.
    pub data: Digest,
    /// What the tenant calls the data set, whatever its version: budgets of differential privacy are
    /// counted by this name.
    pub data_set: String,
}

/// What training changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// The trained model minus the model it started from.
    pub delta: Vec<f32>,
    /// Rows trained on.
    pub rows: u64,
    /// Mean cross-entropy over the last local epoch, each batch before its step, in nats.
    pub loss: f64,
}
