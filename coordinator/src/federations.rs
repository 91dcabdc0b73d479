//! Federations as operators and tenants handle them: drafted from the enrolled clients' keys,
//! found by name or id, listed to the clients that they name, signed by their tenants.
//!
//! Which manifest counts is decided by `protocol::manifest`; this module only reads and writes.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::Signature;
use roundelay_protocol::codec;
use roundelay_protocol::ids::{FederationId, TenantId};
use roundelay_protocol::manifest::{
    Manifest, ManifestError, Member, Rules, SignatureError, SignedManifest, Standing, Task,
};
use tokio::sync::Mutex;

use crate::authority::Peer;
use crate::clock::now_unix_ms;
use crate::store::{
    AuditEvent, AuditRecord, Federation, FederationState, LeaseName, Store, StoreError,
    TenantStore, Write, transact_leased,
};

mod amendment;
mod listing;

pub use amendment::{Changes, Left};
pub use listing::Listing;

/// Why a federation could not be drafted, found or signed.
#[derive(Debug, thiserror::Error)]
pub enum FederationError {
    /// Nothing has this name or id.
    #[error("there is no federation `{0}`; `federation list` shows those there are")]
    Unknown(String),
    /// The name is taken.
    #[error("there is a federation `{0}` already; choose another name")]
    NameTaken(String),
    /// A member without enrolled clients.
    #[error("tenant {0} has no enrolled client; enrol one before drafting the manifest")]
    NoClients(TenantId),
    /// The owner is no member.
    #[error("the owner {0} is not among the members")]
    OwnerNotMember(TenantId),
    /// One tenant named as two members.
    #[error("{0} is among the members twice; name every tenant once, all of its clients take part")]
    MemberTwice(TenantId),
    /// A tenant that is not a member, or a client that the manifest does not name.
    #[error("the manifest of this federation does not name this client")]
    NotNamed,
    /// An amendment that amends nothing.
    #[error("nothing changes: members, keys, task and rules are those of the manifest in force")]
    NothingChanges,
    /// No manifest of this hash.
    #[error("the federation has no manifest of this hash; `manifest show` has the newest")]
    NoSuchManifest,
    /// A signature under another manifest than the newest.
    #[error("the manifest has changed; look at the newest one with `manifest show` and sign that")]
    ManifestChanged,
    /// Signatures are missing.
    #[error("federation `{name}` cannot start: {why}")]
    NotSigned {
        /// Its name.
        name: String,
        /// Who has to sign.
        why: SignatureError,
    },
    /// The manifest says something impossible.
    #[error("{0}")]
    Manifest(#[from] ManifestError),
    /// The signature does not count.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A federation and whose handle holds its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The owner.
    pub owner: TenantId,
    /// Its row.
    pub federation: Federation,
}

/// A signature that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The federation's owner.
    pub owner: TenantId,
    /// The manifest's version; above 0 it is an amendment.
    pub version: u32,
    /// How far the signatures are.
    pub standing: Standing,
}

/// What an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// A name for people, one of its kind in the installation.
    pub name: String,
    /// Whose handle will hold its rows.
    pub owner: TenantId,
    /// Whose enrolled clients take part.
    pub members: Vec<TenantId>,
    /// Floors and rules.
    pub rules: Rules,
    /// What is learned.
    pub task: Task,
}

/// Where the writes of a federation's rows go: each needs the fence of its lease, and one process
/// holds that at a time.
#[async_trait]
pub trait Writer: Send + Sync {
    /// Applies one batch of the lease's owner under the lease's fence.
    ///
    /// # Errors
    /// Another process holds the lease, or the batch is refused.
    async fn write(
        &self,
        lease: &LeaseName,
        name: &'static str,
        writes: Vec<Write>,
    ) -> Result<(), StoreError>;
}

/// The federations of an installation.
pub struct Federations {
    store: Arc<dyn Store>,
    /// Who takes leases here; see [`Store::acquire`].
    holder: String,
    /// Holds the leases of the federations that run, once there is one.
    writer: OnceLock<Arc<dyn Writer>>,
    changes: Mutex<()>,
    verified: listing::Verified,
}

