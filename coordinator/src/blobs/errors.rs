//! What `object_store` says, as errors of the store.

use std::error::Error;
use std::io;

use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::TenantId;

use super::Blobs;
use crate::store::StoreError;

/// What was being done to whose blob.
pub(super) struct At<'a> {
    pub(super) what: &'static str,
    pub(super) blobs: &'a Blobs,
    pub(super) tenant: &'a TenantId,
}

impl At<'_> {
    pub(super) fn error(&self, digest: Digest, error: &object_store::Error) -> StoreError {
        let path = self.blobs.folder.join(self.tenant.as_str()).join(digest.to_string());
        if matches!(error, object_store::Error::NotFound { .. }) {
            return StoreError::NoSuchBlob { tenant: self.tenant.clone(), digest };
        }
        match io_kind(error) {
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                StoreError::DiskFull { what: self.what, path }
            }
            _ => StoreError::Failed { what: self.what, path, why: error.to_string() },
        }
    }

    pub(super) fn damaged(&self, digest: Digest, what: &str) -> StoreError {
        StoreError::Corrupt {
            what: format!("{what} does not open"),
            path: self.blobs.folder.join(self.tenant.as_str()).join(digest.to_string()),
        }
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
