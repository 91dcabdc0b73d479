//! What a federation shows: entries for the audit logs of its members, and how it stands, for
//! people.

use roundelay_protocol::error::{Fault, Refusal, Stage};
use roundelay_protocol::ids::{ClientId, FederationId, ModelVersion, RoundNumber};
use roundelay_protocol::plan::PlanKind;
use roundelay_protocol::round::horizontal::coordinator::{AuditEntry, Departure};
use serde::Serialize;

use super::rounds::RoundState;
use super::scheduler::Waiting;

/// One entry for the audit log of every member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A round went on.
    Round(RoundNumber, AuditEntry),
    /// The operator started the federation.
    Started,
    /// The operator stopped it.
    Stopped,
    /// The last round of its task is done.
    Finished(ModelVersion),
    /// It does not go on by itself, and why.
    Stalled(String),
    /// The coordinator was restored from an older backup; its clients gave it this version back.
    Recovered(ModelVersion),
}

/// How a federation stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// Whether rounds run.
    pub state: State,
    /// What it waits for, while it runs.
    pub waiting: Option<Waiting>,
    /// Why it does not go on by itself, in words.
    pub reason: Option<String>,
    /// Clients of the manifest.
    pub members: u16,
    /// Clients that are there.
    pub ready: u16,
    /// The newest model version.
    pub model_version: u64,
    /// Train rounds of the task.
    pub rounds: u32,
    /// The round that trains.
    pub training: Option<RoundStatus>,
    /// The round that is prepared meanwhile.
    pub ahead: Option<RoundStatus>,
    /// Rounds that failed in a row.
    pub failed: u32,
    /// The last round that is over.
    pub last: Option<RoundSummary>,
    /// The last evaluation.
    pub evaluation: Option<Evaluation>,
    /// How the budget of each data set stands, where privacy is promised.
    pub privacy: Option<PrivacyStatus>,
    /// Clients that were expelled from a round since the coordinator started, with the last fault.
    pub expelled: Vec<Expelled>,
    /// Clients that declined to take part in a round since the coordinator started, with the last
    /// reason.
    pub declined: Vec<Declined>,
}

/// Whether rounds run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Rounds run.
    Running,
    /// The round under way ends first: its survivor set was shown.
    Stopping,
    /// The operator stopped it.
    Stopped,
    /// It needs the operator.
    Stalled,
    /// Everything is done.
    Finished,
}

/// What a federation has spent of the budget that it promises. Clients whose data serves other
/// federations too have spent more.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PrivacyStatus {
    /// ε spent so far.
    pub epsilon_spent: f64,
    /// ε that may be spent.
    pub epsilon: f64,
    /// At this δ.
    pub delta: f64,
    /// Rounds charged, failed ones included.
    pub rounds_charged: u64,
    /// Rounds that are still paid, at most those of the task.
    pub rounds_left: u64,
}

/// A round that is not over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RoundStatus {
    /// Its number.
    pub round: u64,
    /// What it computes; none before its training plan.
    pub kind: Option<PlanKind>,
    /// Its stage; none when it is over.
    pub stage: Option<Stage>,
    /// Clients planned.
    pub cohort: u16,
    /// Clients that dropped out, refused or were expelled.
    pub dropouts: u16,
}

/// A round as people look back on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoundSummary {
    /// Its number.
    pub round: RoundNumber,
    /// What it computes; none before its training plan.
    pub kind: Option<PlanKind>,
    /// The version that it starts from; none before its training plan.
    pub model_version: Option<ModelVersion>,
    /// Where it stands.
    pub state: RoundState,
    /// When it was planned, on the driver's clock.
    pub began_ms: u64,
    /// When it ended, on the driver's clock.
    pub ended_ms: Option<u64>,
    /// Clients planned.
    pub cohort: u16,
    /// Clients in the published sum.
    pub survivors: u16,
    /// Clients that dropped out, refused or were expelled.
    pub dropouts: u16,
    /// Those that said why they left, or were told.
    pub left: Vec<Left>,
}

/// A client that left a round before its end: it declined, or was expelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Which.
    #[serde(serialize_with = "as_text")]
    pub client: ClientId,
    /// Why.
    pub departure: Departure,
}

/// Federated evaluation of a version.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Evaluation {
    /// The version.
    pub model_version: u64,
    /// Held-out rows of all survivors.
    pub rows: u64,
    /// Mean loss, in nats.
    pub loss: f64,
    /// Share of rows classified correctly, 0 to 1.
    pub accuracy: f64,
}

/// A client that was expelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Expelled {
    /// Which.
    #[serde(serialize_with = "as_text")]
    pub client: ClientId,
    /// From which round.
    pub round: u64,
    /// What it did.
    #[serde(serialize_with = "as_text")]
    pub fault: Fault,
}

/// A client that declined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Declined {
    /// Which.
    #[serde(serialize_with = "as_text")]
    pub client: ClientId,
    /// In which round.
    pub round: u64,
    /// Why.
    #[serde(serialize_with = "as_text")]
    pub reason: Refusal,
}

fn as_text<T: std::fmt::Display, S: serde::Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Names a federation in a log line.
#[must_use]
pub fn short(federation: FederationId) -> String {
    federation.to_string().chars().take(8).collect()
}
