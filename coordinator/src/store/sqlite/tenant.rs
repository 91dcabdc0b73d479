//! The handle of one tenant: writes are planned here and applied by the writer; rows come back
//! sealed and are opened here.

use std::sync::Arc;

use async_trait::async_trait;
use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::Signature;
use roundelay_crypto::secret::Secret;
use roundelay_protocol::ids::{ClientId, FederationId, ModelVersion, RoundNumber, TenantId};
use roundelay_protocol::manifest::{Manifest, SignedManifest};
use roundelay_protocol::round::horizontal::coordinator::Record;
use rusqlite::Connection;
use serde::de::DeserializeOwned;

use super::reader::{self, SealedEntry, SealedRow};
use super::{Fail, Shared, apply};
use crate::keys::{KeyError, Scope};
use crate::store::audit::{self, Chain};
use crate::store::rows::{self, Table};
use crate::store::sealing::{At, decode, open};
use crate::store::{
    AuditHead, AuditItem, Client, Federation, Fence, Membership, Model, RecordsAt, Round,
    StoreError, TenantStore, Write,
};

/// Entries that are verified at a time.
const AUDIT_PAGE: u32 = 1024;

/// The rows of one tenant in a SQLite database.
pub(super) struct SqliteTenant {
    shared: Arc<Shared>,
    tenant: TenantId,
    scope: Scope,
}

impl SqliteTenant {
    pub(super) fn new(shared: Arc<Shared>, tenant: &TenantId) -> Self {
        Self { shared, tenant: tenant.clone(), scope: Scope::Tenant(tenant.clone()) }
    }

    /// Reads one snapshot of this tenant's rows.
    async fn read<T, F>(&self, what: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &TenantId) -> Result<T, Fail> + Send + 'static,
    {
        let tenant = self.tenant.clone();
        let work = move |connection: &Connection| {
            reader::require_tenant(connection, &tenant)?;
            work(connection, &tenant)
        };
        self.shared.reader.run(what, work).await
    }

    async fn rows(&self, table: Table, prefix: Vec<u8>) -> Result<Vec<SealedRow>, StoreError> {
        self.read("reading rows", move |connection, tenant| {
            reader::rows_under(connection, tenant, table, &prefix)
        })
        .await
    }

    async fn open(&self, table: Table, row: &SealedRow) -> Result<Secret<Vec<u8>>, StoreError> {
        open(&*self.shared.kms, &self.scope, row.at(table), &row.sealed).await
    }

    /// The records of a round in one row.
    async fn records(&self, row: &SealedRow) -> Result<Vec<Record>, StoreError> {
        let table = Table::Records;
        let value = self.open(table, row).await?;
        // A value that does not unpack is handed on whole: decoding it then says where it is.
        let packed =
            rows::unpack_records(value.expose()).unwrap_or_else(|| vec![value.expose().as_slice()]);
        packed.into_iter().map(|record| decode(&self.scope, row.at(table), record)).collect()
    }

    async fn value<T: DeserializeOwned>(
        &self,
        table: Table,
        row: &SealedRow,
    ) -> Result<T, StoreError> {
        let value = self.open(table, row).await?;
        decode(&self.scope, row.at(table), value.expose())
    }

    /// All values of a table under a prefix, by key.
    async fn all<T: DeserializeOwned>(
        &self,
        table: Table,
        prefix: Vec<u8>,
    ) -> Result<Vec<T>, StoreError> {
        let rows = self.rows(table, prefix).await?;
        let mut values = Vec::with_capacity(rows.len());
        for row in &rows {
            values.push(self.value(table, row).await?);
        }
        Ok(values)
    }

    async fn row(&self, table: Table, key: Vec<u8>) -> Result<Option<SealedRow>, StoreError> {
        self.read("reading a row", move |connection, tenant| {
            reader::row_at(connection, tenant, table, &key)
        })
        .await
    }

    async fn one<T: DeserializeOwned>(
        &self,
        table: Table,
        key: Vec<u8>,
    ) -> Result<Option<T>, StoreError> {
        match self.row(table, key).await? {
            Some(row) => self.value(table, &row).await.map(Some),
            None => Ok(None),
        }
    }

    async fn entries(&self, from: u64, limit: u32) -> Result<Vec<SealedEntry>, StoreError> {
        self.read("reading the audit log", move |connection, tenant| {
            reader::audit_entries(connection, tenant, from, limit)
        })
        .await
    }

    async fn open_entry(&self, entry: &SealedEntry) -> Result<Secret<Vec<u8>>, StoreError> {
        let row = entry.entry.to_be_bytes();
        let at = At { table: Table::Audit.name(), row: &row, version: 1 };
        open(&*self.shared.kms, &self.scope, at, &entry.sealed).await
    }

    async fn plan(&self, writes: Vec<Write>) -> Result<Vec<rows::Op>, StoreError> {
        match rows::plan(&*self.shared.kms, &self.scope, writes).await {
            Err(StoreError::Key(KeyError::Missing { scope: Scope::Tenant(tenant), path })) => {
                // A tenant that was never added has no key either: that is the clearer error.
                let known = tenant.clone();
                let there = move |connection: &_| reader::require_tenant(connection, &known);
                self.shared.reader.run("looking for a tenant", there).await?;
                Err(KeyError::Missing { scope: Scope::Tenant(tenant), path }.into())
            }
            planned => planned,
        }
    }
}

