//! The coordinator's half of a horizontal round.

use roundelay_crypto::digest::Digest;
use roundelay_crypto::mask::MaskKey;
use serde::{Deserialize, Serialize};

use crate::error::{AbortReason, Fault, Refusal, Stage};
use crate::ids::{ClientId, RosterIndex};
use crate::layout::Layout;
use crate::message::{
    Advert, FromClient, Published, Quorum, ShareRoster, SurvivorSet, ToClient,
};
use crate::plan::{RosterPlan, TrainingPlan};
use crate::time::Time;

/// What a driver tells the coordinator's half.
#[derive(Debug)]
pub enum Input {
    /// A message of a client whose identity the driver has verified.
    Message {
        /// The client.
        from: ClientId,
        /// What it says.
        message: FromClient,
    },
    /// The round may go on to MaskedInput: what to compute. `active` of the plan is filled in by
    /// the machine.
    Train(Box<TrainingPlan>),
    /// A whole masked vector was added to the accumulator.
    Uploaded {
        /// The client.
        from: ClientId,
        /// Root over the chunks that were received.
        root: Digest,
    },
    /// The driver refused an upload; what it had added was taken back.
    UploadRefused {
        /// The client.
        from: ClientId,
        /// Why.
        fault: Fault,
    },
    /// The masked sum over exactly the survivors is durable.
    SumStored(Digest),
    /// The masks are off: the sums of the check lanes held, or did not.
    Unmasked(UnmaskOutcome),
    /// The result was applied and stored by the engine: what to announce.
    Applied(Box<Published>),
    /// A client's connection is gone. It may come back within the stage.
    Lost(ClientId),
    /// A client is back: it is sent again what its stage waits for.
    Returned(ClientId),
    /// The deadline that was set has passed.
    Deadline,
    /// End the round now.
    Abort(AbortReason),
}

/// What the driver found when it took the masks off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnmaskOutcome {
    /// Every check lane sums to the number of survivors. The digest is of the aggregate's bytes.
    Clean(Digest),
    /// Some check lane does not: nothing may be published.
    Dirty,
}

/// What the driver is to do, in order.
#[derive(Debug)]
pub enum Action {
    /// Make durable before any later action leaves the machine.
    Persist(Record),
    /// Append to the audit log of every member.
    Audit(AuditEntry),
    /// Send to one client.
    Send {
        /// The client.
        to: ClientId,
        /// What to say.
        message: ToClient,
    },
    /// Be ready to take masked vectors of this layout from the active roster.
    OpenUploads(Layout),
    /// Take back what a client's unfinished or refused upload added to the accumulator.
    Discard(ClientId),
    /// Store the masked sum over exactly these clients durably, then input `SumStored`.
    StoreSum(Vec<ClientId>),
    /// Take masks off the sum, check the lanes, then input `Unmasked`.
    Unmask(UnmaskPlan),
    /// Input `Deadline` at this moment; replaces the deadline before it.
    SetDeadline(Time),
    /// The client is out of this round.
    Expel {
        /// The client.
        client: ClientId,
        /// What it did.
        fault: Fault,
    },
    /// The round is over.
    Finish(Outcome),
}

/// The masks to take off the sum: for each survivor its self mask, for each dropout its pairwise
/// masks with every survivor.
#[derive(Debug)]
pub struct UnmaskPlan {
    /// Seeds with the signs that cancel them.
    pub keys: Vec<MaskKey>,
    /// The layout of the sum.
    pub layout: Layout,
    /// What every word of every check lane must be.
    pub survivors: u32,
}

/// How a round ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Announced to everyone.
    Published(Box<Published>),
    /// Nothing was opened, or nothing was published.
    Aborted(AbortReason),
}

/// Facts that a successor needs to resume the round, in the order in which they were persisted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// The round began.
    Planned(Box<RosterPlan>),
    /// An advert was accepted.
    Advert(RosterIndex, Box<Advert>),
    /// AdvertiseKeys ended; the advert roster is fixed.
    AdvertsClosed,
    /// Shares were accepted.
    Shares(RosterIndex, Box<ShareRoster>),
    /// ShareKeys ended; U2 is fixed.
    SharesClosed,
    /// MaskedInput began under this plan (A is fixed).
    Training(Box<TrainingPlan>),
    /// MaskedInput ended: U3 and the masked sum over exactly U3, durable before U3 is shown.
    Survivors {
        /// U3 with the clients' roots.
        set: SurvivorSet,
        /// Hash of the stored masked sum.
        sum: Digest,
    },
    /// ConsistencyCheck ended with these signatures.
    Quorum(Quorum),
    /// A client's shares arrived.
    Revealed(RosterIndex, crate::message::Reveal),
    /// The round is over.
    Finished(FinishedAs),
}

/// The end of a round as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FinishedAs {
    /// Published.
    Published(Box<Published>),
    /// Aborted.
    Aborted(AbortReason),
}

/// What members can later check the coordinator against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuditEntry {
    /// A stage began with so many clients.
    StageBegan {
        /// The stage.
        stage: Stage,
        /// Clients in it.
        clients: u16,
    },
    /// A client dropped out in a stage.
    Dropout {
        /// The client.
        client: ClientId,
        /// The stage.
        stage: Stage,
    },
    /// A client refused and sits the round out.
    Declined {
        /// The client.
        client: ClientId,
        /// Why.
        refusal: Refusal,
    },
    /// A client was expelled.
    Expelled {
        /// The client.
        client: ClientId,
        /// Why.
        fault: Fault,
    },
    /// The survivor set, before it was shown to anyone.
    Survivors {
        /// Its digest.
        set: Digest,
        /// Survivors.
        clients: u16,
    },
    /// The end.
    Finished(FinishedAs),
}
