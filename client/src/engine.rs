//! What a client decides, without I/O: it holds the pinned manifest, the history and the model
//! state of a federation, drives the round machines of `roundelay-protocol`, and says what is to be
//! done as data. Three drivers run it: tests, the simulator, and the daemon's session.
//!
//! ```text
//! messages, vectors, results ──▶ Federation ──▶ effects
//!                                 │  History, State
//!                                 └─ Round r (trains)  Round r + 1 (prepares)
//! ```
//! # How a driver runs it
//!
//! 1. It makes a [`Federation`] from the pinned manifest, the records of the history and the stored
//!    state, and carries out the effects that come with it.
//! 2. On a connection it sends [`Federation::join`]; the answer is [`Input::Joined`].
//! 3. It inputs one [`Input`] at a time and carries out the [`Effect`]s **in order**: what
//!    [`Effect::Persist`] carries is written before the next effect, so that the death of the
//!    process can't undo it, and durable before a later [`Effect::Upload`] or a message that
//!    [waits for records](FromClient::waits_for_records) leaves. If it can't be made so, the driver inputs
//!    [`Input::PersistFailed`] and carries out none of the effects that are left.
//! 4. [`Effect::Train`], [`Effect::Mask`] and [`Effect::Derive`] are heavy: the driver runs them on
//!    other threads (each has a `run`) and inputs the results.

use std::sync::Arc;

use roundelay_crypto::identity::Signature;
use roundelay_protocol::error::{AbortReason, Fault, Refusal};
use roundelay_protocol::ids::{ModelVersion, RoundNumber};
use roundelay_protocol::lineage::{Attested, Standing, State};
use roundelay_protocol::message::{FromClient, ToClient};
use roundelay_protocol::metrics::Metrics;
use roundelay_protocol::plan::PlanKind;
use roundelay_protocol::round::horizontal::client::{LocalFailure, Record, Roots};
use roundelay_protocol::session::VectorKind;
use roundelay_protocol::time::Time;

mod federation;
mod rounds;
mod state;
pub mod work;

pub use federation::Federation;
use work::{Contribution, Derivation, Derived, MaskWork, TrainWork, WorkFailure};

