//! What a running client reports, for programs and for people.

use std::fmt;

use roundelay_protocol::error::Refusal;
use roundelay_protocol::ids::FederationId;
use roundelay_protocol::plan::PlanKind;
use roundelay_protocol::session::RoundsEnd;
use serde::{Serialize, Serializer};

use crate::engine::Event as EngineEvent;
use crate::session::driver::{FederationNews, News};
use crate::session::federation::Told;

/// Something that happened. Its `Display` is one line for people; as JSON it has a field `event`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ClientEvent {
    /// The coordinator is dialled.
    Connecting {
        /// `host:port`.
        coordinator: String,
    },
    /// The coordinator welcomed this client.
    Connected,
    /// There is no connection; the next attempt follows by itself.
    Disconnected {
        /// Why.
        reason: String,
        /// When it is tried again, in milliseconds.
        retry_in_ms: u64,
    },
    /// A signed notice moved this client to another coordinator of the same installation.
    Moved {
        /// `host:port`, kept for the next start.
        coordinator: String,
    },
    /// The certificate was renewed.
    CertificateRenewed {
        /// The end of its life, milliseconds since 1970.
        until_unix_ms: u64,
    },
    /// Something that needs no action yet.
    Warning {
        /// What.
        message: String,
    },
    /// Something about one federation.
    Federation {
        /// Its id.
        #[serde(serialize_with = "as_text")]
        federation: FederationId,
        /// What.
        #[serde(flatten)]
        news: FederationEvent,
    },
}

/// Something that happened in one federation.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "about", rename_all = "snake_case")]
#[non_exhaustive]
pub enum FederationEvent {
    /// Its manifest is complete; the trainer reads the data.
    Preparing {
        /// The federation's name.
        name: String,
    },
    /// The data fits the manifest's schema; the client joins.
    Ready {
        /// The federation's name.
        name: String,
        /// Rows to train on.
        rows: u64,
        /// Rows held out for evaluation.
        held_out_rows: u64,
        /// The model version that this client holds.
        version: u64,
    },
    /// Other tenants have not signed the manifest yet.
    Waiting {
        /// The federation's name.
        name: String,
        /// Whose signatures are missing.
        reason: String,
    },
    /// This tenant has not signed the newest manifest.
    Unsigned {
        /// The federation's name.
        name: String,
    },
    /// The coordinator does not take this client in now; it is asked again.
    NotTaken {
        /// Why.
        reason: String,
    },
    /// A round began.
    RoundBegan {
        /// The round.
        round: u64,
        /// Clients in it.
        clients: usize,
    },
    /// Local work began.
    Working {
        /// The round.
        round: u64,
        /// `statistics`, `train` or `evaluate`.
        kind: &'static str,
        /// The model version that it starts from.
        version: u64,
    },
    /// Local training goes on.
    Training {
        /// The round.
        round: u64,
        /// Rows done.
        done: u64,
        /// Rows in all.
        total: u64,
    },
    /// The masked vector is on its way.
    Uploading {
        /// The round.
        round: u64,
    },
    /// A round was published, and this client derived the same result.
    Published {
        /// The round.
        round: u64,
        /// `statistics`, `train` or `evaluate`.
        kind: &'static str,
        /// The model version that this client now holds.
        version: u64,
        /// Contributions in the sum.
        survivors: u16,
        /// Federated evaluation of the version that the round started from.
        #[serde(skip_serializing_if = "Option::is_none")]
        evaluation: Option<Evaluation>,
    },
    /// This client sits a round out; nothing of it was opened.
    SatOut {
        /// The round.
        round: u64,
        /// Why.
        reason: String,
    },
    /// The local work failed. The reason is not sent to anyone.
    WorkFailed {
        /// The round.
        round: u64,
        /// Why.
        reason: String,
    },
    /// The coordinator ended a round without a result.
    Aborted {
        /// The round.
        round: u64,
        /// Why.
        reason: String,
    },
    /// This client took over a model that its peers trained without it.
    CaughtUp {
        /// The version.
        version: u64,
    },
    /// The coordinator was restored from a backup older than a model that this client holds, and asked
    /// for it.
    GaveState {
        /// The version.
        version: u64,
    },
    /// A model that this client fetched was not the announced one; it tries again with the next
    /// round.
    NotCaughtUp {
        /// How that showed.
        reason: String,
    },
    /// The coordinator is behind what this client has seen, as after a restored backup.
    CoordinatorBehind {
        /// The coordinator's version.
        theirs: u64,
        /// This client's.
        ours: u64,
    },
    /// The coordinator's model does not follow from what this client has seen.
    LineageBroken {
        /// How that showed.
        reason: String,
    },
    /// Something could not be written; what depends on it is not sent.
    NotStored {
        /// What, and what to do.
        reason: String,
    },
    /// The federation can't run here.
    Failed {
        /// Why, and what to do.
        reason: String,
    },
    /// The operator has stopped the federation; this client takes part again once it is started.
    Stopped {
        /// Why.
        reason: String,
    },
    /// The federation does not go on by itself; this client takes part again once its operator has
    /// started it.
    Stalled {
        /// Why.
        reason: String,
    },
    /// An amendment that this tenant has signed is not in force yet; rounds go on meanwhile.
    Amending {
        /// What it waits for, and for whom.
        reason: String,
    },
    /// The federation's rounds are over, or this client's part in them.
    Over {
        /// The federation's name.
        name: String,
        /// Why.
        reason: String,
    },
}

