//! Leases: a row per federation whose token only rises, also over releases.

use rusqlite::{Connection, OptionalExtension, params};

use super::Fail;
use super::reader::require_tenant;
use crate::store::{Fence, LeaseName, StoreError};

/// Takes the lease, or says who holds it.
pub(super) fn acquire(
    connection: &Connection,
    lease: &LeaseName,
    holder: &str,
    now_unix_ms: u64,
    until_unix_ms: u64,
) -> Result<Fence, Fail> {
    require_tenant(connection, &lease.owner)?;
    let before: Option<(u64, String, u64)> = connection
        .prepare_cached(
            "SELECT token, holder, expires_unix_ms FROM leases
             WHERE owner = ?1 AND federation = ?2",
        )?
        .query_row(params![lease.owner.as_str(), lease.federation.0], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let token = match before {
        Some((_, held_by, until_unix_ms)) if held_by != holder && until_unix_ms > now_unix_ms => {
            let lease = lease.clone();
            return Err(StoreError::LeaseHeld { lease, holder: held_by, until_unix_ms }.into());
        }
        Some((token, ..)) => token + 1,
        None => 1,
    };
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO leases (owner, federation, token, holder, expires_unix_ms)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![lease.owner.as_str(), lease.federation.0, token, holder, until_unix_ms])?;
    Ok(Fence { lease: lease.clone(), token })
}

/// Refuses a fence whose lease was taken or released since.
pub(super) fn check(connection: &Connection, fence: &Fence) -> Result<(), Fail> {
    let Fence { lease, token } = fence;
    let held = connection
        .prepare_cached("SELECT 1 FROM leases WHERE owner = ?1 AND federation = ?2 AND token = ?3")?
        .exists(params![lease.owner.as_str(), lease.federation.0, token])?;
    if held { Ok(()) } else { Err(StoreError::Fenced(lease.clone()).into()) }
}

/// Prolongs the lease.
pub(super) fn renew(
    connection: &Connection,
    fence: &Fence,
    until_unix_ms: u64,
) -> Result<(), Fail> {
    check(connection, fence)?;
    connection
        .prepare_cached(
            "UPDATE leases SET expires_unix_ms = ?3 WHERE owner = ?1 AND federation = ?2",
        )?
        .execute(params![fence.lease.owner.as_str(), fence.lease.federation.0, until_unix_ms])?;
    Ok(())
}

/// Gives the lease back. The row stays for its token, which rises so that the fence is stale.
pub(super) fn release(connection: &Connection, fence: &Fence) -> Result<(), Fail> {
    check(connection, fence)?;
    connection
        .prepare_cached(
            "UPDATE leases SET token = token + 1, holder = '', expires_unix_ms = 0
             WHERE owner = ?1 AND federation = ?2",
        )?
        .execute(params![fence.lease.owner.as_str(), fence.lease.federation.0])?;
    Ok(())
}
