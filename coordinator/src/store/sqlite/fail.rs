//! What SQLite says, as errors of the store.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use rusqlite::ErrorCode;

use crate::store::StoreError;

/// An error on the way, before it is known where it happened.
#[derive(Debug)]
pub(super) enum Fail {
    Sql(rusqlite::Error),
    Store(StoreError),
}

impl From<rusqlite::Error> for Fail {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Fail {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Fail {
    /// The error of the store: what was being done to which database.
    pub(super) fn at(self, what: &'static str, path: &Path) -> StoreError {
        let path = path.to_owned();
        let error = match self {
            Self::Store(error) => return error,
            Self::Sql(error) => error,
        };
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => StoreError::DiskFull { what, path },
            Some(ErrorCode::SystemIoFailure) if is_disk_full(&path) => {
                StoreError::DiskFull { what, path }
            }
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
                StoreError::Denied { what, path }
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Corrupt { what: error.to_string(), path }
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy { path },
            _ => StoreError::Failed { what, path, why: error.to_string() },
        }
    }
}

/// Whether there is no room beside the database: tried, since of its shared memory SQLite says no more
/// than that it could not be written.
fn is_disk_full(database: &Path) -> bool {
    /// What SQLite makes that memory of at a time.
    const SHARED_MEMORY_BYTES: usize = 32 << 10;
    let tried = database.with_extension("room");
    let opened = OpenOptions::new().write(true).create(true).truncate(true).open(&tried);
    let written = opened.and_then(|mut file| {
        file.write_all(&[0; SHARED_MEMORY_BYTES])?;
        file.sync_all()
    });
    let _ = fs::remove_file(&tried);
    written
        .is_err_and(|why| matches!(why.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
}
