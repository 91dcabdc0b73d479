//! The keys of a client: the identity key that signs its rounds, the tenant key that signs
//! manifests, and the TLS key of its certificate. Each is made on this machine and never leaves it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rand_core::CryptoRng;
use roundelay_crypto::identity::IdentityKey;
use roundelay_crypto::secret::{Secret, Seed};
use zeroize::Zeroizing;

use crate::checkpoint::files::{Access, read, replace};
use crate::checkpoint::{CheckpointError, StateDir, at};

pub mod certificate;
pub mod enrolment;

const IDENTITY: SecretFile = SecretFile { name: "identity.key", magic: "roundelay-identity-1" };
const TENANT: SecretFile = SecretFile { name: "tenant.key", magic: "roundelay-tenant-1" };

/// The randomness of the operating system, for keys and seeds.
#[must_use]
pub fn os_rng() -> impl CryptoRng {
    rand_core::UnwrapErr(rand::rngs::SysRng)
}

/// The identity key of this client, if it was made.
///
/// # Errors
/// The file is damaged, or others can read it.
pub fn identity_key(dir: &StateDir) -> Result<Option<IdentityKey>, CheckpointError> {
    IDENTITY.load(dir)
}

/// The tenant key, if it is kept on this machine.
///
/// # Errors
/// The file is damaged, or others can read it.
pub fn tenant_key(dir: &StateDir) -> Result<Option<IdentityKey>, CheckpointError> {
    TENANT.load(dir)
}

/// The identity key, made if it is not there.
///
/// # Errors
/// It can't be read or written.
pub fn identity_key_or_new(dir: &StateDir) -> Result<IdentityKey, CheckpointError> {
    IDENTITY.load_or_new(dir)
}

/// The tenant key, made if it is not there. A tenant with several clients copies the first one's
/// `tenant.key` to the others before they enrol.
///
/// # Errors
/// It can't be read or written.
pub fn tenant_key_or_new(dir: &StateDir) -> Result<IdentityKey, CheckpointError> {
    TENANT.load_or_new(dir)
}

/// A file with one seed: `<magic> <64 hex digits>`.
struct SecretFile {
    name: &'static str,
    magic: &'static str,
}

impl SecretFile {
    fn load(&self, dir: &StateDir) -> Result<Option<IdentityKey>, CheckpointError> {
        let path = dir.file(self.name);
        let Some(bytes) = read(&path, 256)?.map(Zeroizing::new) else { return Ok(None) };
        refuse_exposed(&path)?;
        let seed = self.parse(&bytes);
        let seed = seed.ok_or_else(|| CheckpointError::damaged(&path, "it holds no key"))?;
        Ok(Some(IdentityKey::from_seed(seed)))
    }

    fn load_or_new(&self, dir: &StateDir) -> Result<IdentityKey, CheckpointError> {
        if let Some(key) = self.load(dir)? {
            return Ok(key);
        }
        let key = IdentityKey::random(&mut os_rng());
        let digits = Zeroizing::new(hex::encode(key.seed().expose()));
        let parts = [self.magic.as_bytes(), b" ", digits.as_bytes(), b"\n"];
        replace(&dir.file(self.name), Access::Secret, &parts)?;
        Ok(key)
    }

    fn parse(&self, bytes: &[u8]) -> Option<Seed> {
        let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let digits = line.strip_prefix(self.magic.as_bytes())?.strip_prefix(b" ")?;
        let seed = Zeroizing::new(hex::decode(digits).ok()?);
        Secret::from_slice(&seed)
    }
}

/// Refuses a secret that others on this machine can read.
pub(crate) fn refuse_exposed(path: &Path) -> Result<(), CheckpointError> {
    let mode = fs::metadata(path).map_err(|error| at(path, error))?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        Ok(())
    } else {
        Err(CheckpointError::Exposed { path: path.to_owned(), mode })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir() -> (tempfile::TempDir, StateDir) {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::create(root.path()).unwrap();
        (root, dir)
    }

    #[test]
    fn a_key_is_made_once_and_kept() {
        let (_root, dir) = dir();
        assert!(identity_key(&dir).unwrap().is_none());
        let made = identity_key_or_new(&dir).unwrap().public();
        assert_eq!(identity_key_or_new(&dir).unwrap().public(), made);
        assert_eq!(identity_key(&dir).unwrap().unwrap().public(), made);
        assert_ne!(tenant_key_or_new(&dir).unwrap().public(), made);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let (_root, dir) = dir();
        identity_key_or_new(&dir).unwrap();
        let path = dir.file("identity.key");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = identity_key(&dir).err().unwrap();
        assert!(matches!(error, CheckpointError::Exposed { mode: 0o640, .. }), "{error}");
    }

    #[test]
    fn a_file_that_holds_another_key_or_none_is_refused() {
        let (_root, dir) = dir();
        tenant_key_or_new(&dir).unwrap();
        fs::copy(dir.file("tenant.key"), dir.file("identity.key")).unwrap();
        assert!(identity_key(&dir).is_err());
        replace(&dir.file("identity.key"), Access::Secret, &[b"roundelay-identity-1 00"]).unwrap();
        assert!(identity_key(&dir).is_err());
    }
}
