//! The audit log of a tenant: entries in a hash chain, so that the head vouches for all of them.

use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::{ClientId, FederationId, ModelVersion, RoundNumber, TenantId};
use roundelay_protocol::round::horizontal::coordinator::AuditEntry;
use serde::{Deserialize, Serialize};

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
