//! The federations that name a client, as it is told of them: a summary each among the control
//! frames, and the newest manifest with its signatures as a vector.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use roundelay_crypto::digest::Digest;
use roundelay_protocol::bounded::{List, Text};
use roundelay_protocol::codec;
use roundelay_protocol::ids::FederationId;
use roundelay_protocol::manifest::{Manifest, SignatureError, SignedManifest};
use roundelay_protocol::session::{FederationSummary, Refused};

use super::{FederationError, Federations, newest};
use crate::authority::Peer;
use crate::store::told_of_failure;
use crate::store::{Membership, StoreError};

/// Federations that are listed to one client.
const LISTED_MAX: usize = 256;

/// What a client is told: summaries, and the manifest of each in the same order.
#[derive(Debug, Default)]
pub struct Listing {
    /// One each.
    pub summaries: List<FederationSummary, LISTED_MAX>,
    /// The encoded manifest with its signatures, and its hash, of each.
    pub manifests: Vec<(FederationSummary, Vec<u8>)>,
}

/// Whether the newest manifest of each federation was found complete, by what was looked at.
///
/// Every client of a federation that comes together asks for its manifest again and again, and each
/// answer has to say how far its signatures are. Verified for every one of them, n clients would
/// cost n² signatures a second, and a cohort of hundreds would never come together.
#[derive(Debug, Default)]
pub(super) struct Verified(Mutex<BTreeMap<FederationId, (Digest, bool)>>);

impl Verified {
    /// Whether a manifest with its signatures, encoded as `bytes`, is complete; verified anew only
    /// where it, its signatures or its predecessor are not those that were verified last.
    fn is_complete(
        &self,
        signed: &SignedManifest,
        bytes: &[u8],
        predecessor: Option<&Manifest>,
    ) -> Result<bool, SignatureError> {
        let federation = signed.manifest.federation;
        let before = predecessor.map_or(Digest([0; 32]), Manifest::hash);
        let looked_at = Digest::of("roundelay/listed", &[before.as_ref(), bytes]);
        let found = self.lock().get(&federation).copied();
        if let Some((_, is_complete)) = found.filter(|(known, _)| *known == looked_at) {
            return Ok(is_complete);
        }
        let is_complete = signed.standing(predecessor)?.is_complete();
        self.lock().insert(federation, (looked_at, is_complete));
        Ok(is_complete)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<FederationId, (Digest, bool)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Federations {
    /// The federations whose newest manifest names this client, or did before an amendment that
    /// its tenant has to agree to.
    pub async fn of(&self, peer: &Peer) -> Result<Listing, FederationError> {
        let mut manifests = Vec::new();
        for membership in self.store.tenant(&peer.tenant).memberships().await? {
            if manifests.len() == LISTED_MAX {
                tracing::warn!(tenant = %peer.tenant, "more federations than a client can be told of");
                break;
            }
            manifests.extend(self.listed(peer, &membership).await?);
        }
        let summaries: Vec<_> = manifests.iter().map(|(summary, _)| summary.clone()).collect();
        let summaries = List::try_from(summaries).unwrap_or_default();
        Ok(Listing { summaries, manifests })
    }

    async fn listed(
        &self,
        peer: &Peer,
        membership: &Membership,
    ) -> Result<Option<(FederationSummary, Vec<u8>)>, FederationError> {
        let federation = membership.federation;
        let rows = self.store.tenant(&membership.owner);
        let (signed, predecessor) = newest(rows.manifests(federation).await?)?;
        let names = |manifest: &Manifest| {
            let mut clients = manifest.clients();
            clients.any(|named| named.id == peer.client && *named.tenant == peer.tenant)
        };
        if !names(&signed.manifest) && !predecessor.as_ref().is_some_and(names) {
            return Ok(None);
        }
        let bytes = codec::encode(&signed);
        let complete = self.verified.is_complete(&signed, &bytes, predecessor.as_ref())?;
        Ok(Some((summary(federation, &signed, complete), bytes)))
    }
}

fn summary(federation: FederationId, signed: &SignedManifest, complete: bool) -> FederationSummary {
    let name = Text::clipped(&signed.manifest.name);
    FederationSummary { federation, name, manifest: signed.manifest.hash(), complete }
}

impl FederationError {
    /// The stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown(_) => "unknown_federation",
            Self::NameTaken(_) => "name_taken",
            Self::NoClients(_) => "no_clients",
            Self::MemberTwice(_) => "member_twice",
            Self::OwnerNotMember(_) => "owner_not_member",
            Self::NotNamed => "not_named",
            Self::NothingChanges => "nothing_changes",
            Self::NoSuchManifest => "no_such_manifest",
            Self::ManifestChanged => "manifest_changed",
            Self::NotSigned { .. } => "not_signed",
            Self::Manifest(_) => "bad_manifest",
            Self::Signature(_) => "bad_signature",
            Self::Store(StoreError::NoSuchTenant(_)) => "unknown_tenant",
            Self::Store(_) => "internal",
        }
    }

    /// As a client is told. What went wrong inside the coordinator is for its log alone.
    #[must_use]
    pub fn refused(&self) -> Refused {
        if self.code() == "internal" {
            let store = if let Self::Store(error) = self { Some(error) } else { None };
            return told_of_failure(self, store);
        }
        Refused::new(self.code(), &self.to_string())
    }
}

#[cfg(test)]
mod tests;
