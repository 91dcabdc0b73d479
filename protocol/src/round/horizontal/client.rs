//! The client's half of a horizontal round.
//!
//! ```text
//! Advertise ─RosterPlan─▶ Share ─Adverts─▶ Open ─Boxes─▶ Prepared ─TrainingPlan─▶ Training
//!     sparse: └─▶ Draw ─Listing─▶ Revealing ─Beacon─▶ Share                           │
//!                                                                    Contributed ─▶ Masking
//!   Revealed ◀─Quorum─ Unmask ◀─SurvivorSet─ Consistency ◀──────────────Masked────────┘
//!      └─Published─▶ Applying ─Applied─▶ finished
//! any stage: a refusal ─▶ Bystander (no secrets) ─Published─▶ Applying      Aborted, Expelled ─▶ finished
//! ```
//! # How a driver runs it
//!
//! A driver keeps one [`History`] per federation and one [`Round`] per round that is not finished;
//! rounds overlap, since round r + 1 is prepared while round r trains.
//!
//! 1. For a message of a round that it knows no machine for, it makes a [`Round`] and inputs the
//!    message. A client that was restarted has lost the keys of its rounds; a fresh machine says
//!    so by itself ([`Refusal::Restarted`]), and still takes part in applying results.
//! 2. It calls [`Round::handle`] with one [`Input`] at a time, then carries out the actions **in
//!    order**: what [`Action::Persist`] carries is durable before a later action leaves the
//!    machine. If it can't be made durable, the driver drops all machines of the federation.
//! 3. [`Action::Contribute`], [`Action::Mask`] and [`Action::Apply`] are work for other threads.
//!    Their results come back as inputs; until then other messages may be input freely. A driver
//!    applies results in the order of their rounds, and before it contributes to a later round.
//! 4. Messages of one control stream are input in their order; a roster may overtake them or be
//!    overtaken, the machine sorts that out.
//! 5. After [`Action::Finish`] the machine takes no more input and is dropped.
//!
//! Every secret lives in the struct of a stage and dies with it; the machine is pure, and draws
//! its seeds from the generator that [`Round::new`] is given.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand_core::CryptoRng;
use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::{IdentityKey, IdentityPublic, Signature, first_bad};
use roundelay_crypto::mask::MaskKey;

use crate::error::{AbortReason, Fault, Refusal, Stage as StageName};
use crate::ids::{ClientId, RosterIndex, RoundNumber};
use crate::layout::Layout;
use crate::manifest::Floors;
use crate::message::{FromClient, Published, ToClient};
use crate::plan::{RosterPlan, TrainingPlan};
use crate::privacy::Account;
use crate::round::horizontal::terms::Terms;
use crate::signed::{Scope, Statement};
use crate::time::{Millis, Time};

mod advertise;
mod consistency;
mod draw;
mod history;
mod input;
mod machine;
mod open;
mod seeds;
mod share;
mod unmask;

pub use crate::lineage::Standing;
use history::Intent;
pub use history::{Cohort, Event, History, Record, StepsBack};
pub use machine::Round;

/// What every round of a client in one federation needs; cheap to clone.
#[derive(Clone)]
pub struct Setup {
    /// What the pinned manifest says about rounds.
    pub terms: Arc<Terms>,
    /// Signs this client's messages.
    pub identity: Arc<IdentityKey>,
    /// Peers whose fingerprints this client has compared by another channel.
    pub pinned: Arc<BTreeSet<ClientId>>,
    /// How long the coordinator may be silent before the keys of a round are burned. It has to
    /// cover the training of the slowest client, twice where rounds are prepared ahead.
    pub patience: Millis,
    /// What was released over this client's data so far, by whatever federation.
    pub account: Account,
}

/// What a driver tells the client's half.
#[derive(Debug)]
pub enum Input {
    /// A message of the coordinator.
    Message(ToClient),
    /// Local work is done: the contribution is laid out and waits with the driver to be masked.
    Contributed,
    /// Local work failed, was forbidden, or could not be stored.
    ContributionFailed(LocalFailure),
    /// The masked vector is durable.
    Masked(Roots),
    /// The published result was applied: the state hash that this client derived, or `None` where
    /// the aggregate does not match its hash.
    Applied(Option<Digest>),
    /// The tenant's side ends its part: the manifest was amended, the policy changed, or the client
    /// stops. The keys of the round are burned.
    Withdraw,
    /// The deadline that was set has passed.
    Deadline,
}

/// What names a contribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roots {
    /// Root over the chunks of the masked vector.
    pub masked: Digest,
    /// Root over the same chunks before they were masked. It stays with this client, which gives no
    /// second contribution where it has signed a set over the first.
    pub plain: Digest,
}

/// Why a client has no contribution. The coordinator learns this much and no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalFailure {
    /// Training or storing failed.
    TrainingFailed,
    /// A value of the contribution is not a finite number.
    NotFinite,
    /// The tenant's policy forbids it.
    Forbidden,
}

impl From<LocalFailure> for Refusal {
    fn from(failure: LocalFailure) -> Self {
        match failure {
            LocalFailure::TrainingFailed => Self::TrainingFailed,
            LocalFailure::NotFinite => Self::ContributionNotFinite,
            LocalFailure::Forbidden => Self::ForbiddenByPolicy,
        }
    }
}

