//! Why a job of a trainer failed: one line each, and who is at fault.

use roundelay_protocol::ids::ModelVersion;
use serde::{Deserialize, Serialize};

use crate::data::DataError;

/// Why a trainer's job failed. The line may quote the tenant's data: it is never sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum TrainError {
    /// The tenant's data is at fault.
    #[error("data: {0}")]
    Data(#[from] DataError),
    /// What the federation's manifest or plan asks for cannot be trained.
    #[error("task: {0}")]
    Task(String),
    /// The task file of a verb does not hold.
    #[error("task: {0}")]
    TaskFile(String),
    /// The model that was handed over does not fit: its sender is at fault.
    #[error("model: {0}")]
    Model(String),
    /// This installation lacks something: the one who runs the client can mend it.
    #[error("installation: {0}")]
    Installation(String),
    /// The loss or a parameter became infinite or NaN.
    #[error(
        "training from model version {version} diverged: loss or parameters are no longer finite; \
         a smaller learning rate in the manifest, or standardised columns, keep them so"
    )]
    Diverged {
        /// What it started from.
        version: ModelVersion,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// The trainer process ended on its own; the next job starts another.
    #[error("the trainer process {0}; the next job starts another one")]
    Crashed(String),
    /// The trainer's data changed under a running federation.
    #[error(
        "the data changed while the federation runs; restart the client to take in the new version"
    )]
    DataChanged,
    /// The caller called out of order.
    #[error("internal: the trainer was not prepared: {0}")]
    NotPrepared(String),
    /// A fault of the trainer itself.
    #[error("internal: {0}")]
    Internal(String),
}
