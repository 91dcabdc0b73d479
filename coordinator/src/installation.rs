//! One installation: the data folder with its lock, store, keys and blobs, and the authority and
//! notice key that live in the store. Whatever is missing is made at first use, by `serve` or
//! `tenant add`.
//!
//! | path | what |
//! |---|---|
//! | `lock` | held by the one process that uses the folder |
//! | `store.sqlite` | rows |
//! | `keys/` | key-encryption keys; better linked to other storage |
//! | `blobs/`, `spool/` | models and sums by hash; uploads under way |
//! | `admin.sock` | where a running coordinator takes the operator's verbs |

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use roundelay_protocol::ids::TenantId;

use crate::authority::{Authority, AuthorityError};
use crate::blobs::Blobs;
use crate::clients::Clients;
use crate::federations::Federations;
use crate::keys::{FileKms, KeyError, Kms};
use crate::notice::NoticeKey;
use crate::store::sqlite::SqliteStore;
use crate::store::{InstallationSecret, Store, StoreError, TenantStore};

/// The lock in a data folder.
const LOCK: &str = "lock";
/// The store in a data folder.
const STORE: &str = "store.sqlite";

/// Names this process in leases. The lock of the data folder admits one process at a time, and a
/// coordinator that was killed takes its leases over at once because its name is the same.
pub const HOLDER: &str = "embedded";

/// Why an installation could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum InstallationError {
    /// The folder cannot be used.
    #[error(
        "the data folder {}: {why}; make it one that this user can write, or choose another one \
         (`--data`)",
        path.display()
    )]
    Folder {
        /// The folder or a file in it.
        path: PathBuf,
        /// The operating system's words.
        why: std::io::Error,
    },
    /// No installation was ever made there.
    #[error(
        "{} is no data folder of a coordinator; correct the path (`--data`), or make a new one \
         there with `serve` or `tenant add`",
        .0.display()
    )]
    Missing(PathBuf),
    /// Another process uses it.
    #[error(
        "the data folder {} is in use by another process; stop that one, or choose another folder \
         (`--data`)",
        .0.display()
    )]
    InUse(PathBuf),
    /// There are tenants' keys, and no store, or nothing in it.
    #[error(
        "{} is gone or empty, and keys of tenants are in {}: restore it from a backup; for a new \
         installation choose another folder (`--data`), or move those keys away",
        .store.display(), .keys.display()
    )]
    NoStore {
        /// Where it should be.
        store: PathBuf,
        /// Where the keys are.
        keys: PathBuf,
    },
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The authority cannot be used.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The notice key cannot be used.
    #[error("the stored notice key is damaged; restore the store from a backup")]
    NoticeKey,
}

/// The lock of a data folder; let go when it is dropped, also by a killed process.
pub struct DataLock {
    data: PathBuf,
    _file: File,
}

impl DataLock {
    /// Takes a folder in which an installation is, and makes none.
    pub fn take_existing(data: &Path) -> Result<Self, InstallationError> {
        let is_there = |name: &str| {
            let path = data.join(name);
            path.try_exists().map_err(|why| InstallationError::Folder { path, why })
        };
        let missing = || InstallationError::Missing(data.to_owned());
        // One that is just being made has its lock before its store.
        if !is_there(STORE)? && !is_there(LOCK)? {
            return Err(missing());
        }
        let lock = Self::take(data)?;
        if is_there(STORE)? { Ok(lock) } else { Err(missing()) }
    }

    /// Takes the folder for this process, making it where it is missing.
    pub fn take(data: &Path) -> Result<Self, InstallationError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |why| InstallationError::Folder { path, why }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(at(data))?;
        let path = data.join(LOCK);
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(at(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { data: data.to_owned(), _file: file }),
            Err(TryLockError::WouldBlock) => Err(InstallationError::InUse(data.to_owned())),
            Err(TryLockError::Error(why)) => Err(InstallationError::Folder { path, why }),
        }
    }
}

/// Where a running coordinator takes the operator's verbs.
#[must_use]
pub fn admin_socket(data: &Path) -> PathBuf {
    data.join("admin.sock")
}

/// An open installation.
pub struct Installation {
    lock: DataLock,
    /// Its rows.
    pub store: Arc<dyn Store>,
    /// Models and sums.
    pub blobs: Blobs,
    /// Who is enrolled.
    pub clients: Arc<Clients>,
    /// Federations and their manifests.
    pub federations: Arc<Federations>,
    /// Signs notices to clients.
    pub notice_key: NoticeKey,
}

impl Installation {
    /// Opens the installation in a folder that this process has taken. Certificates of clients
    /// will live for `certificate_life`.
    pub async fn open(
        lock: DataLock,
        certificate_life: Duration,
    ) -> Result<Self, InstallationError> {
        let (keys, database) = (lock.data.join("keys"), lock.data.join(STORE));
        let kms = FileKms::open(&keys)?;
        let is_new = database.metadata().map_or(true, |file| file.len() == 0);
        if is_new && kms.holds_tenants()? {
            return Err(InstallationError::NoStore { store: database, keys });
        }
        let kms: Arc<dyn Kms> = Arc::new(kms);
        let store = SqliteStore::open(&database, Arc::clone(&kms)).await?;
        let store: Arc<dyn Store> = Arc::new(store);
        let blobs = Blobs::in_folder(&lock.data.join("blobs"), kms)?;
        let authority = authority(&*store).await?;
        let notice_key = notice_key(&*store).await?;
        let clients =
            Clients::new(Arc::clone(&store), authority, notice_key.public(), certificate_life);
        let federations = Arc::new(Federations::new(Arc::clone(&store), HOLDER));
        Ok(Self { lock, store, blobs, clients: Arc::new(clients), federations, notice_key })
    }

