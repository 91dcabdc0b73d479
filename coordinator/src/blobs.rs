//! Bulk bytes: models, aggregates, masked sums. A blob lies on the [`Shelf`] of one federation, is
//! sealed under its owner's key in chunks ([`format`](self::format)), and is durable under its name,
//! whole, when [`Shelf::put`] returns. The name is drawn at random and never used again: one row
//! names a blob, or none does, and one that no row named when it was listed by the holder of the
//! federation's lease is named by none later.
//!
//! Kept through `object_store`: in a folder today, in a bucket behind the same calls.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use rand::Rng;
use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::{FederationId, TenantId};
use roundelay_protocol::lineage::State;

use crate::keys::{KeyError, Kms, Scope};
use crate::store::StoreError;
use roundelay_program::failpoint;

mod errors;
mod format;
#[cfg(test)]
mod tests;

use errors::At;
use format::{HEADER_BYTES_MAX, Header, Layout, Sealer};

/// Plaintext bytes that are sealed and written at a time, or read where the whole is wanted; also
/// the largest blob that is written in one call. At least the 5 MiB that buckets ask of a part.
const PART_BYTES: usize = 8 * format::CHUNK_BYTES;
/// Up to so many bytes a thread switch takes longer than sealing or opening them.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// What a blob is made of. It is asked for its parts in order, so that what exists in another form
/// need not be in memory as bytes too.
pub trait Content: Send + 'static {
    /// How many bytes it has.
    fn bytes(&self) -> u64;
    /// So many of them from `start` on, a multiple of 1 MiB; the content has them.
    fn part(&self, start: u64, bytes: usize) -> Bytes;
}

impl Content for Bytes {
    fn bytes(&self) -> u64 {
        self.len() as u64
    }

    fn part(&self, start: u64, bytes: usize) -> Bytes {
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        self.slice(start..start + bytes)
    }
}

impl Content for Arc<State> {
    fn bytes(&self) -> u64 {
        self.byte_count()
    }

