//! Bulk bytes by the hash of their content: models, aggregates, masked sums. A blob belongs to one
//! tenant, is sealed in chunks under a data key of its own ([`format`](self::format)), and is
//! durable under its name, whole, when [`Blobs::put`] returns. The same content of one tenant is
//! one blob, so delete only what no row of the tenant names any more.
//!
//! Kept through `object_store`: in a folder today, in a bucket behind the same calls.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::TenantId;

use crate::failpoint;
use crate::keys::{Kms, Scope};
use crate::store::StoreError;

mod errors;
mod format;
#[cfg(test)]
mod tests;

use errors::At;
use format::{HEADER_BYTES_MAX, Header, Layout, Sealer};

/// Plaintext bytes that are sealed, written or read at a time; also the largest blob that is
/// written in one call. At least the 5 MiB that buckets ask of a part.
const PART_BYTES: usize = 8 * format::CHUNK_BYTES;
/// Up to so many bytes a thread switch takes longer than sealing or opening them.
const INLINE_BYTES_MAX: usize = 64 << 10;
/// Drafts of writers that died are removed after this long. A living writer is done long before.
const DRAFT_LIFE: Duration = Duration::from_secs(3600);

/// The blobs of all tenants. Cheap to clone.
#[derive(Clone)]
pub struct Blobs {
    objects: Arc<dyn ObjectStore>,
    kms: Arc<dyn Kms>,
    /// Where the blobs are, for errors.
    folder: PathBuf,
}

