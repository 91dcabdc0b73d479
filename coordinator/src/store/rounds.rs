//! Rounds as people and the engine look back on them. What a successor needs to resume one are its
//! records, kept apart and forgotten when it is over.

use roundelay_crypto::digest::Digest;
use roundelay_protocol::error::AbortReason;
use roundelay_protocol::ids::{ClientId, ModelVersion, RoundNumber};
use roundelay_protocol::plan::PlanKind;
use roundelay_protocol::round::horizontal::coordinator::Departure;
use serde::{Deserialize, Serialize};

/// How far a round's records have been read.
#[derive(Debug, Clone)]
pub struct RecordsAt(pub(super) Vec<u8>);

/// One round of a federation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// Its number.
    pub round: RoundNumber,
    /// What it computes; none before its training plan.
    pub kind: Option<PlanKind>,
    /// The model version that it starts from; none before its training plan.
    pub model_version: Option<ModelVersion>,
    /// Where it stands.
    pub state: RoundState,
    /// When it was planned, milliseconds since 1970.
    pub began_unix_ms: u64,
    /// When it ended, milliseconds since 1970.
    pub ended_unix_ms: Option<u64>,
    /// Clients planned.
    pub cohort: u16,
    /// Clients in the published sum.
    pub survivors: u16,
    /// Clients that dropped out, refused or were expelled.
    pub dropouts: u16,
    /// The blob that holds the published aggregate; none once it was pruned.
    pub aggregate: Option<Digest>,
    /// Clients that declined or were expelled, and why.
    pub left: Vec<(ClientId, Departure)>,
}

/// Where a round stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoundState {
    /// Not over.
    Running,
    /// Its result is published.
    Published,
    /// It ended without a result.
    Aborted(AbortReason),
}
