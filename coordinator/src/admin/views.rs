//! What answers are made of: rows as people and programs see them, with times in RFC 3339 and ids
//! as text.

use roundelay_protocol::ids::ClientId;
use roundelay_protocol::round::horizontal::coordinator::Departure;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::authority::Peer;
use crate::store::{Client, Federation, FederationState, Metrics, Model, Round, RoundState};

/// Milliseconds since 1970 as RFC 3339, UTC, whole seconds.
#[must_use]
pub fn instant(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX);
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    at.format(&Rfc3339).unwrap_or_default()
}

/// The last so many rows; all where no number is given.
pub(super) fn last_of<T>(rows: &[T], last: Option<u32>) -> &[T] {
    let last = last.map_or(rows.len(), |last| last as usize);
    &rows[rows.len().saturating_sub(last)..]
}

/// The round that people mean by the last one: not the one that is prepared while it runs.
pub(super) fn latest(rounds: &[Round]) -> Option<&Round> {
    let newest = |wanted: fn(&Round) -> bool| rounds.iter().rev().find(|round| wanted(round));
    newest(|round| round.state == RoundState::Running && round.kind.is_some())
        .or_else(|| newest(|round| round.state != RoundState::Running))
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantView {
    /// Its name.
    pub tenant: String,
    /// When it was added.
    pub created: String,
    /// Clients that are enrolled and not revoked.
    pub clients: usize,
}

/// A one-time token. It holds a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenView {
    /// The line to hand to the tenant.
    pub token: String,
    /// The tenant.
    pub tenant: String,
    /// When it ends.
    pub expires: String,
    /// Fingerprint of the authority, to compare by another channel.
    pub authority: String,
}

impl std::fmt::Debug for TokenView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenView({}, until {})", self.tenant, self.expires)
    }
}

/// An enrolled client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientView {
    /// Its tenant.
    pub tenant: String,
    /// Its id.
    pub client: String,
    /// `enrolled`, `expired` (its certificate has ended; it cannot connect) or `revoked`.
    pub state: String,
    /// Whether it is connected now.
    pub connected: bool,
    /// When it enrolled.
    pub enrolled: String,
    /// End of its newest certificate.
    pub certificate_until: Option<String>,
}

impl ClientView {
    /// A client's row at a moment.
    #[must_use]
    pub fn new(peer: &Peer, client: &Client, connected: bool, now_unix_ms: u64) -> Self {
        let until = client.certificates.last().map(|newest| newest.not_after_unix_ms);
        let state = match (client.revoked_unix_ms, until) {
            (Some(_), _) => "revoked",
            (None, Some(until)) if until <= now_unix_ms => "expired",
            (None, _) => "enrolled",
        };
        Self {
            tenant: peer.tenant.to_string(),
            client: peer.client.to_string(),
            state: state.to_owned(),
            connected,
            enrolled: instant(client.enrolled_unix_ms),
            certificate_until: until.map(instant),
        }
    }
}

/// A federation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FederationView {
    /// Its id.
    pub federation: String,
    /// Its name.
    pub name: String,
    /// Whose handle holds its rows.
    pub owner: String,
    /// `draft`, `running`, `stopped` or `finished`; in a status also `stalled`.
    pub state: String,
    /// When it was created.
    pub created: String,
    /// Version of its newest manifest.
    pub manifest_version: u32,
    /// Hash of its newest manifest, to compare by another channel.
    pub manifest: String,
    /// Clients that the manifest names.
    pub clients: usize,
    /// Signatures under it so far.
    pub signatures: usize,
    /// Signatures that it needs.
    pub required: usize,
    /// Tenants that have to sign yet.
    pub missing: Vec<String>,
}

/// The word for a state.
#[must_use]
pub(super) fn state(federation: &Federation) -> &'static str {
    match federation.state {
        FederationState::Draft => "draft",
        FederationState::Running => "running",
        FederationState::Stopped => "stopped",
        FederationState::Finished => "finished",
    }
}

/// How a federation stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusView {
    /// Its row and manifest.
    pub federation: FederationView,
    /// Whether a coordinator runs on this data folder.
    pub coordinator_running: bool,
    /// What its engine says; null while it is not driven.
    pub engine: Value,
    /// Why it is not driven now.
    pub trouble: Option<String>,
    /// The newest model version, if there is one.
    pub model: Option<ModelView>,
    /// The round that runs, else the last one that ended. The one that is prepared meanwhile stands
    /// apart, in `engine`.
    pub last_round: Option<RoundView>,
}

/// A round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundView {
    /// Its number.
    pub round: u64,
    /// `statistics`, `train` or `evaluate`; none before its training plan.
    pub kind: Option<String>,
    /// The model version that it starts from.
    pub model_version: Option<u64>,
    /// `preparing` until its training plan, then `running`, `published` or `aborted`.
    pub state: String,
    /// Why it was aborted.
    pub reason: Option<String>,
    /// When it was planned.
    pub began: String,
    /// When it ended, milliseconds since 1970.
    pub ended_unix_ms: Option<u64>,
    /// From plan to end, in milliseconds.
    pub took_ms: Option<u64>,
    /// Clients planned.
    pub cohort: u16,
    /// Clients in the published sum.
    pub survivors: u16,
    /// Clients that dropped out, refused or were expelled.
    pub dropouts: u16,
    /// Those that declined or were expelled, and why.
    pub left: Vec<LeftView>,
}

