//! From typed writes to rows: which table, which key, which bytes. Every store maps writes with
//! this module, so stores differ only in how they keep rows. A row is `(tenant, table, key,
//! version, sealed value)`; a key is the concatenation of fixed-width parts, numbers big endian, so
//! that rows of one federation lie together and in order.

use rand::Rng;
use roundelay_crypto::digest::Digest;
use roundelay_protocol::codec;
use roundelay_protocol::ids::{ClientId, FederationId, ModelVersion, RoundNumber, TenantId};
use roundelay_protocol::round::horizontal::coordinator::Record;

use super::sealing::{Envelope, Unsealed, encode};
use super::{AuditRecord, Fence, LeaseName, StoreError, Write};
use crate::keys::{Kms, Scope};

/// Bytes of records that one row holds, at most one record more.
const RECORDS_BYTES_MAX: usize = 1 << 20;

/// A table of sealed rows. The name is part of what is authenticated: it never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Clients,
    Federations,
    Manifests,
    Signatures,
    Progress,
    Rounds,
    Records,
    Models,
    Audit,
    Secrets,
}

impl Table {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Federations => "federations",
            Self::Manifests => "manifests",
            Self::Signatures => "signatures",
            Self::Progress => "progress",
            Self::Rounds => "rounds",
            Self::Records => "records",
            Self::Models => "models",
            Self::Audit => "audit",
            Self::Secrets => "secrets",
        }
    }
}

/// A change of rows, its values ready to be sealed.
pub(crate) enum Op {
    /// Inserts or replaces one row.
    Put { table: Table, key: Vec<u8>, value: Unsealed },
    /// Inserts a row after the last one under a prefix; its key ends with its number, u32.
    Append { table: Table, prefix: Vec<u8>, value: Unsealed },
    /// Deletes every row under a prefix.
    DeleteUnder { table: Table, prefix: Vec<u8> },
    /// Deletes every row from a key up to another one, which stays.
    DeleteBetween { table: Table, from: Vec<u8>, below: Vec<u8> },
    /// Replaces the members of a federation.
    SetMembers { federation: FederationId, members: Vec<TenantId> },
    /// Appends to the log of a tenant: the owner of the batch, or a member of the federation.
    Audit { to: TenantId, federation: Option<FederationId>, value: Unsealed },
}

/// Refuses a batch that changes a federation without its fence.
pub(crate) fn check_fence(
    tenant: &TenantId,
    fence: Option<&Fence>,
    writes: &[Write],
) -> Result<(), StoreError> {
    for write in writes {
        let Some(federation) = write.fenced() else { continue };
        let lease = LeaseName { owner: tenant.clone(), federation };
        if fence.is_none_or(|fence| fence.lease != lease) {
            return Err(StoreError::FenceMissing { write: write.name(), federation });
        }
    }
    Ok(())
}

/// Maps the writes of a tenant's batch to changes of rows.
pub(crate) async fn plan(
    kms: &dyn Kms,
    scope: &Scope,
    writes: Vec<Write>,
) -> Result<Vec<Op>, StoreError> {
    let mut planner = Planner { kms, scope, ops: Vec::with_capacity(writes.len()) };
    for write in writes {
        planner.write(write).await?;
    }
    Ok(planner.ops)
}

struct Planner<'a> {
    kms: &'a dyn Kms,
    scope: &'a Scope,
    ops: Vec<Op>,
}

