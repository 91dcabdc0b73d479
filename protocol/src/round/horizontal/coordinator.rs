//! The coordinator's half of a horizontal round.
//!
//! ```text
//! AdvertiseKeys ─▶ [Drawing ─▶] ShareKeys ─▶ Prepared ─Train─▶ MaskedInput ─▶ StoringSum ─SumStored─┐
//!   Finished ◀─Applied─ Applying ◀─Unmasked─ Removing ◀─ Unmasking ◀─ ConsistencyCheck ◀┘
//! ```
//! A stage ends as soon as everybody who is expected has answered, at the latest at its deadline;
//! ConsistencyCheck ends with the quorum, Unmasking with the first shares that rebuild every seed.
//! Below the floors the round is aborted, and nothing was opened.
//!
//! A dealer commits to each share in the leaf that it signs, so whoever lies is named by proof: a
//! holder whose share is not the one that was committed to, a dealer whose box does not hold what
//! it committed to, or whose shares do not rebuild its seed.
//!
//! # How a driver runs it
//!
//! 1. It makes a machine by [`Round::start`], or after a restart by [`Round::restore`] from the
//!    records that were persisted, then calls [`Round::handle`] with one [`Input`] at a time.
//! 2. It carries out the actions **in order**. What [`Action::Persist`] and [`Action::Audit`]
//!    carry is durable before a later `Send` or `Broadcast` leaves; where no message follows they
//!    may wait for the next batch.
//! 3. [`Input::Lost`] and [`Input::Returned`] say whose connection went and came. A message to a
//!    client that has no connection is dropped: `Returned` makes the machine send again whatever
//!    the client's stage waits for.
//! 4. Uploads: from [`Action::OpenUploads`] on, the driver takes vectors from clients of the
//!    active roster, adds their chunks as they come and inputs [`Input::Uploaded`] once for a
//!    whole one. It refuses a second vector of a client until that client's first was taken back
//!    by [`Action::Discard`], which never comes after [`Action::Settle`]. A part of a vector whose
//!    connection went is taken back by the driver itself. After [`Action::StoreSum`] it takes no
//!    more.
//! 5. Rounds overlap: from `OpenUploads` of one on, the next may be started. Not before, or a client
//!    might be asked for shares of both in the wrong order, and refuse the lower number.
//! 6. [`Action::StoreSum`], [`Action::Unmask`] and [`Action::Apply`] are work for other threads;
//!    their results come back as inputs.
//! 7. After [`Action::Finish`] the machine takes no more input and is dropped. A client that comes
//!    back later is told by the driver how the rounds ended that it has not seen the end of: the
//!    newest one that was published and those of which it still holds keys ([`Outcome::message`]).
//!
//! The machine holds every advert of the round once, its boxes until ShareKeys ends, and never a
//! vector.

use std::sync::Arc;

use roundelay_crypto::digest::Digest;
use roundelay_crypto::mask::MaskKey;
use serde::{Deserialize, Serialize};

use crate::error::{AbortReason, Fault, Refusal, Stage as StageName};
use crate::ids::{ClientId, RosterIndex};
use crate::layout::Layout;
use crate::message::{
    Advert, Beacon, FromClient, Published, Quorum, Reveal, ShareRoster, SurvivorSet, ToClient,
};
use crate::plan::{RosterPlan, TrainingPlan};
use crate::time::{Millis, Time};

mod advertise;
mod blame;
mod consistency;
mod core;
mod draw;
mod edges;
mod input;
mod machine;
mod prepared;
mod publish;
mod rebuild;
mod restore;
mod share;
mod unmask;

pub use edges::{StoredBoxes, stored_boxes};
pub use machine::Round;
pub use rebuild::DropoutKeys;
pub use restore::RestoreError;

/// How long the stages of a round may take, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// AdvertiseKeys.
    pub advertise_keys: Millis,
    /// ShareKeys.
    pub share_keys: Millis,
    /// MaskedInput: local training and upload.
    pub masked_input: Millis,
    /// ConsistencyCheck.
    pub consistency_check: Millis,
    /// Unmasking. An abort here costs more than a wait: clients that have signed a set over a
    /// model never open another over it.
    pub unmasking: Millis,
    /// How long a client whose connection went is still waited for once all others have answered.
    pub grace: Millis,
}

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
    /// The round may go on to MaskedInput: what to compute. It may come before the round is
    /// prepared. `active` of the plan is filled in by the machine; where it names clients, with them or
    /// not at all.
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
    /// The masked sum over exactly the survivors is durable: its hash.
    SumStored(Digest),
    /// The masks are off: the sums of the check lanes held, or did not.
    Unmasked(UnmaskOutcome),
    /// The result was applied and stored by the engine: hash of the state after it.
    Applied(Digest),
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
    /// Every check lane sums to the number of survivors. The digest is of the
    /// aggregate ([`crate::transcript::aggregate_digest`]).
    Clean(Digest),
    /// Some check lane does not: nothing may be published.
    Dirty,
    /// [`UnmaskPlan::mask_keys`] found that a dropout's encapsulations are not its key seed's.
    KeysDiffer(ClientId),
}

