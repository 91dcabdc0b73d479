//! The two plans of a round. A *roster plan* starts key advertisement for a cohort, possibly while
//! the round before still trains; a *training plan* then names kind, model, configuration and the
//! active roster A.

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::Signature;
use serde::{Deserialize, Serialize};

use crate::ids::{ClientId, FederationId, ModelVersion, RosterIndex, RoundNumber};
use crate::layout::Layout;
use crate::manifest::Hyperparameters;

/// What a round computes; bound into every seed and signature of MaskedInput and later stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PlanKind {
    /// Masked sums over the data (rows, sums, sums of squares per column), once per data version.
    Statistics,
    /// Local training from one model version, and evaluation of that version as masked lanes.
    Train,
    /// Evaluation alone, for the last model.
    Evaluate,
}

/// Starts AdvertiseKeys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterPlan {
    /// The federation of the round.
    pub federation: FederationId,
    /// Strictly above every round that any client has signed for.
    pub round: RoundNumber,
    /// Hash of the manifest that all clients have pinned.
    pub manifest: Digest,
    /// U1: the planned cohort, sorted by client id; a [`RosterIndex`] points into it.
    pub cohort: Vec<ClientId>,
    /// k: neighbours of a client; everybody else in a complete graph.
    pub degree: u16,
    /// Share threshold t.
    pub threshold: u16,
    /// Quorum q over the cohort.
    pub quorum: u16,
}

impl RosterPlan {
    /// Whether everybody is everybody's neighbour: else the graph is drawn from a beacon.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        usize::from(self.degree) + 1 == self.cohort.len()
    }

    /// The index of a client in the cohort.
    #[must_use]
    pub fn index_of(&self, client: ClientId) -> Option<RosterIndex> {
        let at = self.cohort.binary_search(&client).ok()?;
        u16::try_from(at).ok().map(RosterIndex)
    }

    /// The client at an index of the cohort.
    #[must_use]
    pub fn client_at(&self, index: RosterIndex) -> Option<ClientId> {
        self.cohort.get(usize::from(index.0)).copied()
    }
}

/// Starts MaskedInput.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainingPlan {
    /// What is computed.
    pub kind: PlanKind,
    /// The version that is trained or evaluated.
    pub model_version: ModelVersion,
    /// Hash of that model and its optimiser state; for statistics, the hash of the data version.
    pub model: Digest,
    /// Local training, as the manifest allows.
    pub hyperparameters: Hyperparameters,
    /// Segments, rings and bounds of the upload.
    pub layout: Layout,
    /// A: the active roster, strictly rising indices, a subset of U2.
    pub active: Vec<RosterIndex>,
    /// From q members of U2, of all that have signed in a sparse graph, indices strictly rising: signatures under the root of ShareKeys which
    /// say that all boxes of the signer opened. Whoever signs this shows nobody what opens them.
    pub opened: Vec<(RosterIndex, Signature)>,
    /// Root of the transcript of the round before, zero for the first.
    pub previous_transcript: Digest,
}
