//! Leases: at most one process drives a federation. A lease carries a token that rises with every
//! holder; each write names it, so that a holder that lost its lease without noticing (a stall, a
//! partition) cannot write.

use roundelay_protocol::ids::{FederationId, TenantId};

use super::{Store, StoreError, Write};

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

/// Length of a lease in milliseconds; whoever drives renews it after a third of it.
pub const LEASE_MS: u64 = 30_000;

/// Applies one batch under a lease that is taken for it alone: for a federation that no task of
/// this process drives. `holder` as in [`Store::acquire`].
///
/// # Errors
/// Another process holds the lease, or the batch is refused.
pub async fn transact_leased(
    store: &dyn Store,
    lease: &LeaseName,
    holder: &str,
    now_unix_ms: u64,
    name: &'static str,
    writes: Vec<Write>,
) -> Result<(), StoreError> {
    let fence = store.acquire(lease, holder, now_unix_ms, LEASE_MS).await?;
    let written = store.tenant(&lease.owner).transact(name, Some(&fence), writes).await;
    if let Err(error) = store.release(&fence).await {
        tracing::warn!(federation = %lease.federation, %error, "a lease was not given back");
    }
    written
}
