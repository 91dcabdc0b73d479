//! The manifest that a client has pinned: the only one under which it takes part in rounds.

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::IdentityPublic;

use super::{Manifest, SignatureError, SignedManifest};
use crate::ids::TenantId;

/// What a client knows to be its own, to be found unaltered in a manifest before it is pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnEntry {
    /// The tenant, from the client's certificate.
    pub tenant: TenantId,
    /// The tenant's key.
    pub tenant_key: IdentityPublic,
    /// This client's identity key.
    pub identity: IdentityPublic,
}

/// Why a client does not pin a manifest. It stays with the one it has, if any.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PinError {
    /// This client's own entry is not what it should be. Whoever drafted the manifest is at fault.
    #[error(
        "the manifest does not name this client as it is: {0}; the operator has to draft it again \
         from the enrolled keys"
    )]
    OwnEntry(&'static str),
    /// The manifest or its signatures.
    #[error(transparent)]
    Signatures(#[from] SignatureError),
    /// Another manifest than the one that its tenant has agreed to. Whoever sent it is at fault.
    #[error("this is not the manifest that this tenant has agreed to")]
    NotAgreed,
}

/// A verified manifest with its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    manifest: Manifest,
    hash: Digest,
}

impl OwnEntry {
    /// Refuses a manifest that names this client under other keys, or not at all. To be asked
    /// before signing, too.
    pub fn check(&self, manifest: &Manifest) -> Result<(), PinError> {
        let member = manifest
            .member(&self.tenant)
            .ok_or(PinError::OwnEntry("its tenant is not a member"))?;
        if member.tenant_key != self.tenant_key {
            return Err(PinError::OwnEntry("its tenant's key is another"));
        }
        if !member.clients.contains(&self.identity) {
            return Err(PinError::OwnEntry("its identity key is not among the tenant's clients"));
        }
        Ok(())
    }
}

impl Pinned {
    /// Pins a complete manifest that names this client as it is, after its tenant has signed it.
    /// What it amends is the `predecessor`, none for version 0; that it comes down from one that
    /// this client trusts is shown by its [ancestry](super::Ancestry).
    pub fn new(
        signed: SignedManifest,
        predecessor: Option<&Manifest>,
        own: &OwnEntry,
    ) -> Result<Self, PinError> {
        let pinned = Self::kept(signed, predecessor)?;
        own.check(&pinned.manifest)?;
        Ok(pinned)
    }

    /// A manifest that this client pinned before. Its own entry was checked then, and may be another
    /// since: a lost identity key that was replaced is named by the next manifest only.
    pub fn kept(signed: SignedManifest, predecessor: Option<&Manifest>) -> Result<Self, PinError> {
        signed.verify(predecessor)?;
        let hash = signed.manifest.hash();
        Ok(Self { manifest: signed.manifest, hash })
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its hash, which every plan has to name.
    #[must_use]
    pub fn hash(&self) -> Digest {
        self.hash
    }
}
