//! Leases: at most one process drives a federation. A lease carries a token that rises with every
//! holder; each write names it, so that a holder that lost its lease without noticing (a stall, a
//! partition) cannot write.

use roundelay_protocol::ids::{FederationId, TenantId};

/// What is leased: the driving of one federation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LeaseName {
    /// The tenant that owns the federation.
    pub owner: TenantId,
    /// The federation.
    pub federation: FederationId,
}

/// Proof of holding a lease, checked in every transaction that it goes with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The lease.
    pub lease: LeaseName,
    /// Rises with every holder.
    pub token: u64,
}
