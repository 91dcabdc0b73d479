//! A blob on its way off its shelf.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use object_store::ObjectStoreExt;
use roundelay_crypto::digest::Digest;

use super::errors::At;
use super::format::{self, HEADER_BYTES_MAX, Header, Layout};
use super::{PART_BYTES, Shelf, blocking};
use crate::keys::{KeyError, Scope};
use crate::store::StoreError;

/// Reads a blob from its first byte to its last. Every chunk is authenticated before it is handed
/// out: its bytes, its place, the name and the length of the blob.
#[derive(Clone)]
pub struct BlobReader {
    shelf: Shelf,
    opener: Arc<format::Opener>,
    header_bytes: u64,
    /// Plaintext bytes that are read at a time, a multiple of the chunk.
    part_bytes: usize,
    next_chunk: u64,
    /// Bytes of the next chunk that are not handed out.
    skip: usize,
    opened: VecDeque<Bytes>,
}

impl BlobReader {
    pub(super) async fn open(shelf: &Shelf, name: Digest) -> Result<Self, StoreError> {
        let at = At { what: "reading a blob", shelf };
        let head = stored(&at, name, 0..HEADER_BYTES_MAX).await?;
        let damaged = || at.damaged(name, "its header does not open");
        let (header, header_bytes) = Header::parse(&head).ok_or_else(damaged)?;
        let scope = Scope::Tenant(shelf.owner.clone());
        let key =
            shelf.blobs.kms.unwrap(&scope, header.wrapped).await.map_err(|error| match error {
                KeyError::Foreign(_) => at.damaged(name, "the key in its header does not open"),
                error => error.into(),
            })?;
        let layout = Layout { tenant: shelf.owner.clone(), name, bytes: header.bytes };
        Ok(Self {
            shelf: shelf.clone(),
            opener: Arc::new(format::Opener { key, layout }),
            header_bytes: header_bytes as u64,
            part_bytes: format::CHUNK_BYTES,
            next_chunk: 0,
            skip: 0,
            opened: VecDeque::new(),
        })
    }

    /// A reader of the same blob, from this byte on.
    #[must_use]
    pub fn from(&self, start: u64) -> Self {
        let chunk = format::CHUNK_BYTES as u64;
        let skip = usize::try_from(start % chunk).unwrap_or(0);
        Self { next_chunk: start / chunk, skip, opened: VecDeque::new(), ..self.clone() }
    }

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

    /// The next so many bytes, and no fewer.
    pub async fn exactly(&mut self, bytes: usize) -> Result<Bytes, StoreError> {
        let mut all = BytesMut::new();
        while all.len() < bytes {
            let Some(mut chunk) = self.next().await? else {
                return Err(self
                    .at()
                    .damaged(self.opener.layout.name, "its content does not open"));
            };
            let taken = chunk.split_to(chunk.len().min(bytes - all.len()));
            if !chunk.is_empty() {
                self.opened.push_front(chunk);
            }
            if taken.len() == bytes {
                return Ok(taken);
            }
            all.reserve(bytes - all.len());
            all.extend_from_slice(&taken);
        }
        Ok(all.freeze())
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
        let at = self.at();
        let (range, chunks) = self.opener.layout.part(self.next_chunk, self.part_bytes);
        let range = self.header_bytes + range.start..self.header_bytes + range.end;
        let sealed = stored(&at, name, range.clone()).await?;
        if sealed.len() as u64 != range.end - range.start {
            return Err(at.damaged(name, "its content does not open"));
        }
        let (opener, first) = (Arc::clone(&self.opener), self.next_chunk);
        let opened = blocking(sealed.len(), move || opener.open(first, sealed)).await?;
        self.opened = opened.ok_or_else(|| at.damaged(name, "its content does not open"))?;
        self.next_chunk += chunks;
        if let Some(first) = self.opened.front_mut() {
            drop(first.split_to(std::mem::take(&mut self.skip).min(first.len())));
        }
        Ok(())
    }

    fn at(&self) -> At<'_> {
        At { what: "reading a blob", shelf: &self.shelf }
    }
}

/// Bytes of a blob as they are stored: fewer where it ends before. One that ends before the first of
/// them is damaged.
async fn stored(at: &At<'_>, name: Digest, range: Range<u64>) -> Result<Bytes, StoreError> {
    let (objects, path) = (&at.shelf.blobs.objects, at.shelf.path(name));
    match objects.get_range(&path, range.clone()).await {
        Ok(bytes) => Ok(bytes),
        Err(error) => match objects.head(&path).await {
            Ok(blob) if blob.size <= range.start => Err(at.damaged(name, "it ends too soon")),
            _ => Err(at.error(name, &error)),
        },
    }
}
