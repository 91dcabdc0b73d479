//! Federations as their owner keeps them.

use roundelay_protocol::ids::{FederationId, TenantId};
use serde::{Deserialize, Serialize};

/// A federation. Its owner is the tenant whose handle holds the row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Federation {
    /// Its id.
    pub federation: FederationId,
    /// A name for people.
    pub name: String,
    /// Where it stands.
    pub state: FederationState,
    /// When it was created, milliseconds since 1970.
    pub created_unix_ms: u64,
}

/// Where a federation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FederationState {
    /// Its manifest collects signatures.
    Draft,
    /// Rounds run.
    Running,
    /// The operator stopped it; it can be started again.
    Stopped,
    /// The last round of its task is done.
    Finished,
}

/// A federation that a tenant is a member of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The federation.
    pub federation: FederationId,
    /// The tenant whose handle holds its rows.
    pub owner: TenantId,
}
