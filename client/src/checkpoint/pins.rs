//! The manifests of one federation on this client: the one in force, and a later one that its
//! tenant has signed and that waits for the others' signatures.

use std::fs;
use std::io;
use std::time::SystemTime;

use roundelay_crypto::digest::Digest;
use roundelay_protocol::codec;
use roundelay_protocol::ids::FederationId;
use roundelay_protocol::limits::MANIFEST_BYTES_MAX;
use roundelay_protocol::manifest::{Manifest, OwnEntry, PinError, Pinned, SignedManifest};
use serde::{Deserialize, Serialize};

use super::files::{Access, Kind, read_sealed, write_sealed};
use super::{CheckpointError, FederationDir, StateDir, at};

const IN_FORCE: Kind = Kind { name: "manifest", format: 1 };
const NEXT: Kind = Kind { name: "manifest-next", format: 2 };

/// Why a manifest can't be put in force.
#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    /// It does not verify, or does not name this client as it is.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The state directory can't be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// A manifest with the one that it amends, which its signatures are verified against.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Agreed {
    /// The manifest, with the signatures that were there when this tenant agreed to it.
    pub signed: SignedManifest,
    /// What it amends. It is the one in force, or it was verified back to that one or, by a tenant
    /// that joins, to version 0.
    pub predecessor: Option<Manifest>,
}

/// What a client has pinned of a federation.
#[derive(Debug, Clone, Default)]
pub struct Pins {
    /// Signed by all who have to.
    pub in_force: Option<Pinned>,
    /// Signed by this tenant; the others' signatures are not all there yet.
    pub next: Option<Agreed>,
}

impl Pins {
    /// Hash of the manifest that this tenant agreed to last.
    #[must_use]
    pub fn agreed(&self) -> Option<Digest> {
        self.next().or_else(|| self.in_force.as_ref().map(Pinned::hash))
    }

    /// Hash of the manifest that waits for the others' signatures.
    #[must_use]
    pub fn next(&self) -> Option<Digest> {
        self.next.as_ref().map(|next| next.signed.manifest.hash())
    }
}

impl StateDir {
    /// The federations whose manifests are pinned here, with their names. What can't be read is
    /// left out: whoever uses it says why.
    #[must_use]
    pub fn names(&self) -> Vec<(FederationId, String)> {
        let known = self.federations().unwrap_or_default();
        known.into_iter().filter_map(|id| Some((id, self.federation(id).ok()?.name()?))).collect()
    }
}

impl FederationDir {
    fn name(&self) -> Option<String> {
        let next = self.read_manifest("manifest-next", NEXT).ok()?;
        let in_force = self.read_manifest("manifest", IN_FORCE).ok()?;
        next.or(in_force).map(|agreed| agreed.signed.manifest.name)
    }

    /// What is pinned; its signatures are verified again. Whether it still names this client as it
    /// is, is for the caller to ask: a client whose key was replaced needs it to judge the
    /// amendment that names the new one.
    ///
    /// # Errors
    /// A file is damaged, newer or gone.
    pub fn pins(&self) -> Result<Pins, PinsError> {
        let in_force = match self.read_manifest("manifest", IN_FORCE)? {
            Some(kept) => Some(Pinned::kept(kept.signed, kept.predecessor.as_ref())?),
            None if self.path("state").exists() => {
                let why = "it is not there, and the model beside it is";
                return Err(CheckpointError::damaged(&self.path("manifest"), why).into());
            }
            None => None,
        };
        Ok(Pins { in_force, next: self.read_manifest("manifest-next", NEXT)? })
    }

    /// Pins a manifest that this tenant agrees to: from now on it, and no other, may come in force.
    ///
    /// # Errors
    /// It can't be written.
    pub fn pin_next(&self, next: &Agreed) -> Result<(), CheckpointError> {
        let bytes = codec::encode(next);
        write_sealed(&self.path("manifest-next"), NEXT, Access::Plain, &bytes)
    }

    /// When a manifest was agreed to last that is not in force yet.
    pub(crate) fn next_changed(&self) -> Option<SystemTime> {
        fs::metadata(self.path("manifest-next")).ok()?.modified().ok()
    }

    /// Puts the manifest in force that this tenant has agreed to, now that every signature is there.
    ///
    /// # Errors
    /// It is another one, a signature is missing or wrong, or it can't be written.
    pub fn put_in_force(
        &self,
        pins: &Pins,
        signed: SignedManifest,
        own: &OwnEntry,
    ) -> Result<Pinned, PinsError> {
        let agreed = pins.next.as_ref().filter(|_| pins.next() == Some(signed.manifest.hash()));
        let predecessor = agreed.ok_or(PinError::NotAgreed)?.predecessor.clone();
        let pinned = Pinned::new(signed.clone(), predecessor.as_ref(), own)?;
        let kept = Agreed { signed, predecessor };
        let path = self.path("manifest");
        write_sealed(&path, IN_FORCE, Access::Plain, &codec::encode(&kept))?;
        let next = self.path("manifest-next");
        match fs::remove_file(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(&next, error))?,
            _ => Ok(pinned),
        }
    }

    fn read_manifest(&self, name: &str, kind: Kind) -> Result<Option<Agreed>, CheckpointError> {
        let (path, limit) = (self.path(name), 2 * MANIFEST_BYTES_MAX);
        let Some(bytes) = read_sealed(&path, kind, limit as u64)? else { return Ok(None) };
        let agreed: Agreed = codec::decode(&bytes, limit)
            .map_err(|error| CheckpointError::damaged(&path, error.to_string()))?;
        if agreed.signed.manifest.federation != self.federation() {
            return Err(CheckpointError::damaged(&path, "it is of another federation"));
        }
        Ok(Some(agreed))
    }
}
