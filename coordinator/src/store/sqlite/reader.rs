//! Reading beside the writer: a few connections, each read a snapshot of its own.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::TenantId;
use rusqlite::{Connection, OptionalExtension, params};

use super::{Fail, schema};
use crate::store::rows::Table;
use crate::store::{AuditHead, Membership, StoreError};

/// Connections that are kept open for the next read.
const CONNECTIONS_KEPT: usize = 4;

/// A pool of reading connections.
#[derive(Clone)]
pub(super) struct Reader {
    path: PathBuf,
    idle: Arc<Mutex<Vec<Connection>>>,
}

/// A row as it is stored.
pub(super) struct SealedRow {
    pub(super) key: Vec<u8>,
    pub(super) version: u64,
    pub(super) sealed: Vec<u8>,
}

/// An audit entry as it is stored.
pub(super) struct SealedEntry {
    pub(super) entry: u64,
    pub(super) link: Digest,
    pub(super) sealed: Vec<u8>,
}

impl Reader {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), idle: Arc::default() }
    }

    /// Runs `work` on one snapshot, off the runtime's threads.
    pub(super) async fn run<T, F>(&self, what: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fail> + Send + 'static,
    {
        let reader = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            reader.read(work).map_err(|fail| fail.at(what, &reader.path))
        });
        read.await.map_err(|_| StoreError::Closed)?
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Fail>) -> Result<T, Fail> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => schema::open_reader(&self.path)?,
        };
        let snapshot = connection.unchecked_transaction()?;
        let value = work(&snapshot)?;
        snapshot.finish()?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < CONNECTIONS_KEPT {
            idle.push(connection);
        }
        Ok(value)
    }
}

/// Refuses a tenant that is not there.
pub(super) fn require_tenant(connection: &Connection, tenant: &TenantId) -> Result<(), Fail> {
    let there = connection
        .prepare_cached("SELECT 1 FROM tenants WHERE tenant = ?1")?
        .exists([tenant.as_str()])?;
    if there { Ok(()) } else { Err(StoreError::NoSuchTenant(tenant.clone()).into()) }
}

/// The rows of a table whose keys start with `prefix`, by key.
pub(super) fn rows_under(
    connection: &Connection,
    tenant: &TenantId,
    table: Table,
    prefix: &[u8],
) -> Result<Vec<SealedRow>, Fail> {
    let rows = connection
        .prepare_cached(
            "SELECT key, version, sealed FROM rows
             WHERE tenant = ?1 AND kind = ?2 AND key BETWEEN ?3 AND ?4 ORDER BY key",
        )?
        .query_map(params![tenant.as_str(), table.name(), prefix, last_under(prefix)], |row| {
            Ok(SealedRow { key: row.get(0)?, version: row.get(1)?, sealed: row.get(2)? })
        })?
        .collect::<Result<_, _>>()?;
    Ok(rows)
}

/// The first row under `prefix` whose key is above `after`.
pub(super) fn row_behind(
    connection: &Connection,
    tenant: &TenantId,
    table: Table,
    (prefix, after): (&[u8], &[u8]),
) -> Result<Option<SealedRow>, Fail> {
    let row = connection
        .prepare_cached(
            "SELECT key, version, sealed FROM rows
             WHERE tenant = ?1 AND kind = ?2 AND key > ?3 AND key <= ?4 ORDER BY key LIMIT 1",
        )?
        .query_row(params![tenant.as_str(), table.name(), after, last_under(prefix)], |row| {
            Ok(SealedRow { key: row.get(0)?, version: row.get(1)?, sealed: row.get(2)? })
        })
        .optional()?;
    Ok(row)
}

/// A key that no key under `prefix` is above: the rest of a key is at most 63 bytes, or is not
/// all ones.
pub(super) fn last_under(prefix: &[u8]) -> Vec<u8> {
    [prefix, &[0xff; 64]].concat()
}

/// The row at one key.
pub(super) fn row_at(
    connection: &Connection,
    tenant: &TenantId,
    table: Table,
    key: &[u8],
) -> Result<Option<SealedRow>, Fail> {
    let row = connection
        .prepare_cached(
            "SELECT version, sealed FROM rows WHERE tenant = ?1 AND kind = ?2 AND key = ?3",
        )?
        .query_row(params![tenant.as_str(), table.name(), key], |row| {
            Ok(SealedRow { key: key.to_owned(), version: row.get(0)?, sealed: row.get(1)? })
        })
        .optional()?;
    Ok(row)
}

/// A tenant's memberships, by federation.
pub(super) fn memberships(
    connection: &Connection,
    tenant: &TenantId,
) -> Result<Vec<Membership>, Fail> {
    let found: Vec<([u8; 16], String)> = connection
        .prepare_cached(
            "SELECT federation, owner FROM members WHERE tenant = ?1 ORDER BY federation",
        )?
        .query_map([tenant.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let membership = |(federation, owner): ([u8; 16], String)| {
        let federation = roundelay_protocol::ids::FederationId(federation);
        parse_tenant(&owner).map(|owner| Membership { federation, owner })
    };
    found.into_iter().map(membership).collect()
}

/// The members of a federation of this owner, by name.
pub(super) fn members(
    connection: &Connection,
    owner: &TenantId,
    federation: [u8; 16],
) -> Result<Vec<TenantId>, Fail> {
    let found: Vec<String> = connection
        .prepare_cached(
            "SELECT tenant FROM members WHERE federation = ?1 AND owner = ?2 ORDER BY tenant",
        )?
        .query_map(params![federation, owner.as_str()], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    found.iter().map(|name| parse_tenant(name)).collect()
}

/// A tenant's name as the database has it.
pub(super) fn parse_tenant(name: &str) -> Result<TenantId, Fail> {
    name.parse().map_err(|_| {
        Fail::Store(StoreError::Undecodable {
            place: format!("tenants/{name}"),
            why: "not the name of a tenant".to_owned(),
        })
    })
}

/// The head of a tenant's audit log.
pub(super) fn audit_head(connection: &Connection, tenant: &TenantId) -> Result<AuditHead, Fail> {
    let head = connection
        .prepare_cached("SELECT entries, link FROM audit_heads WHERE tenant = ?1")?
        .query_row([tenant.as_str()], |row| {
            Ok(AuditHead { entries: row.get(0)?, link: Digest(row.get(1)?) })
        })
        .optional()?;
    Ok(head.unwrap_or(AuditHead { entries: 0, link: Digest([0; 32]) }))
}

/// Audit entries from `from` on, by number.
pub(super) fn audit_entries(
    connection: &Connection,
    tenant: &TenantId,
    from: u64,
    limit: u32,
) -> Result<Vec<SealedEntry>, Fail> {
    let entries = connection
        .prepare_cached(
            "SELECT entry, link, sealed FROM audit
             WHERE tenant = ?1 AND entry >= ?2 ORDER BY entry LIMIT ?3",
        )?
        .query_map(params![tenant.as_str(), from, limit], |row| {
            Ok(SealedEntry { entry: row.get(0)?, link: Digest(row.get(1)?), sealed: row.get(2)? })
        })?
        .collect::<Result<_, _>>()?;
    Ok(entries)
}