/// A federated evaluation: sums over the held-out rows of all survivors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Evaluation {
    /// Held-out rows.
    pub rows: u64,
    /// Share of them classified correctly, 0 to 1.
    pub accuracy: f64,
    /// Mean loss of a row, in nats.
    pub loss: f64,
}

fn as_text<S: Serializer>(id: &FederationId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

fn kind_name(kind: PlanKind) -> &'static str {
    match kind {
        PlanKind::Statistics => "statistics",
        PlanKind::Train => "train",
        PlanKind::Evaluate => "evaluate",
    }
}

impl ClientEvent {
    /// The event of a piece of news; `None` for what is not an event.
    pub(crate) fn of(news: &News) -> Option<Self> {
        Some(match news {
            News::Connecting(coordinator) => Self::Connecting { coordinator: coordinator.clone() },
            News::Connected => Self::Connected,
            News::Disconnected { error, retry_in } => Self::Disconnected {
                reason: error.to_string(),
                retry_in_ms: u64::try_from(retry_in.as_millis()).unwrap_or(u64::MAX),
            },
            News::Moved(coordinator) => Self::Moved { coordinator: coordinator.clone() },
            News::Renewed(until) => {
                Self::CertificateRenewed { until_unix_ms: crate::clock::unix_ms_of(*until) }
            }
            News::Warning(message) => Self::Warning { message: message.clone() },
            News::Federation(federation, news) => {
                Self::Federation { federation: *federation, news: FederationEvent::of(news)? }
            }
        })
    }
}

impl FederationEvent {
    fn of(news: &FederationNews) -> Option<Self> {
        Some(match news {
            FederationNews::Preparing { name } => Self::Preparing { name: name.clone() },
            FederationNews::Ready { name, data, version } => Self::Ready {
                name: name.clone(),
                rows: data.rows,
                held_out_rows: data.held_out_rows,
                version: version.0,
            },
            FederationNews::Waiting { name, why } => {
                Self::Waiting { name: name.clone(), reason: why.clone() }
            }
            FederationNews::Unsigned { name } => Self::Unsigned { name: name.clone() },
            FederationNews::NotTaken(reason) => Self::NotTaken { reason: reason.clone() },
            FederationNews::Progress { round, done, total } => {
                Self::Training { round: round.0, done: *done, total: *total }
            }
            FederationNews::Told(Told::Event(event)) => Self::of_engine(event),
            FederationNews::Told(Told::Paused(RoundsEnd::Stalled)) => {
                Self::Stalled { reason: RoundsEnd::Stalled.to_string() }
            }
            FederationNews::Told(Told::Paused(end)) => Self::Stopped { reason: end.to_string() },
            FederationNews::Told(Told::Checkpoint(error) | Told::Unwritable(error)) => {
                Self::NotStored { reason: error.to_string() }
            }
            FederationNews::Told(Told::Model(_)) => return None,
            FederationNews::Failed(reason) => Self::Failed { reason: reason.clone() },
            FederationNews::Amending { why } => Self::Amending { reason: why.clone() },
            FederationNews::Over { name, reason } => {
                Self::Over { name: name.clone(), reason: reason.clone() }
            }
        })
    }