impl Blobs {
    /// Blobs in `folder`, which is made (mode 0700) where it is missing: `<tenant>/<hash>`.
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
        remove_drafts(folder);
        let objects = LocalFileSystem::new_with_prefix(folder)
            .map_err(|error| failed(error.to_string()))?
            .with_fsync(true);
        Ok(Self { objects: Arc::new(objects), kms, folder: folder.to_owned() })
    }

    /// The name that [`Blobs::put`] gives to this content.
    #[must_use]
    pub fn digest(content: &[u8]) -> Digest {
        Digest::of("roundelay/blob", &[content])
    }

    /// Stores a content and returns its hash, when it survives a loss of power. The content is
    /// sealed and written part by part, without a second copy of the whole.
    pub async fn put(&self, tenant: &TenantId, content: Bytes) -> Result<Digest, StoreError> {
        let at = At { what: "writing a blob", blobs: self, tenant };
        let named = content.clone();
        let digest = blocking(content.len(), move || Self::digest(&named)).await?;
        let scope = Scope::Tenant(tenant.clone());
        let layout = Layout { tenant: tenant.clone(), digest, bytes: content.len() as u64 };
        let sealer = Sealer::new(&*self.kms, &scope, layout, content).await?;
        failpoint!("blob.put.before");
        let path = self.path(tenant, digest);
        if sealer.bytes_left() <= PART_BYTES {
            let (_, sealed) = sealed_part(sealer).await?;
            self.objects.put(&path, sealed).await.map_err(|error| at.error(digest, &error))?;
        } else {
            self.put_parts(&path, sealer, |error| at.error(digest, &error)).await?;
        }
        failpoint!("blob.put.after");
        Ok(digest)
    }

    async fn put_parts(
        &self,
        path: &ObjectPath,
        sealer: Sealer,
        named: impl Fn(object_store::Error) -> StoreError,
    ) -> Result<(), StoreError> {
        let mut upload = self.objects.put_multipart(path).await.map_err(&named)?;
        let written = upload_parts(&mut *upload, sealer, &named).await;
        if written.is_err() {
            // Frees what the draft took; if that fails too, the first error tells more.
            drop(upload.abort().await);
        }
        written
    }

    /// Opens a blob for reading.
    pub async fn get(&self, tenant: &TenantId, digest: Digest) -> Result<BlobReader, StoreError> {
        let at = At { what: "reading a blob", blobs: self, tenant };
        let path = self.path(tenant, digest);
        let head = self.objects.get_range(&path, 0..HEADER_BYTES_MAX).await;
        let head = head.map_err(|error| at.error(digest, &error))?;
        let damaged = || at.damaged(digest, "its header");
        let (header, header_bytes) = Header::parse(&head).ok_or_else(damaged)?;
        let key = self.kms.unwrap(&Scope::Tenant(tenant.clone()), header.wrapped).await?;
        let layout = Layout { tenant: tenant.clone(), digest, bytes: header.bytes };
        Ok(BlobReader {
            blobs: self.clone(),
            path,
            opener: Arc::new(format::Opener { key, layout }),
            header_bytes: header_bytes as u64,
            next_chunk: 0,
            opened: VecDeque::new(),
        })
    }

    /// The whole of a blob in memory.
    pub async fn read(&self, tenant: &TenantId, digest: Digest) -> Result<Vec<u8>, StoreError> {
        let mut reader = self.get(tenant, digest).await?;
        let mut content = Vec::new();
        while let Some(chunk) = reader.next().await? {
            content.extend_from_slice(&chunk);
        }
        Ok(content)
    }

    /// Deletes a blob. One that is not there is deleted already.
    pub async fn delete(&self, tenant: &TenantId, digest: Digest) -> Result<(), StoreError> {
        let at = At { what: "deleting a blob", blobs: self, tenant };
        failpoint!("blob.delete.before");
        match self.objects.delete(&self.path(tenant, digest)).await {
            Err(object_store::Error::NotFound { .. }) => {}
            deleted => deleted.map_err(|error| at.error(digest, &error))?,
        }
        failpoint!("blob.delete.after");
        Ok(())
    }

    /// A tenant's name is one path segment and holds no dot: no other tenant's path is below it.
    fn path(&self, tenant: &TenantId, digest: Digest) -> ObjectPath {
        ObjectPath::from_iter([tenant.as_str(), &digest.to_string()])
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

/// Removes what writers that were killed left behind: `object_store` writes `<name>#<n>` and
/// renames. Failing to is no harm but space.
fn remove_drafts(folder: &Path) {
    let old = |path: &Path| {
        let age = fs::metadata(path).ok()?.modified().ok()?;
        Some(SystemTime::now().duration_since(age).ok()? > DRAFT_LIFE)
    };
    let tenants = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = tenants.filter_map(|tenant| fs::read_dir(tenant.path()).ok()).flatten().flatten();
    for file in files {
        let is_draft = file.file_name().to_string_lossy().contains('#');
        if is_draft && old(&file.path()).unwrap_or(false) {
            drop(fs::remove_file(file.path()));
        }
    }
}

/// Reads a blob from its first byte to its last. Every chunk is authenticated before it is handed
/// out: its bytes, its place, the name and the length of the blob.
pub struct BlobReader {
    blobs: Blobs,
    path: ObjectPath,
    opener: Arc<format::Opener>,
    header_bytes: u64,
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

    async fn fetch(&mut self) -> Result<(), StoreError> {
        let Layout { tenant, digest, .. } = &self.opener.layout;
        let at = At { what: "reading a blob", blobs: &self.blobs, tenant };
        let (range, chunks) = self.opener.layout.part(self.next_chunk, PART_BYTES);
        let range = self.header_bytes + range.start..self.header_bytes + range.end;
        let sealed = self.blobs.objects.get_range(&self.path, range.clone()).await;
        let sealed = sealed.map_err(|error| at.error(*digest, &error))?;
        if sealed.len() as u64 != range.end - range.start {
            return Err(at.damaged(*digest, "its content"));
        }
        let (opener, first) = (Arc::clone(&self.opener), self.next_chunk);
        let opened = blocking(sealed.len(), move || opener.open(first, sealed)).await?;
        self.opened = opened.ok_or_else(|| at.damaged(*digest, "its content"))?;
        self.next_chunk += chunks;
        Ok(())
    }
}
