//! Amendments: the next manifest of a federation, drafted for its members to sign. Its predecessor
//! says by which rule (`protocol::manifest`); until the rule is met, the predecessor is in force.

use std::collections::BTreeSet;

use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::{FederationId, TenantId};
use roundelay_protocol::manifest::{Manifest, Rules, SignedManifest, Task};
use roundelay_protocol::session::Refused;

use super::{FederationError, Federations, Located, audit, distinct};
use crate::authority::Peer;
use crate::store::{AuditEvent, Write};

/// What is to change. What is left out stays as it is, but keys: those of every member are read
/// anew, so that a client that was added, revoked or given a new key takes its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// All members from then on.
    pub members: Option<Vec<TenantId>>,
    /// Task and rules from then on.
    pub terms: Option<(Task, Rules)>,
}

/// How a client ceased to take part in a federation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{who} by version {version} of its manifest, {manifest}; what it gave to published models \
     stays in them"
)]
pub struct Left {
    who: String,
    version: u32,
    manifest: Digest,
}

impl Left {
    /// As the client is told.
    #[must_use]
    pub fn refused(&self) -> Refused {
        Refused::new("left", &self.to_string())
    }
}

impl Federations {
    /// The amendment that took a client out which once took part: the first one in force behind the
    /// manifest that it has pinned. None for a client that never did: others' federations are
    /// nobody's business.
    pub async fn left(
        &self,
        peer: &Peer,
        owner: &TenantId,
        federation: FederationId,
        pinned: Digest,
    ) -> Result<Option<Left>, FederationError> {
        let manifests = self.store.tenant(owner).manifests(federation).await?;
        let names = |manifest: &Manifest| {
            let mut clients = manifest.clients();
            clients.any(|named| named.id == peer.client && *named.tenant == peer.tenant)
        };
        let was_in = |signed: &&[SignedManifest]| {
            signed.first().is_some_and(|first| first.manifest.hash() == pinned)
        };
        let since = (0..manifests.len()).map(|at| &manifests[at..]).find(was_in);
        let since = since.filter(|since| since.first().is_some_and(|one| names(&one.manifest)));
        for pair in since.unwrap_or_default().windows(2) {
            let [before, after] = pair else { continue };
            let complete = after.standing(Some(&before.manifest))?.is_complete();
            if complete && !names(&after.manifest) {
                return Ok(Some(left_by(peer, &after.manifest)));
            }
        }
        Ok(None)
    }

    /// Drafts an amendment of the manifest in force. A draft that waited for signatures is
    /// replaced.
    pub async fn amend(
        &self,
        located: &Located,
        changes: Changes,
    ) -> Result<Manifest, FederationError> {
        let _changes = self.changes.lock().await;
        let (rows, federation) = (self.rows(located), located.federation.federation);
        let in_force = self.in_force(located).await?;
        let manifest = self.amended(&in_force, changes).await?;
        let requirement = manifest.requirement(Some(&in_force));
        requirement.map_err(|error| FederationError::Signature(error.into()))?;
        let manifest = SignedManifest::draft(manifest)?.manifest;
        let digest = manifest.hash();
        let (version, predecessor) = (in_force.version, in_force.predecessor);
        let unchanged = Manifest { version, predecessor, ..manifest.clone() } == in_force;
        if unchanged {
            return Err(FederationError::NothingChanges);
        }
        // Whoever leaves is a member until the amendment is in force.
        let mut all: BTreeSet<_> = rows.members(federation).await?.into_iter().collect();
        all.extend(manifest.members.iter().map(|member| member.tenant.clone()));
        let members: Vec<_> = all.into_iter().collect();
        let event = AuditEvent::ManifestProposed { version: manifest.version, manifest: digest };
        let writes = vec![
            Write::PutMembers { federation, members: members.clone() },
            Write::PutManifest { digest, manifest: Box::new(manifest.clone()) },
            audit(federation, members, event),
        ];
        self.write(located, "amend", writes).await?;
        Ok(manifest)
    }

    async fn amended(
        &self,
        in_force: &Manifest,
        changes: Changes,
    ) -> Result<Manifest, FederationError> {
        let stay = || in_force.members.iter().map(|member| member.tenant.clone()).collect();
        let tenants: Vec<TenantId> = changes.members.unwrap_or_else(stay);
        let tenants = distinct(tenants)?;
        if !tenants.contains(&in_force.owner) {
            return Err(FederationError::OwnerNotMember(in_force.owner.clone()));
        }
        let mut members = Vec::new();
        for tenant in tenants {
            members.push(self.member(tenant).await?);
        }
        let stay = || (in_force.task.clone(), in_force.rules.clone());
        let (task, rules) = changes.terms.unwrap_or_else(stay);
        Ok(Manifest {
            version: in_force.version + 1,
            predecessor: Some(in_force.hash()),
            members,
            task,
            rules,
            ..in_force.clone()
        })
    }

    /// The newest manifest that has every signature that it needs.
    async fn in_force(&self, located: &Located) -> Result<Manifest, FederationError> {
        let (mut in_force, mut predecessor, mut lacking) = (None, None, None);
        for signed in self.rows(located).manifests(located.federation.federation).await? {
            match signed.verify(predecessor.as_ref()) {
                Ok(()) => in_force = Some(signed.manifest.clone()),
                Err(why) => lacking = Some(why),
            }
            predecessor = Some(signed.manifest);
        }
        let name = located.federation.name.clone();
        in_force.ok_or(match lacking {
            Some(why) => FederationError::NotSigned { name, why },
            None => FederationError::NotNamed,
        })
    }

    /// Refuses a federation none of whose manifests has every signature that it needs.
    pub async fn check_signed(&self, located: &Located) -> Result<(), FederationError> {
        self.in_force(located).await.map(|_| ())
    }
}

fn left_by(peer: &Peer, amendment: &Manifest) -> Left {
    let stays = amendment.tenants().any(|tenant| *tenant == peer.tenant);
    let who = match stays {
        true => "this client was taken out of the federation".to_owned(),
        false => format!("tenant {} has left the federation", peer.tenant),
    };
    Left { who, version: amendment.version, manifest: amendment.hash() }
}