    fn part(&self, start: u64, bytes: usize) -> Bytes {
        let mut part = vec![0; bytes];
        self.read_at(usize::try_from(start).unwrap_or(usize::MAX), &mut part);
        part.into()
    }
}

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
    /// Stores a content and returns its name, when it survives a loss of power. The content is
    /// sealed and written part by part, without a second copy of the whole.
    pub async fn put(&self, content: impl Content) -> Result<Digest, StoreError> {
        let at = At { what: "writing a blob", shelf: self };
        let mut name = Digest([0; 32]);
        rand::rng().fill_bytes(&mut name.0);
        let scope = Scope::Tenant(self.owner.clone());
        let bytes = content.bytes();
        let layout = Layout { tenant: self.owner.clone(), name, bytes };
        let sealer = Sealer::new(&*self.blobs.kms, &scope, layout, Box::new(content)).await?;
        failpoint!("blob.put.before");
        let path = self.path(name);
        if sealer.bytes_left() <= PART_BYTES {
            let (_, sealed) = sealed_part(sealer).await?;
            let put = self.blobs.objects.put(&path, sealed).await;
            put.map_err(|error| at.error(name, &error))?;
        } else {
            self.put_parts(&path, sealer, |error| at.error(name, &error)).await?;
        }
        failpoint!("blob.put.after");
        Ok(name)
    }

    async fn put_parts(
        &self,
        path: &ObjectPath,
        sealer: Sealer,
        named: impl Fn(object_store::Error) -> StoreError,
    ) -> Result<(), StoreError> {
        let mut upload = self.blobs.objects.put_multipart(path).await.map_err(&named)?;
        let written = upload_parts(&mut *upload, sealer, &named).await;
        if written.is_err() {
            // Frees what the draft took; if that fails too, the first error tells more.
            drop(upload.abort().await);
        }
        written
    }

    /// Opens a blob for reading, a chunk at a time: a reader that is slow holds no more.
    pub async fn get(&self, name: Digest) -> Result<BlobReader, StoreError> {
        let at = At { what: "reading a blob", shelf: self };
        let path = self.path(name);
        let head = self.blobs.objects.get_range(&path, 0..HEADER_BYTES_MAX).await;
        let head = head.map_err(|error| at.error(name, &error))?;
        let damaged = || at.damaged(name, "its header");
        let (header, header_bytes) = Header::parse(&head).ok_or_else(damaged)?;
        let scope = Scope::Tenant(self.owner.clone());
        let key =
            self.blobs.kms.unwrap(&scope, header.wrapped).await.map_err(|error| match error {
                KeyError::Foreign(_) => at.damaged(name, "the key in its header"),
                error => error.into(),
            })?;
        let layout = Layout { tenant: self.owner.clone(), name, bytes: header.bytes };
        Ok(BlobReader {
            shelf: self.clone(),
            path,
            opener: Arc::new(format::Opener { key, layout }),
            header_bytes: header_bytes as u64,
            part_bytes: format::CHUNK_BYTES,
            next_chunk: 0,
            opened: VecDeque::new(),
        })
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

async fn upload_parts(
    upload: &mut dyn MultipartUpload,
    mut sealer: Sealer,
    named: impl Fn(object_store::Error) -> StoreError,
) -> Result<(), StoreError> {
    while !sealer.is_done() {
        let (rest, sealed) = sealed_part(sealer).await?;
        sealer = rest;
        upload.put_part(sealed).await.map_err(&named)?;
        failpoint!("blob.part.after");
    }
    upload.complete().await.map_err(&named)?;
    Ok(())
}

/// The next part of what a sealer holds, sealed.
async fn sealed_part(mut sealer: Sealer) -> Result<(Sealer, PutPayload), StoreError> {
    blocking(sealer.bytes_left(), move || {
        let part = sealer.seal(PART_BYTES);
        (sealer, PutPayload::from_iter(part))
    })
    .await
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

/// Reads a blob from its first byte to its last. Every chunk is authenticated before it is handed
/// out: its bytes, its place, the name and the length of the blob.
pub struct BlobReader {
    shelf: Shelf,
    path: ObjectPath,
    opener: Arc<format::Opener>,
    header_bytes: u64,
    /// Plaintext bytes that are read at a time, a multiple of the chunk.
    part_bytes: usize,
    next_chunk: u64,
    opened: VecDeque<Bytes>,
}

impl BlobReader {
    /// Bytes in the whole blob.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.opener.layout.bytes
    }

    /// The next bytes, at most 1 MiB; none after the last.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        if self.opened.is_empty() && self.next_chunk < self.opener.layout.chunks() {
            self.fetch().await?;
        }
        Ok(self.opened.pop_front())
    }

    /// The whole blob in memory.
    pub async fn whole(mut self) -> Result<Vec<u8>, StoreError> {
        self.part_bytes = PART_BYTES;
        let mut content = Vec::new();
        while let Some(chunk) = self.next().await? {
            // The length is known to be true once a chunk has opened.
            let whole = usize::try_from(self.bytes()).unwrap_or(0);
            content.reserve_exact(whole.saturating_sub(content.len()));
            content.extend_from_slice(&chunk);
        }
        Ok(content)
    }

    async fn fetch(&mut self) -> Result<(), StoreError> {
        let name = self.opener.layout.name;
        let at = At { what: "reading a blob", shelf: &self.shelf };
        let (range, chunks) = self.opener.layout.part(self.next_chunk, self.part_bytes);
        let range = self.header_bytes + range.start..self.header_bytes + range.end;
        let sealed = self.shelf.blobs.objects.get_range(&self.path, range.clone()).await;
        let sealed = sealed.map_err(|error| at.error(name, &error))?;
        if sealed.len() as u64 != range.end - range.start {
            return Err(at.damaged(name, "its content"));
        }
        let (opener, first) = (Arc::clone(&self.opener), self.next_chunk);
        let opened = blocking(sealed.len(), move || opener.open(first, sealed)).await?;
        self.opened = opened.ok_or_else(|| at.damaged(name, "its content"))?;
        self.next_chunk += chunks;
        Ok(())
    }
}