/// What the driver is to do, in order.
#[derive(Debug)]
pub enum Action {
    /// Make durable before any later message leaves the machine.
    Persist(Record),
    /// Append to the audit log of every member.
    Audit(AuditEntry),
    /// For operators to see: a stage began with so many clients.
    StageBegan {
        /// The stage.
        stage: StageName,
        /// Clients in it.
        clients: usize,
    },
    /// Send to one client.
    Send {
        /// The client.
        to: ClientId,
        /// What to say.
        message: ToClient,
    },
    /// Send the same to several clients; it need be encoded only once.
    Broadcast {
        /// The clients.
        to: Vec<ClientId>,
        /// What to say.
        message: ToClient,
    },
    /// Send a client its boxes again, made by [`stored_boxes`] from the records of this round.
    /// They may arrive behind later messages: the client waits for them.
    ResendBoxes(ClientId),
    /// Be ready to take masked vectors of this layout from these clients, the active roster. The
    /// accumulator starts at zero.
    OpenUploads {
        /// The layout of every vector.
        layout: Layout,
        /// A.
        active: Vec<ClientId>,
    },
    /// A client's vector is in the sum for good: what it would take to take it back may go.
    Settle(ClientId),
    /// Take back what a client's unfinished or refused upload added to the accumulator.
    Discard(ClientId),
    /// Store the masked sum over exactly these clients durably, then input `SumStored`. Uploads
    /// of all others were discarded before.
    StoreSum(Vec<ClientId>),
    /// Take masks off the stored sum, check the lanes, then input `Unmasked`.
    Unmask(UnmaskPlan),
    /// Apply the aggregate, store the result durably, then input `Applied`. After a restart it
    /// may be asked for again.
    Apply {
        /// The plan that the aggregate belongs to.
        plan: Box<TrainingPlan>,
        /// Hash of the aggregate.
        aggregate: Digest,
        /// How many contributions are in it.
        survivors: u16,
    },
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

/// The masks to take off a stored sum.
pub struct UnmaskPlan {
    /// Hash of the stored masked sum.
    pub sum: Digest,
    /// The layout of the sum.
    pub layout: Layout,
    /// What every word of every check lane must be.
    pub survivors: u16,
    /// The self mask of each survivor.
    pub self_masks: Vec<MaskKey>,
    /// The keys of each dropout of the active roster.
    pub dropouts: Vec<DropoutKeys>,
}

impl UnmaskPlan {
    /// How many key agreements [`mask_keys`](Self::mask_keys) takes, about 0.1 ms each.
    #[must_use]
    pub fn agreements(&self) -> usize {
        self.dropouts.iter().map(|dropout| dropout.survivors()).sum()
    }

    /// All masks with the signs that cancel them. One key agreement for each pair of a dropout
    /// and a survivor: work for another thread; a driver may also spread
    /// [`DropoutKeys::mask_keys`] over several.
    ///
    /// # Errors
    /// Names the dropout whose encapsulations are not those of its rebuilt seed; to be input as
    /// [`UnmaskOutcome::KeysDiffer`].
    pub fn mask_keys(self) -> Result<Vec<MaskKey>, ClientId> {
        let mut keys = self.self_masks;
        for dropout in &self.dropouts {
            keys.extend(dropout.mask_keys()?);
        }
        Ok(keys)
    }
}

impl std::fmt::Debug for UnmaskPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (survivors, dropouts) = (self.self_masks.len(), self.dropouts.len());
        write!(f, "UnmaskPlan({survivors} survivors, {dropouts} dropouts)")
    }
}

/// How a round ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Announced to everyone.
    Published(Box<Published>),
    /// Nothing was opened, or nothing was published.
    Aborted(AbortReason),
}

impl Outcome {
    /// What clients are told.
    #[must_use]
    pub fn message(&self) -> ToClient {
        match self {
            Self::Published(published) => ToClient::Published((**published).clone()),
            Self::Aborted(reason) => ToClient::Aborted(reason.clone()),
        }
    }
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
    /// Shares were accepted. In a sparse graph [`Record::Drawn`] comes before.
    Shares(RosterIndex, Arc<ShareRoster>),
    /// ShareKeys ended; U2 is fixed.
    SharesClosed,
    /// MaskedInput began under this plan (A is fixed).
    Training(Box<TrainingPlan>),
    /// MaskedInput ended: U3 and the masked sum over exactly U3, durable before U3 is shown.
    Survivors {
        /// U3 with the clients' roots.
        set: Arc<SurvivorSet>,
        /// Hash of the stored masked sum.
        sum: Digest,
    },
    /// ConsistencyCheck ended with these signatures.
    Quorum(Arc<Quorum>),
    /// A client's shares arrived.
    Revealed(RosterIndex, Reveal),
    /// A client left the round.
    Left(RosterIndex, Departure),
    /// The round is over.
    Finished(Outcome),
    /// The nonces of a sparse graph are revealed, and the graph is drawn.
    Drawn(Arc<Beacon>),
}

/// Why a client is out of a round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Departure {
    /// It refused, and sits the round out.
    Declined(Refusal),
    /// It did what no honest client does.
    Expelled(Fault),
}

/// What members can later check the coordinator against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AuditEntry {
    /// A client dropped out in a stage.
    Dropout {
        /// The client.
        client: ClientId,
        /// The stage.
        stage: StageName,
    },
    /// A client left the round.
    Left {
        /// The client.
        client: ClientId,
        /// Why.
        departure: Departure,
    },
    /// The survivor set, before it was shown to anyone.
    Survivors {
        /// Its root.
        set: Digest,
        /// Survivors.
        clients: u16,
    },
    /// The end.
    Finished(Outcome),
}

#[cfg(test)]
mod tests;