impl Federations {
    /// Those in a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, holder: &str) -> Self {
        let (holder, writer) = (holder.to_owned(), OnceLock::new());
        let (changes, verified) = (Mutex::default(), listing::Verified::default());
        Self { store, holder, writer, changes, verified }
    }

    /// From now on this one writes: it drives federations and holds their leases. The first counts.
    pub fn write_through(&self, writer: Arc<dyn Writer>) {
        let _ = self.writer.set(writer);
    }

    async fn write(
        &self,
        located: &Located,
        name: &'static str,
        writes: Vec<Write>,
    ) -> Result<(), StoreError> {
        let (owner, federation) = (located.owner.clone(), located.federation.federation);
        let lease = LeaseName { owner, federation };
        match self.writer.get() {
            Some(writer) => writer.write(&lease, name, writes).await,
            None => {
                let (store, now) = (&*self.store, now_unix_ms());
                transact_leased(store, &lease, &self.holder, now, name, writes).await
            }
        }
    }

    /// All of them, by owner.
    pub async fn all(&self) -> Result<Vec<Located>, FederationError> {
        let mut all = Vec::new();
        for tenant in self.store.tenants().await? {
            let owner = tenant.tenant;
            let federations = self.store.tenant(&owner).federations().await?;
            let located = |federation| Located { owner: owner.clone(), federation };
            all.extend(federations.into_iter().map(located));
        }
        Ok(all)
    }

    /// The one with this name or id.
    pub async fn find(&self, name_or_id: &str) -> Result<Located, FederationError> {
        let id = FederationId::from_str(name_or_id).ok();
        let all = self.all().await?;
        all.into_iter()
            .find(|located| {
                located.federation.name == name_or_id || Some(located.federation.federation) == id
            })
            .ok_or_else(|| FederationError::Unknown(name_or_id.to_owned()))
    }

    /// The handle that holds a federation's rows.
    #[must_use]
    pub fn rows(&self, located: &Located) -> Arc<dyn TenantStore> {
        self.store.tenant(&located.owner)
    }

    /// Drafts a federation: its first manifest names every client of the members that is enrolled
    /// and not revoked.
    pub async fn create(&self, draft: Draft) -> Result<(Located, Manifest), FederationError> {
        let _changes = self.changes.lock().await;
        if self.all().await?.iter().any(|known| known.federation.name == draft.name) {
            return Err(FederationError::NameTaken(draft.name));
        }
        let manifest = self.first_manifest(draft).await?;
        let signed = SignedManifest::draft(manifest)?;
        let manifest = signed.manifest;
        let federation = Federation {
            federation: manifest.federation,
            name: manifest.name.clone(),
            state: FederationState::Draft,
            created_unix_ms: now_unix_ms(),
        };
        let located = Located { owner: manifest.owner.clone(), federation };
        self.write(&located, "create", rows_of(&located, &manifest)).await?;
        Ok((located, manifest))
    }

    async fn first_manifest(&self, draft: Draft) -> Result<Manifest, FederationError> {
        let Draft { name, owner, members: tenants, rules, task } = draft;
        let tenants = distinct(tenants)?;
        if !tenants.contains(&owner) {
            return Err(FederationError::OwnerNotMember(owner));
        }
        let mut members = Vec::new();
        for tenant in tenants {
            members.push(self.member(tenant).await?);
        }
        let federation = FederationId(rand::random());
        Ok(Manifest {
            federation,
            name,
            version: 0,
            predecessor: None,
            owner,
            members,
            rules,
            task,
        })
    }

    async fn member(&self, tenant: TenantId) -> Result<Member, FederationError> {
        let enrolled = self.store.tenant(&tenant).clients().await?;
        let valid: Vec<_> =
            enrolled.into_iter().filter(|client| client.revoked_unix_ms.is_none()).collect();
        let Some(tenant_key) = valid.first().map(|client| client.tenant_key) else {
            return Err(FederationError::NoClients(tenant));
        };
        let clients = valid.iter().map(|client| client.identity).collect();
        Ok(Member { tenant, tenant_key, clients })
    }

    /// Takes a tenant's signature under the newest manifest of a federation. Any client of the
    /// tenant may bring it; what counts is the tenant key. Where the tenant has signed already,
    /// nothing is written.
    pub async fn sign(
        &self,
        peer: &Peer,
        federation: FederationId,
        manifest: Digest,
        signature: Signature,
    ) -> Result<Signed, FederationError> {
        let _changes = self.changes.lock().await;
        let located = self.of_member(&peer.tenant, federation).await?;
        let rows = self.rows(&located);
        let (mut newest, predecessor) = newest(rows.manifests(federation).await?)?;
        if newest.manifest.hash() != manifest {
            return Err(FederationError::ManifestChanged);
        }
        let is_signed = newest.signatures.iter().any(|(signer, _)| *signer == peer.tenant);
        let standing = newest.add(predecessor.as_ref(), &peer.tenant, signature)?;
        if is_signed {
            // One signature of a tenant says all that another could (decision 0059).
            return Ok(Signed { owner: located.owner, version: newest.manifest.version, standing });
        }
        let signer = peer.tenant.clone();
        let event = AuditEvent::ManifestSigned { manifest, signer: signer.clone() };
        let mut writes = vec![
            Write::PutSignature { federation, manifest, signer, signature },
            audit(federation, rows.members(federation).await?, event),
        ];
        if standing.is_complete() {
            // Whoever left with this amendment is no member any more, or is one until it takes force
            // between two rounds: whoever drives those sees to it.
            let members = tenants_of(&newest.manifest);
            writes.push(Write::PutMembers { federation, members });
        }
        self.write(&located, "sign", writes).await?;
        Ok(Signed { owner: located.owner, version: newest.manifest.version, standing })
    }

    /// The newest manifest of a federation, and how far its signatures are.
    pub async fn standing(
        &self,
        located: &Located,
    ) -> Result<(SignedManifest, Standing), FederationError> {
        let manifests = self.rows(located).manifests(located.federation.federation).await?;
        let (newest, predecessor) = newest(manifests)?;
        let standing = newest.standing(predecessor.as_ref())?;
        Ok((newest, standing))
    }

    /// One manifest of a federation that a client is named in, encoded with its signatures.
    pub async fn manifest(
        &self,
        peer: &Peer,
        federation: FederationId,
        manifest: Digest,
    ) -> Result<Vec<u8>, FederationError> {
        let located = self.of_member(&peer.tenant, federation).await?;
        let manifests = self.rows(&located).manifests(federation).await?;
        let found = manifests.iter().find(|signed| signed.manifest.hash() == manifest);
        found.map(codec::encode).ok_or(FederationError::NoSuchManifest)
    }

    /// A federation that a tenant is a member of.
    async fn of_member(
        &self,
        tenant: &TenantId,
        federation: FederationId,
    ) -> Result<Located, FederationError> {
        let memberships = self.store.tenant(tenant).memberships().await?;
        let found = memberships.into_iter().find(|held| held.federation == federation);
        // The same answer whether it exists or not: others' federations are nobody's business.
        let owner = found.ok_or(FederationError::NotNamed)?.owner;
        let row = self.store.tenant(&owner).federation(federation).await?;
        let federation = row.ok_or(FederationError::NotNamed)?;
        Ok(Located { owner, federation })
    }
}