impl Planner<'_> {
    async fn write(&mut self, write: Write) -> Result<(), StoreError> {
        use Table::{
            Clients, Federations, Manifests, Models, Progress, Records, Rounds, Signatures,
        };
        match write {
            Write::PutClient(client) => {
                self.put(Clients, client_key(client.client), encode(&client)).await
            }
            Write::PutFederation(federation) => {
                let key = federation_key(federation.federation);
                self.put(Federations, key, encode(&federation)).await
            }
            Write::PutMembers { federation, members } => {
                self.ops.push(Op::SetMembers { federation, members });
                Ok(())
            }
            Write::PutManifest { digest, manifest } => {
                let key = manifest_key(manifest.federation, manifest.version);
                self.put(Manifests, key, encode(&(digest, manifest))).await
            }
            Write::PutSignature { federation, manifest, signer, signature } => {
                let key = signature_key(federation, manifest, &signer);
                self.put(Signatures, key, encode(&(signer, signature))).await
            }
            Write::PutProgress { federation, progress } => {
                self.put(Progress, federation_key(federation), progress).await
            }
            Write::PutRound { federation, round } => {
                self.put(Rounds, round_key(federation, round.round), encode(&round)).await
            }
            Write::AppendRound { federation, round, records } => {
                self.append_records(round_key(federation, round), &records).await
            }
            Write::DeleteRecords { federation, round } => {
                let prefix = round_key(federation, round);
                self.ops.push(Op::DeleteUnder { table: Records, prefix });
                Ok(())
            }
            Write::PutModel { federation, model } => {
                self.put(Models, model_key(federation, model.version), encode(&model)).await
            }
            Write::DeleteRounds { federation, below } => {
                let from = round_key(federation, RoundNumber(0));
                let below = round_key(federation, below);
                self.ops.push(Op::DeleteBetween { table: Rounds, from, below });
                Ok(())
            }
            Write::DeleteModels { federation, below } => {
                let from = model_key(federation, ModelVersion(1));
                let below = model_key(federation, below);
                self.ops.push(Op::DeleteBetween { table: Models, from, below });
                Ok(())
            }
            Write::Audit { to, record } => self.audit(to, &record).await,
        }
    }

    async fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) -> Result<(), StoreError> {
        let value = Envelope::new(self.kms, self.scope).await?.hold(value);
        self.ops.push(Op::Put { table, key, value });
        Ok(())
    }

    async fn append_records(
        &mut self,
        prefix: Vec<u8>,
        records: &[Record],
    ) -> Result<(), StoreError> {
        for value in pack_records(records) {
            let value = Envelope::new(self.kms, self.scope).await?.hold(value);
            self.ops.push(Op::Append { table: Table::Records, prefix: prefix.clone(), value });
        }
        Ok(())
    }

    /// One entry per log, each sealed by the key of its own tenant. The salt keeps the links of
    /// the chain, which stand in the clear, from confirming a guess at an entry.
    async fn audit(&mut self, to: Vec<TenantId>, record: &AuditRecord) -> Result<(), StoreError> {
        for tenant in to {
            let mut salt = [0; 32];
            rand::rng().fill_bytes(&mut salt);
            let scope = Scope::Tenant(tenant.clone());
            let value = Envelope::new(self.kms, &scope).await?.hold(encode(&(salt, record)));
            self.ops.push(Op::Audit { to: tenant, federation: record.federation, value });
        }
        Ok(())
    }
}

pub(crate) fn client_key(client: ClientId) -> Vec<u8> {
    client.0.0.to_vec()
}

pub(crate) fn federation_key(federation: FederationId) -> Vec<u8> {
    federation.0.to_vec()
}

pub(crate) fn round_key(federation: FederationId, round: RoundNumber) -> Vec<u8> {
    [&federation.0[..], &round.0.to_be_bytes()].concat()
}

pub(crate) fn model_key(federation: FederationId, version: ModelVersion) -> Vec<u8> {
    [&federation.0[..], &version.0.to_be_bytes()].concat()
}

fn manifest_key(federation: FederationId, version: u32) -> Vec<u8> {
    [&federation.0[..], &version.to_be_bytes()].concat()
}

fn signature_key(federation: FederationId, manifest: Digest, signer: &TenantId) -> Vec<u8> {
    [&signatures_key(federation, manifest)[..], signer.as_str().as_bytes()].concat()
}

/// The prefix of all signatures under a manifest.
pub(crate) fn signatures_key(federation: FederationId, manifest: Digest) -> Vec<u8> {
    [&federation.0[..], &manifest.0].concat()
}

/// Records as values of bounded size: each record behind its length, u32 little endian.
fn pack_records(records: &[Record]) -> Vec<Vec<u8>> {
    let mut values: Vec<Vec<u8>> = Vec::new();
    for record in records {
        let record = codec::encode(record);
        let length = u32::try_from(record.len()).expect("a record has at most 16 MiB");
        let value = match values.last_mut() {
            Some(value) if value.len() < RECORDS_BYTES_MAX => value,
            _ => values.push_mut(Vec::new()),
        };
        value.extend_from_slice(&length.to_le_bytes());
        value.extend_from_slice(&record);
    }
    values
}

/// The encodings of the records in one value; nothing where a length runs over its end.
pub(crate) fn unpack_records(mut value: &[u8]) -> Option<Vec<&[u8]>> {
    let mut records = Vec::new();
    while !value.is_empty() {
        let (length, rest) = value.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (record, rest) = rest.split_at_checked(length)?;
        records.push(record);
        value = rest;
    }
    Some(records)
}
