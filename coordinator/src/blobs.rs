//! Bulk bytes: models, aggregates, masked sums. A blob lies on the [`Shelf`] of one federation, is
//! sealed under its owner's key in chunks ([`format`](self::format)), and is durable under its name,
//! whole, when [`Shelf::put`] or [`BlobWriter::finish`] returns. The name is drawn at random and never
//! used again: one row names a blob, or none does, and one that no row named when it was listed by
//! the holder of the federation's lease is named by none later.
//!
//! Kept through `object_store`: in a folder today, in a bucket behind the same calls.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};
use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::{FederationId, TenantId};

use crate::keys::Kms;
use crate::store::StoreError;
use roundelay_program::failpoint;

mod errors;
mod format;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use errors::At;
pub use reader::BlobReader;
pub use writer::BlobWriter;

/// Plaintext bytes that are sealed and written at a time, or read where the whole is wanted; also
/// the largest blob that is written in one call. At least the 5 MiB that buckets ask of a part.
const PART_BYTES: usize = 8 * format::CHUNK_BYTES;
/// Up to so many bytes a thread switch takes longer than sealing or opening them.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// The blobs of an installation. Cheap to clone.
#[derive(Clone)]
pub struct Blobs {
    objects: Arc<dyn ObjectStore>,
    kms: Arc<dyn Kms>,
    /// Where the blobs are, for errors.
    folder: PathBuf,
}

impl Blobs {
    /// Blobs in `folder`, which is made (mode 0700) where it is missing:
    /// `<tenant>/<federation>/<name>`.
    pub fn in_folder(folder: &Path, kms: Arc<dyn Kms>) -> Result<Self, StoreError> {
        let failed = |why: String| StoreError::Failed {
            what: "opening the blob folder",
            path: folder.to_owned(),
            why,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| failed(error.to_string()))?;
        let objects = LocalFileSystem::new_with_prefix(folder)
            .map_err(|error| failed(error.to_string()))?
            .with_fsync(true);
        Ok(Self { objects: Arc::new(objects), kms, folder: folder.to_owned() })
    }

    /// The shelf of a federation of this owner.
    #[must_use]
    pub fn shelf(&self, owner: &TenantId, federation: FederationId) -> Shelf {
        Shelf { blobs: self.clone(), owner: owner.clone(), federation }
    }
}

/// The blobs of one federation, under the key of its owner. Cheap to clone.
#[derive(Clone)]
pub struct Shelf {
    blobs: Blobs,
    owner: TenantId,
    federation: FederationId,
}

impl Shelf {
    /// Stores bytes and returns the name of the blob, when it survives a loss of power. They are
    /// sealed and written part by part, without a second copy of the whole.
    pub async fn put(&self, content: Bytes) -> Result<Digest, StoreError> {
        let mut writer = self.create(content.len() as u64).await?;
        writer.push(content).await?;
        writer.finish().await
    }

    /// Begins a blob of so many bytes.
    pub async fn create(&self, bytes: u64) -> Result<BlobWriter, StoreError> {
        BlobWriter::new(self, bytes).await
    }

    /// Opens a blob for reading, a chunk at a time: a reader that is slow holds no more.
    pub async fn get(&self, name: Digest) -> Result<BlobReader, StoreError> {
        BlobReader::open(self, name).await
    }

    /// The whole of a blob in memory.
    pub async fn read(&self, name: Digest) -> Result<Vec<u8>, StoreError> {
        self.get(name).await?.whole().await
    }

    /// The names of all blobs of the federation, in no order.
    pub async fn names(&self) -> Result<Vec<Digest>, StoreError> {
        let listed = self.blobs.objects.list_with_delimiter(Some(&self.folder())).await;
        let listed = listed.map_err(|error| StoreError::Failed {
            what: "listing blobs",
            path: self.blobs.folder.join(self.folder().as_ref()),
            why: error.to_string(),
        })?;
        let names = listed.objects.iter().filter_map(|object| object.location.filename());
        Ok(names.filter_map(|name| name.parse().ok()).collect())
    }

    /// Removes the drafts of writers that died while they wrote. For the holder of the federation's
    /// lease before it writes: a draft of anybody else would be named by no row.
    pub async fn remove_drafts(&self) -> Result<(), StoreError> {
        let folder = self.blobs.folder.join(self.folder().as_ref());
        let removed = tokio::task::spawn_blocking(move || remove_drafts(&folder)).await;
        removed.map_err(|_| StoreError::Closed)
    }

    /// Deletes a blob. One that is not there is deleted already. Not durable by itself: after a loss
    /// of power it may be there again.
    pub async fn delete(&self, name: Digest) -> Result<(), StoreError> {
        let at = At { what: "deleting a blob", shelf: self };
        failpoint!("blob.delete.before");
        match self.blobs.objects.delete(&self.path(name)).await {
            Err(object_store::Error::NotFound { .. }) => {}
            deleted => deleted.map_err(|error| at.error(name, &error))?,
        }
        failpoint!("blob.delete.after");
        Ok(())
    }

    /// A tenant's name is one path segment and holds no dot: no other tenant's path is below it.
    fn folder(&self) -> ObjectPath {
        ObjectPath::from_iter([self.owner.as_str(), &self.federation.to_string()])
    }

    fn path(&self, name: Digest) -> ObjectPath {
        self.folder().join(name.to_string())
    }
}

/// Runs work on so many bytes off the runtime's threads, unless it is over sooner than that takes.
async fn blocking<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    if bytes <= INLINE_BYTES_MAX {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Closed)
}

/// Removes what `object_store` has not renamed yet: it writes `<name>#<n>`. Failing to is no harm but
/// space.
fn remove_drafts(folder: &Path) {
    for file in fs::read_dir(folder).into_iter().flatten().flatten() {
        if file.file_name().to_string_lossy().contains('#') {
            drop(fs::remove_file(file.path()));
        }
    }
}
