//! The federation manifest: what the member tenants signed and every client pins. It names the
//! members, the floors below which a client refuses a round, and the task.
//!
//! A manifest is drafted ([`SignedManifest::draft`] refuses impossible ones), signed by each
//! tenant's key ([`Manifest::sign`]), collected ([`SignedManifest::add`]), verified and pinned
//! ([`Pinned`]), and later amended by the rule that it carries ([`amendment`](self::Requirement)).

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::{IdentityPublic, Signature};
use serde::{Deserialize, Serialize};

use crate::codec::canonical;
use crate::ids::{ClientId, FederationId, TenantId};
use crate::limits::{COHORT_MAX, COMPLETE_COHORT_MAX};
use crate::model::ModelSpec;
use crate::optimiser::OptimiserSpec;
use crate::privacy::Privacy;
use crate::schema::Schema;

mod amendment;
mod ancestry;
mod fingerprint;
mod floors;
mod groups;
mod pinned;
mod quantisation;
mod signed;
mod validate;

pub use amendment::{AmendmentError, Requirement};
pub use ancestry::{ANCESTORS_MAX, Ancestry, AncestryError};
pub use fingerprint::readable;
pub use floors::{Floors, FloorsError};
pub use groups::Groups;
pub use pinned::{OwnEntry, PinError, Pinned};
pub use quantisation::Quantisation;
pub use signed::{SignatureError, Standing};
pub use validate::{ManifestError, TaskError};

/// How far the coordinator is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CoordinatorTrust {
    /// It may lie and collude: complete graph at any size.
    Malicious,
    /// It follows the protocol and is curious: sparse graphs above 512 clients.
    SemiHonest,
}

impl CoordinatorTrust {
    /// Clients of one round at most, and of a federation.
    #[must_use]
    pub const fn cohort_max(self) -> usize {
        match self {
            Self::Malicious => COMPLETE_COHORT_MAX,
            Self::SemiHonest => COHORT_MAX,
        }
    }
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
    /// What is promised about each data set; none promises nothing beyond the sum.
    #[serde(default)]
    pub privacy: Option<Privacy>,
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

impl Manifest {
    /// What clients pin and every round binds.
    #[must_use]
    pub fn hash(&self) -> Digest {
        Digest::of("roundelay/manifest", &[&canonical(self)])
    }

    /// The member of a tenant.
    #[must_use]
    pub fn member(&self, tenant: &TenantId) -> Option<&Member> {
        self.members.iter().find(|member| member.tenant == *tenant)
    }

    /// Its members, in their order.
    pub fn tenants(&self) -> impl Iterator<Item = &TenantId> {
        self.members.iter().map(|member| &member.tenant)
    }

    /// Every client with its tenant and identity, in the order of the members.
    pub fn clients(&self) -> impl Iterator<Item = ManifestClient<'_>> {
        self.members.iter().flat_map(|member| {
            member.clients.iter().map(move |identity| ManifestClient {
                id: ClientId(identity.fingerprint()),
                identity,
                tenant: &member.tenant,
            })
        })
    }

    /// Number of clients.
    #[must_use]
    pub fn client_count(&self) -> usize {
        self.members.iter().map(|member| member.clients.len()).sum()
    }

    /// What a statistics plan names in place of a model: statistics are taken once for it.
    #[must_use]
    pub fn data_version(&self) -> Digest {
        let schema = self.task.schema.digest();
        Digest::of("roundelay/data-version", &[&self.federation.0, schema.as_ref()])
    }
}

/// One client as the manifest names it.
#[derive(Debug, Clone, Copy)]
pub struct ManifestClient<'a> {
    /// Fingerprint of its identity.
    pub id: ClientId,
    /// The key that signs its rounds.
    pub identity: &'a IdentityPublic,
    /// Its tenant.
    pub tenant: &'a TenantId,
}

#[cfg(test)]
mod tests;
