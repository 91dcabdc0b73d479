//! Key-encryption keys in files: `<folder>/<tenant>.kek`, 32 random bytes, readable by the
//! coordinator's user alone. Whoever can read this folder can read every tenant, so it belongs on
//! other storage, and in other backups, than the database.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use roundelay_crypto::envelope::{DataKey, KeyEncryptionKey, Place};
use roundelay_crypto::secret::{Secret, Seed};

use super::{KeyError, Kms, Scope};
use roundelay_program::failpoint;

/// Keys in a folder of files, read once and kept in memory.
pub struct FileKms {
    folder: PathBuf,
    keys: RwLock<BTreeMap<Scope, Arc<KeyEncryptionKey>>>,
}

impl FileKms {
    /// The keys in `folder`, which is made (mode 0700) where it is missing.
    pub fn open(folder: &Path) -> Result<Self, KeyError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| failed("making the key folder", folder, &error))?;
        Ok(Self { folder: folder.to_owned(), keys: RwLock::default() })
    }

    /// Whether there is a key of any tenant.
    pub fn holds_tenants(&self) -> Result<bool, KeyError> {
        let fail = |error: io::Error| failed("reading the key folder", &self.folder, &error);
        let installation = self.path(&Scope::Installation);
        for entry in fs::read_dir(&self.folder).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            if path.extension().is_some_and(|kind| kind == "kek") && path != installation {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn path(&self, scope: &Scope) -> PathBuf {
        self.folder.join(format!("{}.kek", scope.name()))
    }

    fn key(&self, scope: &Scope) -> Result<Arc<KeyEncryptionKey>, KeyError> {
        let known = self.keys.read().unwrap_or_else(PoisonError::into_inner).get(scope).cloned();
        if let Some(key) = known {
            return Ok(key);
        }
        let key = Arc::new(KeyEncryptionKey::new(read(&self.path(scope), scope)?));
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(keys.entry(scope.clone()).or_insert(key)))
    }

    /// Writes a new key beside its place, then links it there: it is there whole or not at all,
    /// and of two processes one wins.
    fn create_file(&self, scope: &Scope) -> io::Result<()> {
        let key = Seed::random(&mut rand::rng());
        // A name of its own: a draft that two write would stay linked to the key of one.
        let draft =
            self.folder.join(format!(".{}.{:016x}.new", scope.name(), rand::random::<u64>()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        if let Err(error) = file.write_all(key.expose()).and_then(|()| file.sync_all()) {
            let _ = fs::remove_file(&draft);
            return Err(error);
        }
        failpoint!("key.create.before");
        let linked = fs::hard_link(&draft, self.path(scope));
        fs::remove_file(&draft)?;
        match linked {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => File::open(&self.folder)?.sync_all()?,
        }
        failpoint!("key.create.after");
        Ok(())
    }
}

#[async_trait]
impl Kms for FileKms {
    async fn create(&self, scope: &Scope) -> Result<(), KeyError> {
        let path = self.path(scope);
        if !path.exists() {
            self.create_file(scope).map_err(|error| failed("writing a key", &path, &error))?;
        }
        self.key(scope).map(|_| ())
    }

    async fn wrap(&self, scope: &Scope, key: &DataKey) -> Result<Vec<u8>, KeyError> {
        Ok(self.key(scope)?.wrap(&place(scope), key, &mut rand::rng()))
    }

    async fn unwrap(&self, scope: &Scope, wrapped: &[u8]) -> Result<DataKey, KeyError> {
        self.key(scope)?
            .unwrap(&place(scope), wrapped)
            .map_err(|_| KeyError::Foreign(scope.clone()))
    }

    async fn destroy(&self, scope: &Scope) -> Result<(), KeyError> {
        let path = self.path(scope);
        self.keys.write().unwrap_or_else(PoisonError::into_inner).remove(scope);
        match destroy_file(&path, &self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            destroyed => destroyed.map_err(|error| failed("destroying a key", &path, &error)),
        }
    }
}

/// Overwrites before it unlinks, for file systems that write in place.
fn destroy_file(path: &Path, folder: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.write_all(&[0; 32])?;
    file.sync_all()?;
    failpoint!("key.destroy.before");
    fs::remove_file(path)?;
    File::open(folder)?.sync_all()?;
    failpoint!("key.destroy.after");
    Ok(())
}

fn read(path: &Path, scope: &Scope) -> Result<Seed, KeyError> {
    let bytes = fs::read(path).map(Secret::new).map_err(|error| match error.kind() {
        ErrorKind::NotFound => KeyError::Missing { scope: scope.clone(), path: path.to_owned() },
        _ => failed("reading a key", path, &error),
    })?;
    let mode = fs::metadata(path)
        .map_err(|error| failed("reading a key", path, &error))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(bad(path, "can be read by others than its owner; chmod 600 it"));
    }
    Seed::from_slice(bytes.expose())
        .filter(|key| !key.ct_eq(&Seed::new([0; 32])))
        .ok_or_else(|| bad(path, "is not a key of 32 bytes; restore it from a backup"))
}

/// A data key is bound to its tenant here; the value that it seals is bound to its own place.
fn place(scope: &Scope) -> Place<'_> {
    Place {
        tenant: scope.name().as_bytes(),
        table: "keys",
        row: b"",
        column: "data_key",
        version: 0,
    }
}

fn bad(path: &Path, why: &str) -> KeyError {
    KeyError::BadFile { path: path.to_owned(), why: why.to_owned() }
}

fn failed(what: &'static str, path: &Path, error: &io::Error) -> KeyError {
    let path = path.to_owned();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => KeyError::DiskFull { what, path },
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            KeyError::Denied { what, path }
        }
        _ => KeyError::Failed { what, path, why: error.to_string() },
    }
}

#[cfg(test)]
mod tests;
