//! The state directory of a client: keys, certificate, pinned manifests, histories, models.
//!
//! ```text
//! DIR/                         0700
//!   lock                       held by the running daemon: two can't share a directory
//!   identity.key tenant.key    0600, hex seeds of Ed25519 keys
//!   enrolment.toml             coordinator address, tenant, pinned notice key
//!   tls/                       client.key 0600, client.der, authority.der
//!   ledger                     what left this machine, hash-chained
//!   privacy                    what was released over each data set, where privacy is promised
//!   status.json                what the daemon is doing, replaced whole
//!   federations/ID/            manifest  manifest-next  compared  history  state  round-N.masked
//! ```
//! Every file is replaced whole or appended to; a crash leaves the old content or the new one, or
//! cuts off an entry that was never durable.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use roundelay_protocol::ids::FederationId;

mod compared;
pub(crate) mod durable;
pub(crate) mod failpoint;
pub(crate) mod federation;
pub(crate) mod files;
pub(crate) mod journal;
pub mod pins;
pub(crate) mod privacy;

pub use federation::FederationDir;

/// Why a file of the state directory can't be used. Every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Another process runs with this directory.
    #[error(
        "{} is in use by another roundelay-client: stop that one, or give this one a directory \
         of its own with --dir",
        .0.display()
    )]
    Locked(PathBuf),
    /// There is no such directory, or no client was enrolled in it.
    #[error(
        "the folder {} holds no enrolled client; enrol first with `roundelay-client enrol`, or \
         name another one with --dir",
        .0.display()
    )]
    NotEnrolled(PathBuf),
    /// A file that must be there is not.
    #[error("{} is missing: restore it from a backup, or enrol again in a new directory", .0.display())]
    Missing(PathBuf),
    /// The file is not what was written.
    #[error("{}: {why}; {}", .path.display(), remedy(.path))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file was written by a newer build.
    #[error(
        "{}: written by a newer roundelay-client (format {format}); install that version",
        .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// A secret that others on this machine can read.
    #[error(
        "{} can be read by others (mode {mode:o}): run `chmod 600 {}`",
        .path.display(), .path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The disk is full.
    #[error("the disk is full: {} was not written and nothing was lost; free some space and try again", .0.display())]
    DiskFull(PathBuf),
    /// This user may not read or write there.
    #[error(
        "{}: {error}; run it as the user who enrolled here and who may write all of this folder, \
         or name another one with --dir",
        .path.display()
    )]
    Denied {
        /// The file.
        path: PathBuf,
        /// Its error.
        error: io::Error,
    },
    /// Something else is where a folder should be.
    #[error("{} is there and is no folder; move it away, or name another one with --dir", .0.display())]
    NoFolder(PathBuf),
    /// The operating system refused.
    #[error("{}: {error}; look at that disk, or name another directory with --dir", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Its error.
        error: io::Error,
    },
}

impl CheckpointError {
    pub(crate) fn damaged(path: &Path, why: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), why: why.into() }
    }
}

/// What to do about a damaged file, by what it is for.
fn remedy(path: &Path) -> &'static str {
    match path.file_name().and_then(|name| name.to_str()) {
        Some("history") => {
            "restore its newest copy: with an older one, or none, this client forgets which sets it \
             has signed"
        }
        Some("ledger") => {
            "keep what is left of it; where it is moved away together with `ledger.mark`, a new one \
             begins"
        }
        _ => "restore it from a backup, or move it away",
    }
}

/// An error of the operating system, with the file that it is about.
pub(crate) fn at(path: &Path, error: io::Error) -> CheckpointError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            CheckpointError::DiskFull(path.to_owned())
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            CheckpointError::Denied { path: path.to_owned(), error }
        }
        _ => CheckpointError::Io { path: path.to_owned(), error },
    }
}

/// The state directory.
#[derive(Debug, Clone)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// An existing directory.
    ///
    /// # Errors
    /// There is none: the client is not enrolled.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, CheckpointError> {
        let root = root.into();
        if root.is_dir() { Ok(Self { root }) } else { Err(CheckpointError::NotEnrolled(root)) }
    }

    /// The directory, made with its folders if it is not there.
    ///
    /// # Errors
    /// It can't be made or written.
    pub fn create(root: impl Into<PathBuf>) -> Result<Self, CheckpointError> {
        let root = root.into();
        for folder in [root.clone(), root.join("tls"), root.join("federations")] {
            make_folder(&folder)?;
        }
        Ok(Self { root })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The path of a file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Claims the directory for this process until the guard is dropped.
    ///
    /// # Errors
    /// Another process holds it.
    pub fn lock(&self) -> Result<DirLock, CheckpointError> {
        let path = self.file("lock");
        let fail = |error| at(&path, error);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(fail)?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(DirLock { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(CheckpointError::Locked(self.root.clone())),
            Err(error) => Err(fail(error.into())),
        }
    }

    /// The folder of one federation, made if it is not there.
    ///
    /// # Errors
    /// It can't be made.
    pub fn federation(&self, federation: FederationId) -> Result<FederationDir, CheckpointError> {
        let folder = self.root.join("federations").join(federation.to_string());
        make_folder(&folder)?;
        Ok(FederationDir::new(federation, folder))
    }

    /// The federations that have a folder, sorted by id.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn federations(&self) -> Result<Vec<FederationId>, CheckpointError> {
        let folder = self.root.join("federations");
        let entries = fs::read_dir(&folder).map_err(|error| at(&folder, error))?;
        let mut found: Vec<FederationId> =
            entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
        found.sort_unstable();
        Ok(found)
    }

    /// Whether there are federations here and every one of them has finished.
    #[must_use]
    pub fn has_finished(&self) -> bool {
        let found = self.federations().unwrap_or_default();
        let finished = |one| self.federation(one).is_ok_and(|dir| dir.has_finished());
        !found.is_empty() && found.into_iter().all(finished)
    }
}

/// Holds a state directory for this process. The operating system lets go of it however the process
/// ends.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
}

fn make_folder(folder: &Path) -> Result<(), CheckpointError> {
    if folder.is_dir() {
        return Ok(());
    }
    // Also where it is a link that leads nowhere.
    if folder.symlink_metadata().is_ok() {
        return Err(CheckpointError::NoFolder(folder.to_owned()));
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .and_then(|()| files::sync_directory(folder))
        .map_err(|error| at(folder, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_may_not_be_written_is_one_line_that_says_by_whom() {
        for kind in [io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem] {
            let line = at(Path::new("acme/lock"), kind.into()).to_string();
            assert!(
                line.starts_with("acme/lock: ") && line.contains("user who enrolled"),
                "{line}"
            );
            assert!(!line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn two_daemons_cannot_share_a_directory() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::create(root.path().join("client")).unwrap();
        let held = dir.lock().unwrap();
        assert!(matches!(dir.lock().unwrap_err(), CheckpointError::Locked(_)));
        drop(held);
        dir.lock().unwrap();
    }

    #[test]
    fn a_directory_that_is_not_there_is_not_made_by_opening_it() {
        let root = tempfile::tempdir().unwrap();
        let error = StateDir::open(root.path().join("nothing")).unwrap_err();
        assert!(matches!(error, CheckpointError::NotEnrolled(_)));
    }

    #[test]
    fn the_directory_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::create(root.path().join("client")).unwrap();
        let mode = fs::metadata(dir.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