    /// Its data folder.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.lock.data
    }

    /// Where uploads under way are spooled.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        self.lock.data.join("spool")
    }

    /// The handle of a tenant that exists.
    pub async fn tenant(&self, tenant: &TenantId) -> Result<Arc<dyn TenantStore>, StoreError> {
        let known = self.store.tenants().await?;
        if known.iter().any(|known| known.tenant == *tenant) {
            Ok(self.store.tenant(tenant))
        } else {
            Err(StoreError::NoSuchTenant(tenant.clone()))
        }
    }
}

impl Installation {
    /// The tenants whose rows can't be read, as where a key is gone; the others are served.
    pub async fn unreadable(&self) -> Result<Vec<(TenantId, StoreError)>, StoreError> {
        let mut unreadable = Vec::new();
        for tenant in self.store.tenants().await? {
            if let Err(error) = self.store.tenant(&tenant.tenant).audit(0, 1).await {
                unreadable.push((tenant.tenant, error));
            }
        }
        Ok(unreadable)
    }
}

async fn authority(store: &dyn Store) -> Result<Authority, InstallationError> {
    let which = InstallationSecret::Authority;
    if let Some(kept) = store.secret(which).await? {
        return Ok(Authority::from_secret(&kept)?);
    }
    let made = Authority::create(SystemTime::now())?.to_secret();
    let kept = store.keep_secret(which, made).await?;
    Ok(Authority::from_secret(&kept)?)
}

async fn notice_key(store: &dyn Store) -> Result<NoticeKey, InstallationError> {
    let which = InstallationSecret::Notice;
    let kept = match store.secret(which).await? {
        Some(kept) => kept,
        None => store.keep_secret(which, NoticeKey::random().to_secret()).await?,
    };
    NoticeKey::from_secret(&kept).ok_or(InstallationError::NoticeKey)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Tenant;

    const LIFE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn an_installation_is_made_once_and_keeps_its_authority_and_notice_key() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("new/data");
        let made = Installation::open(DataLock::take(&data).unwrap(), LIFE).await.unwrap();
        let (fingerprint, notice) =
            (made.clients.authority().fingerprint(), made.notice_key.public());
        drop(made);
        let again = Installation::open(DataLock::take(&data).unwrap(), LIFE).await.unwrap();
        assert_eq!(again.clients.authority().fingerprint(), fingerprint);
        assert_eq!(again.notice_key.public(), notice);
    }

    #[test]
    fn a_folder_has_one_user_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let held = DataLock::take(folder.path()).unwrap();
        assert!(matches!(DataLock::take(folder.path()), Err(InstallationError::InUse(_))));
        drop(held);
        assert!(DataLock::take(folder.path()).is_ok());
    }

    #[tokio::test]
    async fn a_verb_that_needs_an_installation_makes_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("nothere");
        let refused = DataLock::take_existing(&data).err().unwrap();
        assert!(matches!(&refused, InstallationError::Missing(path) if *path == data));
        assert!(!data.exists(), "{refused}");
        std::fs::create_dir(&data).unwrap();
        assert!(DataLock::take_existing(&data).is_err());
        assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0, "nothing was put there");
        let held = DataLock::take(&data).unwrap();
        let beside = DataLock::take_existing(&data).err().unwrap();
        assert!(matches!(beside, InstallationError::InUse(_)), "one is being made: {beside}");
        drop(Installation::open(held, LIFE).await.unwrap());
        assert!(DataLock::take_existing(&data).is_ok());
    }

    #[tokio::test]
    async fn a_store_that_is_gone_or_empty_is_no_new_one_where_tenants_have_keys() {
        let folder = tempfile::tempdir().unwrap();
        let made = Installation::open(DataLock::take(folder.path()).unwrap(), LIFE).await.unwrap();
        let tenant = "acme".parse().unwrap();
        made.store.add_tenant(Tenant { tenant, created_unix_ms: 1 }).await.unwrap();
        drop(made);
        let store = folder.path().join(STORE);
        let refusal = async || {
            let lock = DataLock::take_existing(folder.path()).unwrap();
            Installation::open(lock, LIFE).await.err().unwrap()
        };
        std::fs::write(&store, "").unwrap();
        assert!(matches!(refusal().await, InstallationError::NoStore { .. }));
        assert_eq!(store.metadata().unwrap().len(), 0, "nothing was made");
        std::fs::remove_file(&store).unwrap();
        let lock = DataLock::take(folder.path()).unwrap();
        let refused = Installation::open(lock, LIFE).await.err().unwrap();
        assert!(refused.to_string().contains("restore it from a backup"), "{refused}");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = DataLock::take(&file.join("data")).err().unwrap().to_string();
        assert!(error.contains("file/data"), "{error}");
    }
}
