//! Model versions: every published training round is one, with where it came from.

use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::{ModelVersion, RoundNumber};
use serde::{Deserialize, Serialize};

/// One version of a federation's model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// The version.
    pub version: ModelVersion,
    /// The version that it was trained from; none for the initial model.
    pub parent: Option<ModelVersion>,
    /// The round that published it; none for the initial model.
    pub round: Option<RoundNumber>,
    /// The protocol's hash of model and optimiser state.
    pub state: Digest,
    /// The blob that holds model and optimiser state; none once it was pruned.
    pub blob: Option<Digest>,
    /// Root of the transcript of its round; none for the initial model.
    pub transcript: Option<Digest>,
    /// Clients in the sum.
    pub survivors: u16,
    /// When it was made, milliseconds since 1970.
    pub created_unix_ms: u64,
    /// Federated evaluation, known one round later.
    pub metrics: Option<Metrics>,
}

/// Federated evaluation of one version over held-out rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Held-out rows.
    pub rows: u64,
    /// Mean loss.
    pub loss: f64,
    /// Share of rows classified correctly, 0 to 1.
    pub accuracy: f64,
}