/// What a driver tells a federation.
#[derive(Debug)]
pub enum Input {
    /// The coordinator took the client in, and names the newest result.
    Joined(Standing),
    /// Signatures under the newest state.
    Attested(Attested),
    /// The coordinator asks for the state of this standing: it has lost it.
    StateAsked(Standing),
    /// A message of a round, in the order of that round.
    Message {
        /// The round.
        round: RoundNumber,
        /// The message.
        message: ToClient,
    },
    /// Local work of a round is done or has failed.
    Trained {
        /// The round.
        round: RoundNumber,
        /// What [`TrainWork::run`] gave.
        result: Result<Contribution, WorkFailure>,
    },
    /// The masked vector of a round is durable; or it could not be stored.
    Masked {
        /// The round.
        round: RoundNumber,
        /// What names it.
        result: Result<Roots, LocalFailure>,
    },
    /// The aggregate of a round, whole.
    Aggregate {
        /// The round.
        round: RoundNumber,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// A model state that was fetched, whole.
    State {
        /// The version.
        version: ModelVersion,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// What [`Derivation::run`] gave.
    Derived(Derived),
    /// The moment of the last [`Effect::SetDeadline`] has passed.
    Deadline,
    /// A record could not be made durable: what it covers must never be sent.
    PersistFailed,
    /// This client is about to leave for a while. Where it has uploaded it goes on, for nobody else
    /// can take its part; it leaves every other round. [`Federation::has_left`] says when that is
    /// done.
    Leaving,
    /// The federation is over: its rounds are done, or it was stopped. Results that were published
    /// are still applied; [`Federation::is_idle`] says when that is done.
    Ended,
}

/// What a driver is to do, in order.
#[derive(Debug)]
pub enum Effect {
    /// Write now, and make durable before a later upload or message that waits for it leaves.
    Persist(Record),
    /// The account of the data was charged: make that durable before a later upload or message leaves,
    /// or input [`Input::PersistFailed`].
    Charge,
    /// Send to the coordinator.
    Send {
        /// The round.
        round: RoundNumber,
        /// The message.
        message: FromClient,
    },
    /// Do the local work of a round, then input [`Input::Trained`]. One at a time.
    Train(Box<TrainWork>),
    /// The work of this round is of no use any more.
    Cancel(RoundNumber),
    /// Mask a contribution, store it durably, then input [`Input::Masked`].
    Mask(Box<MaskWork>),
    /// Stream the stored vector of a round from its first byte.
    Upload(RoundNumber),
    /// The round is over: its stored vector is of no use any more.
    Forget(RoundNumber),
    /// A vector of at most so many bytes may come; others are to be refused.
    Expect {
        /// What it is.
        kind: VectorKind,
        /// Its most bytes.
        bytes_max: u64,
    },
    /// Ask the coordinator for a vector that is expected.
    Fetch(VectorKind),
    /// Tell the coordinator that this client has derived the state itself. Nothing waits for it.
    Attest {
        /// Where it stands.
        standing: Standing,
        /// Its signature under that.
        signature: Signature,
    },
    /// Ask the coordinator for the signatures under the newest state.
    FetchAttested,
    /// Send the coordinator this state, which it asked for.
    GiveState(Arc<State>),
    /// Derive a state, then input [`Input::Derived`].
    Derive(Box<Derivation>),
    /// Keep this state for the next start. Nothing waits for it: a newer one may take its place.
    Save(Arc<State>),
    /// Input [`Input::Deadline`] at this moment; replaces the one before it. `None`: there is none.
    SetDeadline(Option<Time>),
    /// Tell the tenant.
    Tell(Event),
}

/// What the tenant is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The client takes part in a round.
    RoundBegan {
        /// The round.
        round: RoundNumber,
        /// Clients in its cohort.
        clients: usize,
    },
    /// Local work began.
    Working {
        /// The round.
        round: RoundNumber,
        /// What is computed.
        kind: PlanKind,
        /// From which version.
        version: ModelVersion,
    },
    /// The masked vector is on its way.
    Uploading {
        /// The round.
        round: RoundNumber,
    },
    /// A round was published and this client derived its result.
    Published {
        /// The round.
        round: RoundNumber,
        /// What was computed.
        kind: PlanKind,
        /// The version that this client now holds.
        version: ModelVersion,
        /// Contributions in the sum.
        survivors: u16,
        /// The federated evaluation of the version before, where the round has one.
        metrics: Option<Metrics>,
    },
    /// This client sits a round out.
    SatOut {
        /// The round.
        round: RoundNumber,
        /// Why, as the coordinator is told.
        refusal: Refusal,
    },
    /// Why this client has no contribution: for the tenant's eyes alone.
    WorkFailed {
        /// The round.
        round: RoundNumber,
        /// The trainer's words.
        reason: String,
    },
    /// The coordinator ended a round without a result.
    Aborted {
        /// The round.
        round: RoundNumber,
        /// Why.
        reason: AbortReason,
    },
    /// The coordinator found this client at fault and plans it for no other round.
    Expelled {
        /// The round.
        round: RoundNumber,
        /// What it is said to have done.
        fault: Fault,
    },
    /// This client took over a model that its peers trained without it.
    CaughtUp {
        /// The version.
        version: ModelVersion,
    },
    /// The newest model was not taken over: too few members have signed it, in which case it is
    /// asked for again, or what was fetched is not what they signed.
    NotCaughtUp(String),
    /// This client gives the coordinator back a state that it has lost.
    GaveState {
        /// The version.
        version: ModelVersion,
    },
    /// The coordinator is behind what this client has seen: it may have been restored from a
    /// backup. This client does not step back.
    CoordinatorBehind {
        /// The coordinator's version.
        theirs: ModelVersion,
        /// This client's.
        ours: ModelVersion,
    },
    /// The coordinator's model does not follow from what this client has seen; no round of this
    /// federation is trusted any more until the client is started again.
    LineageBroken(String),
}

#[cfg(test)]
pub(crate) mod tests;