/// The last of a federation's manifests and the one that it amends.
fn newest(
    mut manifests: Vec<SignedManifest>,
) -> Result<(SignedManifest, Option<Manifest>), FederationError> {
    let newest = manifests.pop().ok_or(FederationError::NotNamed)?;
    Ok((newest, manifests.pop().map(|before| before.manifest)))
}

/// Members as the operator names them, each once.
fn distinct(tenants: Vec<TenantId>) -> Result<BTreeSet<TenantId>, FederationError> {
    let mut members = BTreeSet::new();
    for tenant in tenants {
        if let Some(twice) = members.replace(tenant) {
            return Err(FederationError::MemberTwice(twice));
        }
    }
    Ok(members)
}

fn rows_of(located: &Located, manifest: &Manifest) -> Vec<Write> {
    let federation = manifest.federation;
    let members = tenants_of(manifest);
    let digest = manifest.hash();
    let (name, owner) = (manifest.name.clone(), located.owner.clone());
    let created = AuditEvent::FederationCreated { name, owner };
    let proposed = AuditEvent::ManifestProposed { version: manifest.version, manifest: digest };
    vec![
        Write::PutFederation(Box::new(located.federation.clone())),
        Write::PutMembers { federation, members: members.clone() },
        Write::PutManifest { digest, manifest: Box::new(manifest.clone()) },
        audit(federation, members.clone(), created),
        audit(federation, members, proposed),
    ]
}

fn tenants_of(manifest: &Manifest) -> Vec<TenantId> {
    manifest.tenants().cloned().collect()
}

fn audit(federation: FederationId, to: Vec<TenantId>, event: AuditEvent) -> Write {
    let unix_ms = now_unix_ms();
    let record = AuditRecord { unix_ms, federation: Some(federation), round: None, event };
    Write::Audit { to, record: Box::new(record) }
}
