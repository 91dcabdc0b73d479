//! What `object_store` says, as errors of the store.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use roundelay_crypto::digest::Digest;

use super::Shelf;
use crate::store::StoreError;

/// What was being done to whose blob.
pub(super) struct At<'a> {
    pub(super) what: &'static str,
    pub(super) shelf: &'a Shelf,
}

impl At<'_> {
    pub(super) fn error(&self, name: Digest, error: &object_store::Error) -> StoreError {
        if matches!(error, object_store::Error::NotFound { .. }) {
            return StoreError::NoSuchBlob { tenant: self.shelf.owner.clone(), name };
        }
        let path = self.path(name);
        match io_kind(error) {
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                StoreError::DiskFull { what: self.what, path }
            }
            Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
                StoreError::Denied { what: self.what, path }
            }
            _ => StoreError::Failed { what: self.what, path, why: error.to_string() },
        }
    }

    pub(super) fn damaged(&self, name: Digest, what: &str) -> StoreError {
        StoreError::Corrupt { what: what.to_owned(), path: self.path(name) }
    }

    /// A blob was given more or fewer bytes than it was begun for.
    pub(super) fn other_length(&self, name: Digest) -> StoreError {
        let why = "internal error: it has another length than was announced".to_owned();
        StoreError::Failed { what: self.what, path: self.path(name), why }
    }

    fn path(&self, name: Digest) -> PathBuf {
        self.shelf.blobs.folder.join(self.shelf.path(name).as_ref())
    }
}

/// The error of the operating system below an error, if there is one.
fn io_kind(error: &(dyn Error + 'static)) -> Option<io::ErrorKind> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        cause = error.source();
    }
    None
}
