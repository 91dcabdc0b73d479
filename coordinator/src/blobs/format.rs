//! The bytes of a sealed blob: a header (a format byte, the length of the wrapped data key as u16,
//! the wrapped key, the length of the content as u64, all little endian), then the content in
//! chunks of 1 MiB, each a box of its own under the blob's data key. Every box is bound to the
//! tenant, to the blob's name and length, and to its number, so that no chunk can be
//! dropped, moved, or taken from another blob.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use roundelay_crypto::digest::Digest;
use roundelay_crypto::envelope::{DataKey, Place};
use roundelay_crypto::sealed::{NONCE_BYTES, TAG_BYTES};
use roundelay_protocol::ids::TenantId;

use crate::keys::{Kms, Scope};
use crate::store::StoreError;

/// Format of a sealed blob.
const FORMAT: u8 = 1;
/// Plaintext bytes of a chunk. The last one has what is left; an empty blob is one empty chunk, so
/// that its length too is authenticated.
pub(super) const CHUNK_BYTES: usize = 1 << 20;
/// Bytes by which a sealed chunk is longer.
const OVERHEAD_BYTES: usize = NONCE_BYTES + TAG_BYTES;
/// Bytes of the longest header: a provider's wrapped key has at most 64 KiB.
pub(super) const HEADER_BYTES_MAX: u64 = 1 + 2 + u16::MAX as u64 + 8;

/// What every chunk is bound to.
pub(super) struct Layout {
    pub(super) tenant: TenantId,
    pub(super) name: Digest,
    pub(super) bytes: u64,
}

impl Layout {
    pub(super) fn chunks(&self) -> u64 {
        self.bytes.div_ceil(CHUNK_BYTES as u64).max(1)
    }

    /// Where the chunks from `first` on lie after the header, as many as fit into `part_bytes` of
    /// plaintext; and how many they are.
    pub(super) fn part(&self, first: u64, part_bytes: usize) -> (Range<u64>, u64) {
        let sealed_chunk = (CHUNK_BYTES + OVERHEAD_BYTES) as u64;
        let chunks = (part_bytes / CHUNK_BYTES) as u64;
        let chunks = chunks.min(self.chunks().saturating_sub(first));
        let end_of_all = self.bytes + self.chunks() * OVERHEAD_BYTES as u64;
        let end = (first + chunks).saturating_mul(sealed_chunk).min(end_of_all);
        (first * sealed_chunk..end, chunks)
    }

    fn with_place<T>(&self, chunk: u64, f: impl FnOnce(&Place<'_>) -> T) -> T {
        let mut row = [0; 40];
        row[..32].copy_from_slice(&self.name.0);
        row[32..].copy_from_slice(&self.bytes.to_le_bytes());
        f(&Place {
            tenant: self.tenant.as_str().as_bytes(),
            table: "blobs",
            row: &row,
            column: "chunk",
            version: chunk,
        })
    }
}

/// The parsed start of a blob.
pub(super) struct Header<'a> {
    pub(super) wrapped: &'a [u8],
    pub(super) bytes: u64,
}

impl<'a> Header<'a> {
    /// The header and how many bytes it has.
    pub(super) fn parse(head: &'a [u8]) -> Option<(Self, usize)> {
        let (&[format, low, high], rest) = head.split_first_chunk()?;
        let (wrapped, rest) = rest.split_at_checked(u16::from_le_bytes([low, high]).into())?;
        let bytes = u64::from_le_bytes(*rest.first_chunk()?);
        let header = Self { wrapped, bytes };
        (format == FORMAT && bytes < 1 << 60).then_some((header, 3 + wrapped.len() + 8))
    }

    fn write(wrapped: &[u8], bytes: u64) -> Vec<u8> {
        let length = u16::try_from(wrapped.len()).expect("a wrapped key is below 64 KiB");
        [&[FORMAT], &length.to_le_bytes()[..], wrapped, &bytes.to_le_bytes()].concat()
    }
}

/// A content on its way into its sealed form.
pub(super) struct Sealer {
    key: DataKey,
    layout: Layout,
    header: Option<Vec<u8>>,
    next_chunk: u64,
}

impl Sealer {
    pub(super) async fn new(
        kms: &dyn Kms,
        scope: &Scope,
        layout: Layout,
    ) -> Result<Self, StoreError> {
        let key = DataKey::random(&mut rand::rng());
        let header = Some(Header::write(&kms.wrap(scope, &key).await?, layout.bytes));
        Ok(Self { key, layout, header, next_chunk: 0 })
    }

    pub(super) fn is_done(&self) -> bool {
        self.next_chunk == self.layout.chunks()
    }

    /// Seals the next part of the plaintext: whole chunks, or all that is left.
    pub(super) fn seal(&mut self, part: &[u8]) -> Vec<Bytes> {
        let mut sealed: Vec<Bytes> = self.header.take().map(Bytes::from).into_iter().collect();
        let empty: &[u8] = &[];
        // An empty blob is one empty chunk.
        let chunks = part.chunks(CHUNK_BYTES).chain(part.is_empty().then_some(empty));
        for chunk in chunks {
            let seal = |place: &Place<'_>| self.key.seal(place, chunk, &mut rand::rng());
            sealed.push(self.layout.with_place(self.next_chunk, seal).into());
            self.next_chunk += 1;
        }
        sealed
    }
}

/// Opens the chunks of a blob.
pub(super) struct Opener {
    pub(super) key: DataKey,
    pub(super) layout: Layout,
}

impl Opener {
    /// Opens sealed chunks that lie one after another, the first with this number, where they
    /// are. Nothing if one of them does not open.
    pub(super) fn open(&self, first: u64, sealed: Bytes) -> Option<VecDeque<Bytes>> {
        let mut rest = sealed.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        let mut opened = VecDeque::new();
        for number in first.. {
            if rest.is_empty() {
                break;
            }
            let mut chunk = rest.split_to(rest.len().min(CHUNK_BYTES + OVERHEAD_BYTES));
            let open =
                |place: &Place<'_>| Some(self.key.open_in_place(place, &mut chunk).ok()?.len());
            let bytes = self.layout.with_place(number, open)?;
            opened.push_back(chunk.freeze().slice(NONCE_BYTES..NONCE_BYTES + bytes));
        }
        Some(opened)
    }
}
