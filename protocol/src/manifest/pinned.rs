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
    /// Another federation, or a version that is not the next.
    #[error("this is not the amendment of the manifest that this client has pinned")]
    NotTheNext,
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
    /// Pins a complete manifest as this client's first of the federation, after its tenant has
    /// signed it. A newcomer that joins by an amendment is shown the `predecessor`; it vouches for
    /// none of it, only for the manifest that it has signed itself.
    pub fn first(
        signed: SignedManifest,
        predecessor: Option<&Manifest>,
        own: &OwnEntry,
    ) -> Result<Self, PinError> {
        Self::verified(signed, predecessor, own)
    }

    /// A manifest that this client pinned before. Its own entry was checked then, and may be another
    /// since: a lost identity key that was replaced is named by the next manifest only.
    pub fn kept(signed: SignedManifest, predecessor: Option<&Manifest>) -> Result<Self, PinError> {
        signed.verify(predecessor)?;
        let hash = signed.manifest.hash();
        Ok(Self { manifest: signed.manifest, hash })
    }

    /// The next manifest, if it amends this one by this one's rule.
    pub fn amended(&self, signed: SignedManifest, own: &OwnEntry) -> Result<Self, PinError> {
        if signed.manifest.predecessor != Some(self.hash) {
            return Err(PinError::NotTheNext);
        }
        Self::verified(signed, Some(&self.manifest), own)
    }

    fn verified(
        signed: SignedManifest,
        predecessor: Option<&Manifest>,
        own: &OwnEntry,
    ) -> Result<Self, PinError> {
        let pinned = Self::kept(signed, predecessor)?;
        own.check(&pinned.manifest)?;
        Ok(pinned)
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