impl SealedRow {
    fn at(&self, table: Table) -> At<'_> {
        At { table: table.name(), row: &self.key, version: self.version }
    }
}

#[async_trait]
impl TenantStore for SqliteTenant {
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    async fn transact(
        &self,
        name: &'static str,
        fence: Option<&Fence>,
        writes: Vec<Write>,
    ) -> Result<(), StoreError> {
        rows::check_fence(&self.tenant, fence, &writes)?;
        let ops = self.plan(writes).await?;
        let (tenant, fence) = (self.tenant.clone(), fence.cloned());
        let work = move |connection: &_| apply::apply(connection, &tenant, fence.as_ref(), &ops);
        self.shared.writer.run(name, work).await
    }

    async fn clients(&self) -> Result<Vec<Client>, StoreError> {
        self.all(Table::Clients, Vec::new()).await
    }

    async fn client(&self, client: ClientId) -> Result<Option<Client>, StoreError> {
        self.one(Table::Clients, rows::client_key(client)).await
    }

    async fn federations(&self) -> Result<Vec<Federation>, StoreError> {
        self.all(Table::Federations, Vec::new()).await
    }

    async fn federation(&self, federation: FederationId) -> Result<Option<Federation>, StoreError> {
        self.one(Table::Federations, rows::federation_key(federation)).await
    }

    async fn memberships(&self) -> Result<Vec<Membership>, StoreError> {
        self.read("reading memberships", reader::memberships).await
    }

    async fn members(&self, federation: FederationId) -> Result<Vec<TenantId>, StoreError> {
        self.read("reading members", move |connection, tenant| {
            reader::members(connection, tenant, federation.0)
        })
        .await
    }

    async fn manifests(&self, federation: FederationId) -> Result<Vec<SignedManifest>, StoreError> {
        let prefix = rows::federation_key(federation);
        let found: Vec<(Digest, Manifest)> = self.all(Table::Manifests, prefix).await?;
        let mut manifests = Vec::with_capacity(found.len());
        for (digest, manifest) in found {
            let prefix = rows::signatures_key(federation, digest);
            let signatures: Vec<(TenantId, Signature)> =
                self.all(Table::Signatures, prefix).await?;
            manifests.push(SignedManifest { manifest, signatures });
        }
        Ok(manifests)
    }

    async fn progress(&self, federation: FederationId) -> Result<Option<Vec<u8>>, StoreError> {
        match self.row(Table::Progress, rows::federation_key(federation)).await? {
            Some(row) => Ok(Some(self.open(Table::Progress, &row).await?.expose().clone())),
            None => Ok(None),
        }
    }

    async fn rounds(&self, federation: FederationId) -> Result<Vec<Round>, StoreError> {
        self.all(Table::Rounds, rows::federation_key(federation)).await
    }

    async fn round_records(
        &self,
        federation: FederationId,
        round: RoundNumber,
    ) -> Result<Vec<Record>, StoreError> {
        let table = Table::Records;
        let mut records = Vec::new();
        for row in self.rows(table, rows::round_key(federation, round)).await? {
            records.append(&mut self.records(&row).await?);
        }
        Ok(records)
    }

    async fn next_records(
        &self,
        federation: FederationId,
        round: RoundNumber,
        after: Option<RecordsAt>,
    ) -> Result<Option<(RecordsAt, Vec<Record>)>, StoreError> {
        let prefix = rows::round_key(federation, round);
        let after = after.map_or_else(|| prefix.clone(), |RecordsAt(key)| key);
        let row = self.read("reading rows", move |connection, tenant| {
            reader::row_behind(connection, tenant, Table::Records, (&prefix, &after))
        });
        let Some(row) = row.await? else { return Ok(None) };
        let records = self.records(&row).await?;
        Ok(Some((RecordsAt(row.key), records)))
    }

    async fn models(&self, federation: FederationId) -> Result<Vec<Model>, StoreError> {
        self.all(Table::Models, rows::federation_key(federation)).await
    }

    async fn model(
        &self,
        federation: FederationId,
        version: ModelVersion,
    ) -> Result<Option<Model>, StoreError> {
        self.one(Table::Models, rows::model_key(federation, version)).await
    }

    async fn audit(&self, from: u64, limit: u32) -> Result<Vec<AuditItem>, StoreError> {
        let mut items = Vec::new();
        for entry in self.entries(from, limit).await? {
            let value = self.open_entry(&entry).await?;
            let row = entry.entry.to_be_bytes();
            let at = At { table: Table::Audit.name(), row: &row, version: 1 };
            let record = audit::decode_record(&self.scope, at, value.expose())?;
            items.push(AuditItem { entry: entry.entry, link: entry.link, record });
        }
        Ok(items)
    }

    async fn verify_audit(&self) -> Result<AuditHead, StoreError> {
        let head = self.read("reading the audit head", reader::audit_head).await?;
        let mut chain = Chain::new(&self.tenant);
        while chain.entries() < head.entries {
            let page = self.entries(chain.entries(), AUDIT_PAGE).await?;
            if page.is_empty() {
                return Err(chain.broken("the entry is missing"));
            }
            for entry in page.iter().take_while(|entry| entry.entry < head.entries) {
                let value = self.open_entry(entry).await;
                chain.follow(entry.entry, entry.link, value)?;
            }
        }
        chain.end(head)
    }
}
