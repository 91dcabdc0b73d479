//! What a federation does next, as a pure machine over the machines of its rounds.
//!
//! ```text
//! connections, heavy work, clock ──Event──▶ Engine ──Effect──▶ store, connections, heavy work
//!                                            │
//!            members · progress · scheduler ─┴─ at most two rounds: one trains, one is prepared
//! ```
//! One entry, [`Engine::handle`]: total, without clock, socket or file. A driver carries out all
//! effects of one call in order, with everything to persist and to audit durable before the first
//! message of that call leaves; the server and the simulator do the same. After a restart
//! [`Engine::resume`] goes on from [`Progress`] and the records of the rounds that were not over.
//!
//! | module | for |
//! |---|---|
//! | [`tenant`] | whose clients may take part, and which are there |
//! | [`selection`] | who is planned for a round |
//! | [`federation`] | what is reached and what comes next |
//! | [`scheduler`] | the next step: plan, train, retry, wait, stall, finish |
//! | [`rounds`] | a round machine with what the engine knows about it |
//! | `machine` | [`Engine`] itself: events in, effects out |
//! | [`audit`] | what members can check, and how a federation stands for people |

use std::collections::BTreeMap;
use std::sync::Arc;

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::Signature;
use roundelay_protocol::error::{AbortReason, Fault, Stage};
use roundelay_protocol::ids::{ClientId, ModelVersion, RoundNumber, TenantId};
use roundelay_protocol::layout::Layout;
use roundelay_protocol::lineage::{Attested, Standing};
use roundelay_protocol::manifest::Manifest;
use roundelay_protocol::message::{FromClient, ToClient};
use roundelay_protocol::metrics::Metrics;
use roundelay_protocol::plan::TrainingPlan;
use roundelay_protocol::round::horizontal::coordinator::{
    Record, RestoreError, Timing, UnmaskOutcome, UnmaskPlan,
};
use roundelay_protocol::round::horizontal::terms::Terms;
use roundelay_protocol::session::{Join, Refused, RoundsEnd};
use roundelay_protocol::time::Time;

pub mod audit;
pub mod federation;
mod machine;
pub mod rounds;
pub mod scheduler;
pub mod selection;
pub mod tenant;

pub use machine::Engine;

use audit::{Entry, RoundSummary, State};
use federation::{Course, Progress};
use scheduler::Pace;

/// What a federation runs under.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The manifest in force and what it says about rounds.
    pub terms: Arc<Terms>,
    /// When rounds are planned.
    pub pace: Pace,
    /// How long each stage may take.
    pub timing: Timing,
}

impl Setup {
    /// Under this manifest, which has been verified.
    #[must_use]
    pub fn new(manifest: Manifest, pace: Pace, timing: Timing) -> Self {
        Self { terms: Arc::new(Terms::new(manifest)), pace, timing }
    }

    fn members(&self) -> BTreeMap<ClientId, TenantId> {
        let clients = self.terms.manifest().clients();
        clients.map(|client| (client.id, client.tenant.clone())).collect()
    }

    fn course(&self) -> Course {
        Course::of(self.terms.manifest())
    }
}

