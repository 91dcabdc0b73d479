//! The changes of one batch, inside the writer's transaction.

use roundelay_protocol::ids::{FederationId, TenantId};
use rusqlite::{Connection, OptionalExtension, params};

use super::Fail;
use super::leases;
use super::reader::{audit_head, last_under, require_tenant};
use crate::keys::Scope;
use crate::store::audit::link;
use crate::store::rows::{Op, Table};
use crate::store::sealing::{At, Unsealed};
use crate::store::{Fence, StoreError};

/// Applies a tenant's batch in order. Its caller undoes it when it fails.
pub(super) fn apply(
    connection: &Connection,
    tenant: &TenantId,
    fence: Option<&Fence>,
    ops: &[Op],
) -> Result<(), Fail> {
    require_tenant(connection, tenant)?;
    if let Some(fence) = fence {
        leases::check(connection, fence)?;
    }
    let batch = Batch { connection, tenant, scope: Scope::Tenant(tenant.clone()) };
    ops.iter().try_for_each(|op| batch.apply(op))
}

struct Batch<'a> {
    connection: &'a Connection,
    tenant: &'a TenantId,
    scope: Scope,
}

impl Batch<'_> {
    fn apply(&self, op: &Op) -> Result<(), Fail> {
        match op {
            Op::Put { table, key, value } => self.put(*table, key, value),
            Op::Append { table, prefix, value } => {
                let key = self.next_key(*table, prefix)?;
                self.put(*table, &key, value)
            }
            Op::DeleteUnder { table, prefix } => self.delete_under(*table, prefix),
            Op::DeleteBetween { table, from, below } => self.delete_between(*table, from, below),
            Op::SetMembers { federation, members } => self.set_members(*federation, members),
            Op::Audit { to, federation, value } => self.audit(to, *federation, value),
        }
    }

    /// The version counts the writes of a row, so that the value of an older one does not open in
    /// its place.
    fn put(&self, table: Table, key: &[u8], value: &Unsealed) -> Result<(), Fail> {
        let version = self
            .connection
            .prepare_cached(
                "SELECT version + 1 FROM rows WHERE tenant = ?1 AND kind = ?2 AND key = ?3",
            )?
            .query_row(params![self.tenant.as_str(), table.name(), key], |row| row.get(0))
            .optional()?
            .unwrap_or(1);
        let sealed = value.seal(&self.scope, At { table: table.name(), row: key, version });
        self.connection
            .prepare_cached(
                "INSERT INTO rows (tenant, kind, key, version, sealed)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO UPDATE SET version = excluded.version, sealed = excluded.sealed",
            )?
            .execute(params![self.tenant.as_str(), table.name(), key, version, sealed])?;
        Ok(())
    }

    /// The key after the last one under `prefix`.
    fn next_key(&self, table: Table, prefix: &[u8]) -> Result<Vec<u8>, Fail> {
        let last: Option<Vec<u8>> = self
            .connection
            .prepare_cached(
                "SELECT max(key) FROM rows
                 WHERE tenant = ?1 AND kind = ?2 AND key BETWEEN ?3 AND ?4",
            )?
            .query_row(
                params![self.tenant.as_str(), table.name(), prefix, last_under(prefix)],
                |row| row.get(0),
            )?;
        let last = last.and_then(|key| key.last_chunk().copied().map(u32::from_be_bytes));
        let number = last.map_or(0, |last| last.saturating_add(1));
        Ok([prefix, &number.to_be_bytes()].concat())
    }

    fn delete_under(&self, table: Table, prefix: &[u8]) -> Result<(), Fail> {
        self.connection
            .prepare_cached(
                "DELETE FROM rows WHERE tenant = ?1 AND kind = ?2 AND key BETWEEN ?3 AND ?4",
            )?
            .execute(params![self.tenant.as_str(), table.name(), prefix, last_under(prefix)])?;
        Ok(())
    }

    fn delete_between(&self, table: Table, from: &[u8], below: &[u8]) -> Result<(), Fail> {
        self.connection
            .prepare_cached(
                "DELETE FROM rows WHERE tenant = ?1 AND kind = ?2 AND key >= ?3 AND key < ?4",
            )?
            .execute(params![self.tenant.as_str(), table.name(), from, below])?;
        Ok(())
    }

    fn set_members(&self, federation: FederationId, members: &[TenantId]) -> Result<(), Fail> {
        self.require_ownership(federation)?;
        self.connection
            .prepare_cached("DELETE FROM members WHERE federation = ?1")?
            .execute([federation.0])?;
        let mut insert = self.connection.prepare_cached(
            "INSERT OR REPLACE INTO members (tenant, federation, owner) VALUES (?1, ?2, ?3)",
        )?;
        for member in members {
            require_tenant(self.connection, member)?;
            insert.execute(params![member.as_str(), federation.0, self.tenant.as_str()])?;
        }
        Ok(())
    }

    /// A federation has one owner: this tenant holds its row, and nobody else has members in it.
    fn require_ownership(&self, federation: FederationId) -> Result<(), Fail> {
        let held = self
            .connection
            .prepare_cached("SELECT 1 FROM rows WHERE tenant = ?1 AND kind = ?2 AND key = ?3")?
            .exists(params![self.tenant.as_str(), Table::Federations.name(), federation.0])?;
        let foreign = self
            .connection
            .prepare_cached("SELECT 1 FROM members WHERE federation = ?1 AND owner <> ?2")?
            .exists(params![federation.0, self.tenant.as_str()])?;
        if held && !foreign {
            return Ok(());
        }
        Err(StoreError::NotTheOwner { tenant: self.tenant.clone(), federation }.into())
    }

    fn audit(
        &self,
        to: &TenantId,
        federation: Option<FederationId>,
        value: &Unsealed,
    ) -> Result<(), Fail> {
        if to != self.tenant {
            self.require_member(to, federation)?;
        }
        let head = audit_head(self.connection, to)?;
        let link = link(to, head, &value.value);
        let row = head.entries.to_be_bytes();
        let at = At { table: Table::Audit.name(), row: &row, version: 1 };
        let sealed = value.seal(&Scope::Tenant(to.clone()), at);
        self.connection
            .prepare_cached(
                "INSERT INTO audit (tenant, entry, link, sealed) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![to.as_str(), head.entries, link.0, sealed])?;
        self.connection
            .prepare_cached(
                "INSERT OR REPLACE INTO audit_heads (tenant, entries, link) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![to.as_str(), head.entries + 1, link.0])?;
        Ok(())
    }

    fn require_member(&self, to: &TenantId, federation: Option<FederationId>) -> Result<(), Fail> {
        let federation = federation.ok_or_else(|| StoreError::NotAMember {
            tenant: to.clone(),
            federation: FederationId([0; 16]),
        })?;
        let member = self
            .connection
            .prepare_cached(
                "SELECT 1 FROM members WHERE tenant = ?1 AND federation = ?2 AND owner = ?3",
            )?
            .exists(params![to.as_str(), federation.0, self.tenant.as_str()])?;
        if member {
            return Ok(());
        }
        Err(StoreError::NotAMember { tenant: to.clone(), federation }.into())
    }
}