/// A client that left a round before its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftView {
    /// Its id.
    pub client: String,
    /// `declined` or `expelled`.
    pub how: String,
    /// Its own reason, or its fault.
    pub reason: String,
}

impl LeftView {
    fn new((client, departure): &(ClientId, Departure)) -> Self {
        let (how, reason) = match departure {
            Departure::Declined(refusal) => ("declined", refusal.to_string()),
            Departure::Expelled(fault) => ("expelled", fault.to_string()),
        };
        Self { client: client.to_string(), how: how.to_owned(), reason }
    }
}

impl From<&Round> for RoundView {
    fn from(round: &Round) -> Self {
        let (state, reason) = match &round.state {
            RoundState::Running if round.kind.is_none() => ("preparing", None),
            RoundState::Running => ("running", None),
            RoundState::Published => ("published", None),
            RoundState::Aborted(reason) => ("aborted", Some(reason.to_string())),
        };
        Self {
            round: round.round.0,
            kind: round.kind.map(|kind| format!("{kind:?}").to_lowercase()),
            model_version: round.model_version.map(|version| version.0),
            state: state.to_owned(),
            reason,
            began: instant(round.began_unix_ms),
            ended_unix_ms: round.ended_unix_ms,
            took_ms: round.ended_unix_ms.map(|end| end.saturating_sub(round.began_unix_ms)),
            cohort: round.cohort,
            survivors: round.survivors,
            dropouts: round.dropouts,
            left: round.left.iter().map(LeftView::new).collect(),
        }
    }
}

/// A model version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelView {
    /// The version.
    pub version: u64,
    /// The version that it was trained from.
    pub parent: Option<u64>,
    /// The round that published it.
    pub round: Option<u64>,
    /// Clients in the sum.
    pub survivors: u16,
    /// When it was made.
    pub created: String,
    /// Hash of model and optimiser state, as the clients derive it too.
    pub state: String,
    /// Held-out rows over which it was evaluated; none before its evaluation.
    pub evaluated_rows: Option<u64>,
    /// Mean loss over them.
    pub loss: Option<f64>,
    /// Share of them classified correctly.
    pub accuracy: Option<f64>,
    /// Whether its state is kept and can be exported; else it was pruned.
    pub kept: bool,
}

impl From<&Model> for ModelView {
    fn from(model: &Model) -> Self {
        let metrics: Option<&Metrics> = model.metrics.as_ref();
        Self {
            version: model.version.0,
            parent: model.parent.map(|version| version.0),
            round: model.round.map(|round| round.0),
            survivors: model.survivors,
            created: instant(model.created_unix_ms),
            state: model.state.to_string(),
            evaluated_rows: metrics.map(|metrics| metrics.rows),
            loss: metrics.map(|metrics| metrics.loss),
            accuracy: metrics.map(|metrics| metrics.accuracy),
            kept: model.blob.is_some(),
        }
    }
}

/// A tenant's audit log that holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditView {
    /// Whose.
    pub tenant: String,
    /// Entries in it.
    pub entries: u64,
    /// The last link of its chain.
    pub head: String,
}

#[cfg(test)]
mod tests {
    use roundelay_protocol::error::AbortReason;
    use roundelay_protocol::ids::RoundNumber;
    use roundelay_protocol::plan::PlanKind;

    use super::*;

    fn round(number: u64, kind: Option<PlanKind>, state: RoundState) -> Round {
        Round {
            round: RoundNumber(number),
            kind,
            model_version: None,
            state,
            began_unix_ms: 0,
            ended_unix_ms: None,
            cohort: 4,
            survivors: 0,
            dropouts: 0,
            aggregate: None,
            left: Vec::new(),
        }
    }

    #[test]
    fn the_last_round_is_the_one_that_runs_and_not_the_one_that_is_prepared_meanwhile() {
        let published = round(1, Some(PlanKind::Train), RoundState::Published);
        let running = round(2, Some(PlanKind::Train), RoundState::Running);
        let prepared = round(3, None, RoundState::Running);
        let burned = round(3, None, RoundState::Aborted(AbortReason::PreparationBurned));
        let number = |rounds: &[Round]| latest(rounds).map(|round| round.round.0);
        assert_eq!(number(&[published.clone(), running.clone(), prepared.clone()]), Some(2));
        assert_eq!(number(&[published.clone(), running, burned]), Some(2));
        assert_eq!(number(&[published, prepared.clone()]), Some(1), "the last one that ended");
        assert_eq!(RoundView::from(&prepared).state, "preparing");
        assert_eq!(number(&[prepared]), None);
    }
}