/// What a driver tells the engine.
#[derive(Debug)]
pub enum Event {
    /// The operator starts the federation, or starts it again after it stalled or stopped.
    Start,
    /// The operator stops the federation.
    Stop,
    /// A newer manifest is complete.
    Amended(Box<Setup>),
    /// A client asks to take part.
    Joined {
        /// The client, from its certificate.
        client: ClientId,
        /// Its tenant, from its certificate.
        tenant: TenantId,
        /// What it says about itself.
        join: Box<Join>,
    },
    /// A client's connection is gone.
    Left(ClientId),
    /// A message of a client that has joined.
    Message {
        /// The client.
        client: ClientId,
        /// The round.
        round: RoundNumber,
        /// What it says.
        message: FromClient,
    },
    /// A whole masked vector was added to the sum of a round.
    Uploaded {
        /// The client.
        client: ClientId,
        /// The round.
        round: RoundNumber,
        /// Root over the chunks that were received.
        root: Digest,
    },
    /// An upload was refused and what it had added was taken back.
    UploadRefused {
        /// The client.
        client: ClientId,
        /// The round.
        round: RoundNumber,
        /// Why.
        fault: Fault,
    },
    /// The masked sum of a round is durable.
    SumStored {
        /// The round.
        round: RoundNumber,
        /// Its hash.
        sum: Digest,
    },
    /// The masks are off.
    Unmasked {
        /// The round.
        round: RoundNumber,
        /// What was found.
        outcome: UnmaskOutcome,
    },
    /// The aggregate was applied, and the state after it is durable.
    Applied {
        /// The round.
        round: RoundNumber,
        /// What came out.
        applied: Applied,
    },
    /// Work of a round can't be done: nothing follows from the aggregate, or the sum is not exact.
    WorkFailed(RoundNumber, AbortReason),
    /// A client that has joined has derived a state itself.
    Attests {
        /// The client.
        client: ClientId,
        /// Where it stands.
        standing: Standing,
        /// Its signature under that.
        signature: Signature,
    },
    /// A client that has joined asks for the signatures under the newest state.
    AsksAttested(ClientId),
    /// A client has sent the state that it was asked for: it was checked and is stored. Or it is
    /// another one.
    StateGiven {
        /// The client.
        client: ClientId,
        /// Whether the state holds statistics; none where it is not the one that was asked for.
        standardised: Option<bool>,
    },
    /// The moment of the last [`Effect::WakeAt`] has passed.
    Timer,
}

/// What applying an aggregate gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Applied {
    /// Hash of model and optimiser state after it.
    pub state: Digest,
    /// Evaluation of the model that the round started from.
    pub metrics: Option<Metrics>,
}

/// What a driver is to do, in order.
#[derive(Debug)]
pub enum Effect {
    /// Make durable before any message of the same call leaves.
    Persist(Fact),
    /// Append to the audit log of every member; durable as above.
    Audit(Entry),
    /// Answer a client that asked to take part: it has joined.
    Admit {
        /// The client.
        client: ClientId,
        /// The newest result.
        standing: Standing,
    },
    /// Make durable with what comes next, or in a while: nothing waits for it.
    Keep(Fact),
    /// Give these clients the signatures under the newest state.
    Attested {
        /// The clients.
        to: Vec<ClientId>,
        /// State and signatures.
        attested: Attested,
    },
    /// Ask a client for a state that was lost here: check and store what it sends, then tell
    /// [`Event::StateGiven`].
    AskState {
        /// The client.
        client: ClientId,
        /// Which state.
        standing: Standing,
    },
    /// Answer a client that asked to take part: it can't.
    Refuse {
        /// The client.
        client: ClientId,
        /// Why.
        refused: Refused,
    },
    /// Tell a client that has joined that there will be no more rounds.
    End {
        /// The client.
        client: ClientId,
        /// Why.
        end: RoundsEnd,
    },
    /// Close a client's connection: it has to join again.
    Disconnect(ClientId),
    /// The newer manifest is in force from here on.
    Amended,
    /// Send a message of a round.
    Send {
        /// The clients.
        to: Vec<ClientId>,
        /// The round.
        round: RoundNumber,
        /// What to say.
        message: ToClient,
    },
    /// Send a client its boxes of a round again, from the round's records
    /// ([`stored_boxes`](roundelay_protocol::round::horizontal::coordinator::stored_boxes)).
    ResendBoxes {
        /// The client.
        to: ClientId,
        /// The round.
        round: RoundNumber,
    },
    /// Push the aggregate of a round behind its announcement.
    Push {
        /// The clients.
        to: Vec<ClientId>,
        /// The round.
        round: RoundNumber,
    },
    /// For operators to see: a stage began with so many clients.
    StageBegan {
        /// The round.
        round: RoundNumber,
        /// The stage.
        stage: Stage,
        /// Clients in it.
        clients: usize,
    },
    /// Be ready to take masked vectors.
    OpenUploads {
        /// The round.
        round: RoundNumber,
        /// Their layout.
        layout: Layout,
        /// From these clients.
        active: Vec<ClientId>,
    },
    /// A client's vector is in the sum for good: its undo data may go.
    Settle {
        /// The round.
        round: RoundNumber,
        /// The client.
        client: ClientId,
    },
    /// Take back what a client has added.
    Discard {
        /// The round.
        round: RoundNumber,
        /// The client.
        client: ClientId,
    },
    /// Store the masked sum over exactly these clients, then tell [`Event::SumStored`].
    StoreSum {
        /// The round.
        round: RoundNumber,
        /// The survivors.
        clients: Vec<ClientId>,
    },
    /// Take the masks off the stored sum, then tell [`Event::Unmasked`].
    Unmask {
        /// The round.
        round: RoundNumber,
        /// The sum and the masks.
        plan: UnmaskPlan,
    },
    /// Apply the unmasked aggregate, store what comes out, then tell [`Event::Applied`].
    Apply {
        /// The round.
        round: RoundNumber,
        /// What it computes.
        plan: Box<TrainingPlan>,
        /// Hash of the aggregate.
        aggregate: Digest,
        /// Clients in the sum.
        survivors: u16,
    },
    /// A client was expelled from a round.
    Expelled {
        /// The round.
        round: RoundNumber,
        /// The client.
        client: ClientId,
        /// What it did.
        fault: Fault,
    },
    /// The records of an interrupted round do not make a round: it is given up as aborted.
    Lost {
        /// The round.
        round: RoundNumber,
        /// What is wrong with them.
        error: RestoreError,
    },
    /// The round is over: let go of its uploads, its sum and its aggregate.
    Close(RoundNumber),
    /// Tell [`Event::Timer`] at this moment; replaces the one before. `None`: no more.
    WakeAt(Option<Time>),
}

