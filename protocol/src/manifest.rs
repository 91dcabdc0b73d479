//! The federation manifest: what the member tenants signed and every client pins. It names the
//! members, the floors below which a client refuses a round, and the task.

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::{IdentityPublic, Signature};
use serde::{Deserialize, Serialize};

use crate::ids::{FederationId, TenantId};
use crate::model::ModelSpec;
use crate::optimiser::OptimiserSpec;
use crate::schema::Schema;

/// How far the coordinator is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CoordinatorTrust {
    /// It may lie and collude: complete graph at any size.
    Malicious,
    /// It follows the protocol and is curious: sparse graphs above 512 clients.
    SemiHonest,
}

/// One member tenant and its clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The tenant.
    pub tenant: TenantId,
    /// Signs manifests; held by the tenant, apart from its clients.
    pub tenant_key: IdentityPublic,
    /// Identity keys of its clients; each signs its own rounds.
    pub clients: Vec<IdentityPublic>,
}

/// Who must sign an amended manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AmendmentRule {
    /// Every member of the predecessor and every newcomer.
    All,
    /// More than half of the predecessor's members, and every newcomer.
    Majority,
}

/// Local training, the same for every client.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hyperparameters {
    /// Passes over the local rows.
    pub local_epochs: u32,
    /// Rows in a batch.
    pub batch_rows: u32,
    /// Step size of local SGD.
    pub learning_rate: f32,
    /// Momentum of local SGD, 0 for none.
    pub momentum: f32,
    /// FedProx's mu (Li et al. 2020, §3.2): weight of the proximal term, 0 for none.
    pub proximal: f32,
}

impl Eq for Hyperparameters {}

/// How updates become words of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantisation {
    /// Bits of the ring of the update: 16 or 32.
    pub ring_bits: u8,
    /// Largest magnitude of a coordinate of an update; larger ones are clipped.
    pub clip: f32,
    /// Largest weight of a client; a client's rows are scaled into `1..=weight_max` by
    /// [`Quantisation::rows_per_weight`].
    pub weight_max: u32,
    /// Rows that count as one unit of weight.
    pub rows_per_weight: u32,
}

impl Eq for Quantisation {}

/// What the federation learns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Columns, types and vocabularies that every member's data must have.
    pub schema: Schema,
    /// Architecture and seed of the model.
    pub model: ModelSpec,
    /// The server optimiser.
    pub optimiser: OptimiserSpec,
    /// Local training.
    pub hyperparameters: Hyperparameters,
    /// Update to ring.
    pub quantisation: Quantisation,
    /// Training rounds to run.
    pub rounds: u32,
}

/// The floors and rules that a client holds every plan against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// How far the coordinator is trusted.
    pub coordinator: CoordinatorTrust,
    /// c: clients that may collude with the coordinator. `None`: ⌊(n − 1)/4⌋ for a cohort of n.
    pub corrupt_max: Option<u16>,
    /// δ in thousandths: the share of the active roster that may drop.
    pub dropout_permille: u16,
    /// Honest clients in a published sum at least.
    pub clients_min: u16,
    /// Peers pinned by a client that must be in a cohort at least.
    pub pinned_peers_min: u16,
    /// Drop the whole fixed group of a dropout, so that released sets are unions of groups.
    pub whole_groups: bool,
    /// Who must sign an amendment.
    pub amendment: AmendmentRule,
}

/// What the member tenants agree on. Signed by each tenant key; clients pin its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The federation.
    pub federation: FederationId,
    /// A name for people.
    pub name: String,
    /// 0 for the first, then one more than the predecessor's.
    pub version: u32,
    /// Hash of the predecessor, none for version 0.
    pub predecessor: Option<Digest>,
    /// The tenant whose handle holds the federation's rows, keys and quota.
    pub owner: TenantId,
    /// Sorted by tenant.
    pub members: Vec<Member>,
    /// Floors and rules.
    pub rules: Rules,
    /// What is learned.
    pub task: Task,
}

/// A manifest with the signatures collected so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedManifest {
    /// What is signed.
    pub manifest: Manifest,
    /// By tenant key, sorted by tenant, at most one each.
    pub signatures: Vec<(TenantId, Signature)>,
}
