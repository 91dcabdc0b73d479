//! A manifest and its signatures: who has to sign, who has, and whether they verify.

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::{IdentityKey, Signature};

use super::{AmendmentError, Manifest, ManifestError, SignedManifest};
use crate::ids::TenantId;

/// Why a signature was not taken, or a set of signatures does not do.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SignatureError {
    /// The manifest itself. Whoever drafted it is at fault.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The manifest does not follow from its predecessor. Whoever drafted it is at fault.
    #[error(transparent)]
    Amendment(#[from] AmendmentError),
    /// A signature of somebody who is not asked. The sender is at fault.
    #[error("tenant `{0}` is not asked to sign this manifest")]
    NotAsked(TenantId),
    /// A signature that does not verify. That tenant, or whoever passed it on, is at fault.
    #[error(
        "the signature of tenant `{0}` does not verify under its key in the manifest: it signed \
         another manifest, or with another key; it has to run `manifest show` and sign again"
    )]
    DoesNotVerify(TenantId),
    /// Signatures out of order, or two of one tenant. Whoever collected them is at fault.
    #[error("the signature of tenant `{0}` is out of order or there twice")]
    Order(TenantId),
    /// Signatures are missing. These tenants have to sign yet.
    #[error("{signatures} of {required} signatures; waiting for {}", names(missing))]
    Incomplete {
        /// Signatures so far.
        signatures: usize,
        /// Signatures needed.
        required: usize,
        /// Who may or has to sign yet.
        missing: Vec<TenantId>,
    },
}

fn names(tenants: &[TenantId]) -> String {
    tenants.iter().map(TenantId::as_str).collect::<Vec<_>>().join(", ")
}

/// How far the signatures under a manifest are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Signatures that count so far.
    pub signatures: usize,
    /// Signatures needed.
    pub required: usize,
    /// Who may or has to sign yet; empty when complete.
    pub missing: Vec<TenantId>,
}

impl Standing {
    /// Whether every signature that is needed is there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }
}

impl Manifest {
    /// A tenant's signature under this manifest, which commits it to every word in it.
    #[must_use]
    pub fn sign(&self, tenant_key: &IdentityKey) -> Signature {
        tenant_key.sign(self.signed().as_ref())
    }

    /// What a tenant's signature covers.
    pub(super) fn signed(&self) -> Digest {
        Digest::of("roundelay/manifest/signature", &[self.hash().as_ref()])
    }
}

impl SignedManifest {
    /// A manifest to be signed, if it is a possible one.
    pub fn draft(manifest: Manifest) -> Result<Self, ManifestError> {
        manifest.validate()?;
        Ok(Self { manifest, signatures: Vec::new() })
    }

    /// Takes a tenant's signature, in place of an earlier one. `predecessor` is the manifest that
    /// this one amends, none for version 0.
    pub fn add(
        &mut self,
        predecessor: Option<&Manifest>,
        tenant: &TenantId,
        signature: Signature,
    ) -> Result<Standing, SignatureError> {
        let requirement = self.manifest.requirement(predecessor)?;
        requirement.verify(self.manifest.signed().as_ref(), tenant, &signature)?;
        match self.signatures.binary_search_by(|(other, _)| other.cmp(tenant)) {
            Ok(at) => {
                if let Some(entry) = self.signatures.get_mut(at) {
                    entry.1 = signature;
                }
            }
            Err(at) => self.signatures.insert(at, (tenant.clone(), signature)),
        }
        Ok(requirement.standing(self.signers()))
    }

    /// How far the signatures are, each of them verified.
    pub fn standing(&self, predecessor: Option<&Manifest>) -> Result<Standing, SignatureError> {
        let requirement = self.manifest.requirement(predecessor)?;
        let message = self.manifest.signed();
        let mut before: Option<&TenantId> = None;
        for (tenant, signature) in &self.signatures {
            if before.replace(tenant).is_some_and(|before| before >= tenant) {
                return Err(SignatureError::Order(tenant.clone()));
            }
            requirement.verify(message.as_ref(), tenant, signature)?;
        }
        Ok(requirement.standing(self.signers()))
    }

    /// Refuses a manifest that is not possible, does not follow from its predecessor, or lacks a
    /// signature that it needs.
    pub fn verify(&self, predecessor: Option<&Manifest>) -> Result<(), SignatureError> {
        self.manifest.validate()?;
        let standing = self.standing(predecessor)?;
        if standing.is_complete() {
            return Ok(());
        }
        let Standing { signatures, required, missing } = standing;
        Err(SignatureError::Incomplete { signatures, required, missing })
    }

    fn signers(&self) -> impl Iterator<Item = &TenantId> {
        self.signatures.iter().map(|(tenant, _)| tenant)
    }
}