/// What the driver is to do, in order.
#[derive(Debug)]
pub enum Action {
    /// Make durable before any later action leaves the machine.
    Persist(Record),
    /// The account was charged: make that durable before any later action leaves the machine.
    Charge,
    /// Send to the coordinator.
    Send(FromClient),
    /// Do the local work that the plan asks for, lay it out, then input `Contributed`.
    Contribute(Box<TrainingPlan>),
    /// Mask the laid-out contribution in place and store it durably, then input `Masked`.
    Mask(MaskPlan),
    /// Stream the stored masked vector, from the first byte. A retransmission is byte-identical.
    Upload,
    /// Fetch the aggregate, check its hash, apply it, then input `Applied`. A driver that lacks
    /// the state before it fetches the state after it from its peers' signatures instead.
    Apply(Box<Published>),
    /// Input `Deadline` at this moment; replaces the deadline before it.
    SetDeadline(Time),
    /// The round is over for this client.
    Finish(Outcome),
}

/// The masks to put on a contribution.
pub struct MaskPlan {
    /// Self mask and one pairwise mask for each other member of A.
    pub keys: Vec<MaskKey>,
    /// The layout of the contribution.
    pub layout: Layout,
}

impl std::fmt::Debug for MaskPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MaskPlan({} masks)", self.keys.len())
    }
}

/// How a round ended for this client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Published and derived.
    Published(Box<Published>),
    /// The result was known already.
    Known,
    /// This client refused, and no result that it can follow came after.
    Refused(Refusal),
    /// A result was announced that is not what this client signed or derives.
    Broken(Refusal),
    /// The coordinator ended the round.
    Aborted(AbortReason),
    /// The coordinator found this client at fault.
    Expelled(Fault),
}

/// What all stages of one round share.
struct Core {
    setup: Setup,
    scope: Scope,
    /// This client.
    own: ClientId,
}

/// One call of `handle`.
struct Turn<'a> {
    history: &'a mut History,
    actions: &'a mut Vec<Action>,
    /// The answer to the message at hand, kept to be repeated byte for byte.
    reply: Option<FromClient>,
}

impl Turn<'_> {
    /// Takes an event into the history and has it made durable.
    fn remember(&mut self, core: &Core, event: Event) {
        let record = self.history.record(core.scope.round, event);
        self.actions.push(Action::Persist(record));
    }

    fn reply(&mut self, message: FromClient) {
        self.actions.push(Action::Send(message.clone()));
        self.reply = Some(message);
    }
}

/// This client's place in the cohort.
struct Seat {
    plan: Box<RosterPlan>,
    own: RosterIndex,
    floors: Floors,
    /// This client's neighbours in a sparse graph, once it is drawn, in roster order.
    around: Option<Vec<RosterIndex>>,
}

impl Seat {
    fn client_at(&self, index: RosterIndex) -> Option<ClientId> {
        self.plan.client_at(index)
    }

    /// What a training plan asks this client to release, and with whom.
    fn intent(&self, plan: &TrainingPlan) -> Intent {
        let members = self.plan.cohort.clone();
        let witnesses = self.floors.witnesses(members.len());
        let cohort = Cohort { manifest: self.plan.manifest, members, witnesses };
        Intent { kind: plan.kind, model: plan.model, cohort }
    }

    fn identity<'a>(&self, core: &'a Core, index: RosterIndex) -> Option<&'a IdentityPublic> {
        core.setup.terms.identity(self.client_at(index)?)
    }

    /// How many signatures under a statement are by members that `counts` names, indices strictly
    /// rising, up to the first that is not.
    fn signatures(
        &self,
        core: &Core,
        statement: &Statement<'_>,
        signatures: &[(RosterIndex, Signature)],
        counts: impl Fn(RosterIndex) -> bool,
    ) -> usize {
        let (message, mut previous) = (core.scope.message(statement), None);
        let by_members = signatures.iter().map_while(|(signer, signature)| {
            let rises = previous.replace(*signer) < Some(*signer);
            let identity = self.identity(core, *signer).filter(|_| rises && counts(*signer))?;
            Some((identity, &message, signature))
        });
        let signed: Vec<_> = by_members.collect();
        first_bad(&signed).unwrap_or(signed.len())
    }

    /// Enough members are left to reach the quorum with `clients_min` honest ones.
    fn require_members(&self, members: usize) -> Result<(), Refusal> {
        let present = u16::try_from(members).unwrap_or(u16::MAX);
        let required = self.floors.members_min();
        if present < required {
            return Err(Refusal::TooFewMembers { present, required });
        }
        Ok(())
    }

    /// In a sparse graph, t of this client's neighbours are among these: without them its vector
    /// could come open alone, or its seeds not at all.
    fn require_neighbours<'a>(
        &self,
        members: impl IntoIterator<Item = &'a RosterIndex>,
    ) -> Result<(), Refusal> {
        let Some(around) = &self.around else { return Ok(()) };
        let left = members.into_iter().filter(|index| around.binary_search(index).is_ok());
        let (present, required) = (left.count(), self.floors.neighbours_min());
        if present < usize::from(required) {
            let present = u16::try_from(present).unwrap_or(u16::MAX);
            return Err(Refusal::TooFewNeighbours { present, required });
        }
        Ok(())
    }

    /// Under `whole_groups` a set that may be released is a union of fixed groups.
    fn is_allowed_set(&self, core: &Core, indices: &[RosterIndex]) -> bool {
        let terms = &core.setup.terms;
        !terms.rules().whole_groups
            || terms.groups().is_union(indices.iter().filter_map(|index| self.client_at(*index)))
    }
}
