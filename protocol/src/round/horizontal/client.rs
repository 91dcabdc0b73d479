//! The client's half of a horizontal round.

use roundelay_crypto::digest::Digest;
use roundelay_crypto::mask::MaskKey;
use serde::{Deserialize, Serialize};

use crate::error::{AbortReason, Refusal, Stage};
use crate::ids::{FederationId, RoundNumber};
use crate::layout::Layout;
use crate::message::{FromClient, Published, ToClient};
use crate::plan::{PlanKind, TrainingPlan};
use crate::time::Time;

/// What a driver tells the client's half.
#[derive(Debug)]
pub enum Input {
    /// A message of the coordinator.
    Message(ToClient),
    /// Local work is done: the contribution is laid out and waits with the driver to be masked.
    Contributed,
    /// Local work failed or the tenant's policy refused it.
    ContributionFailed,
    /// The masked vector is durable; its root over the chunks.
    Masked(Digest),
    /// The published result was applied: the state hash that this client derived, or `None` where
    /// the aggregate does not match its hash.
    Applied(Option<Digest>),
    /// The deadline that was set has passed.
    Deadline,
}

/// What the driver is to do, in order.
#[derive(Debug)]
pub enum Action {
    /// Make durable before any later action leaves the machine.
    Persist(Record),
    /// Send to the coordinator.
    Send(FromClient),
    /// Do the local work that the plan asks for, lay it out, then input `Contributed`.
    Contribute(Box<TrainingPlan>),
    /// Mask the laid-out contribution in place and store it durably, then input `Masked`.
    Mask(MaskPlan),
    /// Stream the stored masked vector, from the first byte. A retransmission is byte-identical.
    Upload,
    /// Fetch the aggregate, check its hash, apply it, then input `Applied`.
    Apply(Box<Published>),
    /// Input `Deadline` at this moment; replaces the deadline before it.
    SetDeadline(Time),
    /// The round is over for this client.
    Finish(Outcome),
}

/// The masks to put on a contribution.
#[derive(Debug)]
pub struct MaskPlan {
    /// Self mask and one pairwise mask for each other member of A.
    pub keys: Vec<MaskKey>,
    /// The layout of the contribution.
    pub layout: Layout,
}

/// How a round ended for this client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Published and derived.
    Published(Box<Published>),
    /// This client refused; the coordinator was told.
    Refused(Refusal),
    /// The coordinator ended the round.
    Aborted(AbortReason),
}

/// What a client must remember for ever (or until its federation ends), so that neither a restart
/// nor a lying coordinator makes it open a second set. Kept by [`History`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The federation.
    pub federation: FederationId,
    /// The round.
    pub round: RoundNumber,
    /// What the client is about to do.
    pub event: Event,
}

/// What a client is about to do in a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// Sends its advert.
    Advertised,
    /// Sends shares.
    Shared,
    /// Sends the first byte of a masked vector: from here the round counts as opened.
    Uploading {
        /// The kind of the plan.
        kind: PlanKind,
        /// The model (or data version) of the plan.
        model: Digest,
        /// Digest of the planned cohort.
        cohort: Digest,
    },
    /// Signs a survivor set.
    Signed {
        /// Digest of the set.
        set: Digest,
    },
    /// Reveals shares.
    Revealed,
    /// Saw a result published and derived it.
    Published {
        /// Root of its transcript.
        transcript: Digest,
        /// State after it.
        state: Digest,
    },
    /// The round ended without a result, in this stage.
    Aborted(Stage),
}
