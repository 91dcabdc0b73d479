//! Typed changes of a tenant's rows: what a batch is made of.

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::Signature;
use roundelay_protocol::ids::{FederationId, ModelVersion, RoundNumber, TenantId};
use roundelay_protocol::manifest::Manifest;
use roundelay_protocol::round::horizontal::coordinator::Record;

use super::{AuditRecord, Client, Federation, Model, Round};

/// One change, applied in the order of its batch. A put replaces the row of the same key.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// A client of this tenant: enrolled, renewed or revoked.
    PutClient(Box<Client>),
    /// A federation that this tenant owns. Needs a fence.
    PutFederation(Box<Federation>),
    /// The members of a federation that this tenant owns, all of them: whoever is not named
    /// loses its membership. Needs a fence.
    PutMembers {
        /// The federation.
        federation: FederationId,
        /// Its members, the owner too if it is one.
        members: Vec<TenantId>,
    },
    /// A manifest, by its version. A new draft of the same version starts with no signatures. Needs a fence.
    PutManifest {
        /// The hash that members sign.
        digest: Digest,
        /// The manifest.
        manifest: Box<Manifest>,
    },
    /// A member's signature under a manifest. Needs a fence.
    PutSignature {
        /// The federation.
        federation: FederationId,
        /// The hash that was signed.
        manifest: Digest,
        /// Who signed.
        signer: TenantId,
        /// By the signer's tenant key.
        signature: Signature,
    },
    /// What the engine keeps about a federation between rounds, as it encodes it. Needs a fence.
    PutProgress {
        /// The federation.
        federation: FederationId,
        /// The engine's own encoding.
        progress: Vec<u8>,
    },
    /// How a round stands. Needs a fence.
    PutRound {
        /// The federation.
        federation: FederationId,
        /// The round.
        round: Box<Round>,
    },
    /// More records of a round, after those that are there. Needs a fence.
    AppendRound {
        /// The federation.
        federation: FederationId,
        /// The round.
        round: RoundNumber,
        /// In order.
        records: Vec<Record>,
    },
    /// Forgets the records of a round that is over; the round's row stays. Needs a fence.
    DeleteRecords {
        /// The federation.
        federation: FederationId,
        /// The round.
        round: RoundNumber,
    },
    /// A model version. Needs a fence.
    PutModel {
        /// The federation.
        federation: FederationId,
        /// The version.
        model: Box<Model>,
    },
    /// Forgets the rows of all rounds below one. Needs a fence.
    DeleteRounds {
        /// The federation.
        federation: FederationId,
        /// The first round that stays.
        below: RoundNumber,
    },
    /// Forgets the rows of all model versions below one but version 0. Needs a fence.
    DeleteModels {
        /// The federation.
        federation: FederationId,
        /// The first version that stays.
        below: ModelVersion,
    },
    /// One entry at the end of the log of each named tenant: this tenant itself, or members of
    /// the record's federation, which this tenant owns.
    Audit {
        /// Whose logs, each at most once.
        to: Vec<TenantId>,
        /// The entry.
        record: Box<AuditRecord>,
    },
}

impl Write {
    /// The federation whose fence this write cannot go without: whatever replaces a row of a
    /// federation. A client's row belongs to no federation, and an entry of the audit log takes
    /// nothing away.
    #[must_use]
    pub fn fenced(&self) -> Option<FederationId> {
        match self {
            Self::PutFederation(row) => Some(row.federation),
            Self::PutManifest { manifest, .. } => Some(manifest.federation),
            Self::PutMembers { federation, .. }
            | Self::PutSignature { federation, .. }
            | Self::PutProgress { federation, .. }
            | Self::PutRound { federation, .. }
            | Self::AppendRound { federation, .. }
            | Self::DeleteRecords { federation, .. }
            | Self::PutModel { federation, .. }
            | Self::DeleteRounds { federation, .. }
            | Self::DeleteModels { federation, .. } => Some(*federation),
            Self::PutClient(_) | Self::Audit { .. } => None,
        }
    }

    /// What it is called in errors and logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::PutClient(_) => "a client",
            Self::PutFederation(_) => "a federation",
            Self::PutMembers { .. } => "members",
            Self::PutManifest { .. } => "a manifest",
            Self::PutSignature { .. } => "a signature",
            Self::PutProgress { .. } => "progress",
            Self::PutRound { .. } => "a round",
            Self::AppendRound { .. } => "round records",
            Self::DeleteRecords { .. } => "a deletion of round records",
            Self::PutModel { .. } => "a model version",
            Self::DeleteRounds { .. } => "a deletion of rounds",
            Self::DeleteModels { .. } => "a deletion of model versions",
            Self::Audit { .. } => "an audit entry",
        }
    }
}