impl Effect {
    fn expelled(&self) -> Option<ClientId> {
        match self {
            Self::Expelled { client, .. } => Some(*client),
            _ => None,
        }
    }

    /// Whether somebody else can tell that it was carried out: everything to persist has to be
    /// durable before.
    #[must_use]
    pub fn leaves(&self) -> bool {
        match self {
            Self::Admit { .. }
            | Self::Refuse { .. }
            | Self::End { .. }
            | Self::Disconnect(_)
            | Self::Send { .. }
            | Self::Push { .. }
            | Self::ResendBoxes { .. }
            // What is let go of must not be asked for again.
            | Self::Close(_) => true,
            Self::Persist(_)
            | Self::Audit(_)
            | Self::Keep(_)
            | Self::Attested { .. }
            | Self::AskState { .. }
            | Self::Amended
            | Self::StageBegan { .. }
            | Self::OpenUploads { .. }
            | Self::Settle { .. }
            | Self::Discard { .. }
            | Self::StoreSum { .. }
            | Self::Unmask { .. }
            | Self::Apply { .. }
            | Self::Expelled { .. }
            | Self::Lost { .. }
            | Self::WakeAt(_) => false,
        }
    }
}

/// What has to survive a restart.
#[derive(Debug)]
pub enum Fact {
    /// A record of a round, after those before it.
    Record(RoundNumber, Box<Record>),
    /// How a round stands, for people.
    Round(RoundSummary),
    /// The records of a round are not needed any more.
    Forget(RoundNumber),
    /// What the engine knows between rounds.
    Progress(Box<Progress>),
    /// A round has made a state.
    Model(NewModel),
    /// The state of this standing was lost here, and a client gave it back.
    Recovered(Standing),
    /// A version was evaluated.
    Evaluated(ModelVersion, Metrics),
    /// Whether rounds run: running, stopped or finished.
    State(State),
}

/// A state that a round has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewModel {
    /// Its version: a train round makes the next one, statistics make version 0 anew.
    pub version: ModelVersion,
    /// The version that it was trained from.
    pub parent: Option<ModelVersion>,
    /// The round.
    pub round: RoundNumber,
    /// Hash of model and optimiser state.
    pub state: Digest,
    /// Hash of the aggregate.
    pub aggregate: Digest,
    /// Root of the transcript of the round.
    pub transcript: Digest,
    /// Clients in the sum.
    pub survivors: u16,
}

#[cfg(test)]
mod tests;
