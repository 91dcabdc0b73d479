//! The installation's rows: tenants, enrolment tokens, secrets.

use roundelay_crypto::digest::Digest;
use roundelay_crypto::secret::Seed;
use roundelay_protocol::ids::TenantId;
use rusqlite::{Connection, OptionalExtension, params};

use super::Fail;
use super::reader::{parse_tenant, require_tenant};
use crate::store::{InstallationSecret, StoreError, TOKEN_REMEMBERED_MS, Tenant};

/// Adds a tenant that is not there yet.
pub(super) fn add_tenant(connection: &Connection, tenant: &Tenant) -> Result<(), Fail> {
    let added = connection
        .prepare_cached("INSERT OR IGNORE INTO tenants (tenant, created_unix_ms) VALUES (?1, ?2)")?
        .execute(params![tenant.tenant.as_str(), tenant.created_unix_ms])?;
    match added {
        1 => Ok(()),
        _ => Err(StoreError::TenantExists(tenant.tenant.clone()).into()),
    }
}

/// All tenants, by name.
pub(super) fn tenants(connection: &Connection) -> Result<Vec<Tenant>, Fail> {
    let found: Vec<(String, u64)> = connection
        .prepare_cached("SELECT tenant, created_unix_ms FROM tenants ORDER BY tenant")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let tenant = |(name, created_unix_ms): (String, u64)| {
        parse_tenant(&name).map(|tenant| Tenant { tenant, created_unix_ms })
    };
    found.into_iter().map(tenant).collect()
}

/// What is stored of a token. Its secret has 256 random bits: a plain hash hides it.
pub(super) fn hash(secret: &Seed) -> Digest {
    Digest::of("roundelay/store/token", &[secret.expose()])
}

/// Keeps a token.
pub(super) fn add(
    connection: &Connection,
    hash: Digest,
    tenant: &TenantId,
    expires_unix_ms: u64,
) -> Result<(), Fail> {
    require_tenant(connection, tenant)?;
    connection
        .prepare_cached("INSERT INTO tokens (hash, tenant, expires_unix_ms) VALUES (?1, ?2, ?3)")?
        .execute(params![hash.0, tenant.as_str(), expires_unix_ms])?;
    Ok(())
}

/// Forgets tokens that expired long ago, used or not.
pub(super) fn forget(connection: &Connection, now_unix_ms: u64) -> Result<(), Fail> {
    let Some(until_unix_ms) = now_unix_ms.checked_sub(TOKEN_REMEMBERED_MS) else { return Ok(()) };
    connection
        .prepare_cached("DELETE FROM tokens WHERE expires_unix_ms <= ?1")?
        .execute([until_unix_ms])?;
    Ok(())
}

/// Binds a token to the first key that comes with it.
pub(super) fn redeem(
    connection: &Connection,
    hash: Digest,
    key: Digest,
    expected: Option<&TenantId>,
    now_unix_ms: u64,
) -> Result<TenantId, Fail> {
    let (tenant, expires_unix_ms, bound): (String, u64, Option<[u8; 32]>) = connection
        .prepare_cached("SELECT tenant, expires_unix_ms, bound_key FROM tokens WHERE hash = ?1")?
        .query_row([hash.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?
        .ok_or(StoreError::TokenUnknown)?;
    if bound.is_some_and(|bound| bound != key.0) {
        return Err(StoreError::TokenUsed.into());
    }
    if expires_unix_ms <= now_unix_ms {
        return Err(StoreError::TokenExpired.into());
    }
    let tenant = parse_tenant(&tenant)?;
    if let Some(expected) = expected.filter(|expected| **expected != tenant) {
        return Err(StoreError::TokenOfOtherTenant(expected.clone()).into());
    }
    connection
        .prepare_cached("UPDATE tokens SET bound_key = ?2 WHERE hash = ?1")?
        .execute(params![hash.0, key.0])?;
    Ok(tenant)
}

/// A sealed secret.
pub(super) fn secret(
    connection: &Connection,
    which: InstallationSecret,
) -> Result<Option<Vec<u8>>, Fail> {
    let sealed = connection
        .prepare_cached("SELECT sealed FROM secrets WHERE name = ?1")?
        .query_row([which.name()], |row| row.get(0))
        .optional()?;
    Ok(sealed)
}

/// Keeps a sealed secret unless there is one.
pub(super) fn keep_secret(
    connection: &Connection,
    which: InstallationSecret,
    sealed: &[u8],
) -> Result<(), Fail> {
    connection
        .prepare_cached("INSERT OR IGNORE INTO secrets (name, sealed) VALUES (?1, ?2)")?
        .execute(params![which.name(), sealed])?;
    Ok(())
}
