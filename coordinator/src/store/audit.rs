//! The audit log of a tenant: entries in a hash chain, so that the head vouches for all of them.

use roundelay_crypto::digest::Digest;
use roundelay_crypto::secret::Secret;
use roundelay_protocol::ids::{ClientId, FederationId, ModelVersion, RoundNumber, TenantId};
use roundelay_protocol::round::horizontal::coordinator::AuditEntry;
use serde::{Deserialize, Serialize};

use super::StoreError;
use super::sealing::{At, decode};
use crate::keys::Scope;

/// What is written into a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// When, milliseconds since 1970.
    pub unix_ms: u64,
    /// The federation that it is about, if it is about one.
    pub federation: Option<FederationId>,
    /// The round that it is about, if it is about one.
    pub round: Option<RoundNumber>,
    /// What happened.
    pub event: AuditEvent,
}

/// What happened. New kinds go to the end: the position of a variant is its stored form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditEvent {
    /// The tenant was added.
    TenantAdded,
    /// An enrolment token was issued.
    TokenIssued {
        /// When it ends, milliseconds since 1970.
        expires_unix_ms: u64,
    },
    /// A client enrolled.
    ClientEnrolled {
        /// Which.
        client: ClientId,
        /// Serial number of its certificate.
        serial: Vec<u8>,
    },
    /// A client's certificate was renewed.
    CertificateRenewed {
        /// Which client.
        client: ClientId,
        /// Serial number of the new certificate.
        serial: Vec<u8>,
    },
    /// A client was revoked.
    ClientRevoked {
        /// Which.
        client: ClientId,
    },
    /// A federation was created.
    FederationCreated {
        /// Its name.
        name: String,
        /// Its owner.
        owner: TenantId,
    },
    /// A manifest was put up for signing.
    ManifestProposed {
        /// Its version.
        version: u32,
        /// Its hash.
        manifest: Digest,
    },
    /// A member signed a manifest.
    ManifestSigned {
        /// The hash that was signed.
        manifest: Digest,
        /// Who signed.
        signer: TenantId,
    },
    /// The federation was started.
    FederationStarted,
    /// The federation was stopped.
    FederationStopped,
    /// The last round of the federation's task is done.
    FederationFinished {
        /// The last model version.
        version: ModelVersion,
    },
    /// The federation does not go on by itself.
    FederationStalled {
        /// Why, and what to do.
        reason: String,
    },
    /// The coordinator was restored from an older backup, and a client gave it this model version
    /// back, signed by more members than may collude.
    FederationRecovered {
        /// The model version.
        version: ModelVersion,
    },
    /// A model was exported.
    ModelExported {
        /// Which version.
        version: ModelVersion,
    },
    /// A round went on.
    Round(AuditEntry),
}

/// An entry as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditItem {
    /// Its place, from 0.
    pub entry: u64,
    /// Hash over the link before it and this entry.
    pub link: Digest,
    /// What it says.
    pub record: AuditRecord,
}

/// The end of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct AuditHead {
    /// Entries in the log.
    pub entries: u64,
    /// The last entry's link; zero for an empty log.
    pub link: Digest,
}

/// The link of the entry that follows `head`: a hash over the link before it and the entry's
/// salted value.
pub(crate) fn link(tenant: &TenantId, head: AuditHead, value: &[u8]) -> Digest {
    let entry = head.entries.to_le_bytes();
    let leaf = Digest::of("roundelay/audit/entry", &[value]);
    Digest::of("roundelay/audit/link", &[tenant.as_str().as_bytes(), &entry, &head.link.0, &leaf.0])
}

/// The record in an opened value.
pub(crate) fn decode_record(
    scope: &Scope,
    at: At<'_>,
    value: &[u8],
) -> Result<AuditRecord, StoreError> {
    let (_salt, record): ([u8; 32], AuditRecord) = decode(scope, at, value)?;
    Ok(record)
}

/// Follows a log from its first entry.
pub(crate) struct Chain<'a> {
    tenant: &'a TenantId,
    head: AuditHead,
}

impl<'a> Chain<'a> {
    pub(crate) fn new(tenant: &'a TenantId) -> Self {
        Self { tenant, head: AuditHead { entries: 0, link: Digest([0; 32]) } }
    }

    /// Entries followed so far.
    pub(crate) fn entries(&self) -> u64 {
        self.head.entries
    }

    /// Takes the next entry: its number, its stored link and its opened value.
    pub(crate) fn follow(
        &mut self,
        entry: u64,
        stored: Digest,
        value: Result<Secret<Vec<u8>>, StoreError>,
    ) -> Result<(), StoreError> {
        if entry != self.head.entries {
            return Err(self.broken("the entry is missing"));
        }
        let value = match value {
            Ok(value) => value,
            Err(StoreError::Unsealable { .. }) => {
                return Err(self.broken("the entry was altered or moved"));
            }
            Err(error) => return Err(error),
        };
        let link = link(self.tenant, self.head, value.expose());
        if link != stored {
            return Err(self.broken("its link does not follow from the entry before it"));
        }
        self.head = AuditHead { entries: entry + 1, link };
        Ok(())
    }

    /// Compares what was followed with the stored head.
    pub(crate) fn end(self, head: AuditHead) -> Result<AuditHead, StoreError> {
        if self.head == head { Ok(head) } else { Err(self.broken("the head is of another log")) }
    }

    /// The log breaks at the next entry.
    pub(crate) fn broken(&self, what: &str) -> StoreError {
        StoreError::AuditBroken {
            tenant: self.tenant.clone(),
            entry: self.head.entries,
            what: what.to_owned(),
        }
    }
}