    fn of_engine(event: &EngineEvent) -> Self {
        match event {
            EngineEvent::RoundBegan { round, clients } => {
                Self::RoundBegan { round: round.0, clients: *clients }
            }
            EngineEvent::Working { round, kind, version } => {
                Self::Working { round: round.0, kind: kind_name(*kind), version: version.0 }
            }
            EngineEvent::Uploading { round } => Self::Uploading { round: round.0 },
            EngineEvent::Published { round, kind, version, survivors, metrics } => {
                Self::Published {
                    round: round.0,
                    kind: kind_name(*kind),
                    version: version.0,
                    survivors: *survivors,
                    evaluation: metrics.map(|metrics| Evaluation {
                        rows: metrics.rows,
                        accuracy: metrics.accuracy(),
                        loss: metrics.loss(),
                    }),
                }
            }
            EngineEvent::SatOut { round, refusal } => {
                let mut reason = refusal.to_string();
                if *refusal == Refusal::WaitedTooLong {
                    // The number is this client's own, so the advice is too.
                    reason += "; if others train for longer, raise `patience_hours` in client.toml";
                }
                Self::SatOut { round: round.0, reason }
            }
            EngineEvent::WorkFailed { round, reason } => {
                Self::WorkFailed { round: round.0, reason: reason.clone() }
            }
            EngineEvent::Aborted { round, reason } => {
                Self::Aborted { round: round.0, reason: reason.to_string() }
            }
            EngineEvent::Expelled { round, fault } => {
                Self::Failed { reason: format!("expelled from round {round}: {fault}") }
            }
            EngineEvent::CaughtUp { version } => Self::CaughtUp { version: version.0 },
            EngineEvent::NotCaughtUp(reason) => Self::NotCaughtUp { reason: reason.clone() },
            EngineEvent::GaveState { version } => Self::GaveState { version: version.0 },
            EngineEvent::CoordinatorBehind { theirs, ours } => {
                Self::CoordinatorBehind { theirs: theirs.0, ours: ours.0 }
            }
            EngineEvent::LineageBroken(reason) => Self::LineageBroken { reason: reason.clone() },
        }
    }
}

impl fmt::Display for ClientEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting { coordinator } => write!(f, "connecting to {coordinator}"),
            Self::Connected => f.write_str("connected"),
            Self::Disconnected { reason, .. } => write!(f, "{reason}; trying again"),
            Self::Moved { coordinator } => {
                write!(f, "the coordinator has moved to {coordinator}")
            }
            Self::CertificateRenewed { .. } => f.write_str("certificate renewed"),
            Self::Warning { message } => f.write_str(message),
            Self::Federation { news, .. } => news.fmt(f),
        }
    }
}

impl fmt::Display for FederationEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preparing { .. } => f.write_str("reading the data"),
            Self::Ready { rows, held_out_rows, version, .. } => write!(
                f,
                "ready: {rows} rows to train on, {held_out_rows} held out; model version {version}"
            ),
            Self::Waiting { reason, .. } => write!(f, "waiting for other tenants: {reason}"),
            Self::Unsigned { name } => write!(
                f,
                "its newest manifest is not signed by this tenant; look at it with \
                 `roundelay-client manifest show {name}`"
            ),
            Self::NotTaken { reason } => write!(f, "not taken in yet: {reason}"),
            Self::RoundBegan { round, clients } => {
                write!(f, "round {round}: began with {clients} clients")
            }
            Self::Working { round, kind, version } => {
                write!(f, "round {round}: {kind} from model version {version}")
            }
            Self::Training { round, done, total } => {
                write!(f, "round {round}: trained on {done} of {total} rows")
            }
            Self::Uploading { round } => write!(f, "round {round}: sending the masked vector"),
            Self::Published { round, version, survivors, evaluation, .. } => {
                write!(f, "round {round}: published over {survivors} clients, ")?;
                write!(f, "model version {version}")?;
                match evaluation {
                    Some(Evaluation { rows, accuracy, loss }) => write!(
                        f,
                        "; the version before: accuracy {accuracy:.4}, loss {loss:.4} on {rows} rows"
                    ),
                    None => Ok(()),
                }
            }
            Self::SatOut { round, reason } => write!(f, "round {round}: sitting out: {reason}"),
            Self::WorkFailed { round, reason } => write!(f, "round {round}: {reason}"),
            Self::Aborted { round, reason } => {
                write!(f, "round {round}: ended without a result: {reason}")
            }
            Self::CaughtUp { version } => write!(f, "caught up with model version {version}"),
            Self::NotCaughtUp { reason } => write!(f, "not caught up: {reason}"),
            Self::GaveState { version } => {
                write!(f, "the coordinator has lost model version {version}: giving it back")
            }
            Self::CoordinatorBehind { theirs, ours } => write!(
                f,
                "the coordinator stands at model version {theirs}, this client at {ours}: it may \
                 have been restored from a backup; this client does not step back"
            ),
            Self::LineageBroken { reason } => write!(
                f,
                "{reason}; no round of this federation is trusted until this client is restarted: \
                 ask the operator and the other tenants"
            ),
            Self::NotStored { reason } | Self::Failed { reason } => f.write_str(reason),
            Self::Stopped { reason } | Self::Stalled { reason } => {
                write!(f, "{reason}; this client takes part again once it is started")
            }
            Self::Amending { reason } => {
                write!(f, "the amendment that this tenant has signed: {reason}")
            }
            Self::Over { reason, .. } => write!(f, "over: {reason}"),
        }
    }
}
