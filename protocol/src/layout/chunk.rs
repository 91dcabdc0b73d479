//! Where each chunk of an upload lies, and the check lanes at its end.

use std::ops::Range;

use roundelay_crypto::mask::Ring;

use super::{CHUNK_PAYLOAD_BYTES, Layout, Segment};

/// Chunks are whole blocks of the masks' keystream.
const BLOCK: u64 = 16;
/// Bytes of check lanes in a chunk at least: masks that do not cancel pass with 2^-64.
const LANE_BYTES_MIN: u64 = 8;

/// One chunk of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Its number in the upload.
    pub index: usize,
    /// Which segment its words belong to.
    pub segment: usize,
    /// The ring of its words, lanes included.
    pub ring: Ring,
    /// Position of its first byte in the upload, and in the keystream of its masks: a multiple of 16.
    pub offset: usize,
    /// Number of its first word in the segment.
    pub first_word: usize,
    /// Bytes of words.
    pub payload_bytes: usize,
    /// Bytes of check lanes after them.
    pub lane_bytes: usize,
}

impl Chunk {
    /// Its bytes, lanes included: a multiple of 16.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.payload_bytes + self.lane_bytes
    }

    /// Its words without the lanes, as a range within the segment.
    #[must_use]
    pub fn words(&self) -> Range<usize> {
        self.first_word..self.first_word + self.payload_bytes / self.ring.bytes()
    }

    /// Its bytes, as a range within the upload.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.bytes()
    }

    /// Its payload, as a range within the upload.
    #[must_use]
    pub fn payload(&self) -> Range<usize> {
        self.offset..self.offset + self.payload_bytes
    }

    /// Its check lanes, as a range within the upload.
    #[must_use]
    pub fn lanes(&self) -> Range<usize> {
        self.offset + self.payload_bytes..self.offset + self.bytes()
    }
}

/// A vector has another length than its layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the vector has {bytes} bytes, its layout {expected}")]
pub struct WrongLength {
    /// Bytes of the vector.
    pub bytes: u64,
    /// Bytes of the layout.
    pub expected: u64,
}

/// Check lanes do not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LanesError {
    /// The sum has another length than the layout.
    #[error(transparent)]
    Length(#[from] WrongLength),
    /// Masks did not cancel, or a contribution broke its lanes.
    #[error("the check lanes of chunk {chunk} do not sum to the number of survivors")]
    Broken {
        /// The first such chunk.
        chunk: usize,
    },
}

impl Layout {
    /// Bytes of an upload, check lanes included.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        checked_total(&self.segments).unwrap_or(u64::MAX)
    }

    /// All chunks in order.
    pub fn chunks(&self) -> impl Iterator<Item = Chunk> + '_ {
        let placed = self.segments.iter().enumerate().flat_map(|(number, segment)| {
            let payload = segment.payload_bytes().unwrap_or(0);
            let starts =
                (0..payload.div_ceil(CHUNK_PAYLOAD_BYTES)).map(|i| i * CHUNK_PAYLOAD_BYTES);
            starts.map(move |start| (number, segment.ring, start, payload))
        });
        placed.enumerate().scan(0, |offset, (index, (segment, ring, start, payload))| {
            let payload_bytes = (payload - start).min(CHUNK_PAYLOAD_BYTES);
            let chunk = Chunk {
                index,
                segment,
                ring,
                offset: *offset,
                first_word: size(start) / ring.bytes(),
                payload_bytes: size(payload_bytes),
                lane_bytes: size(lane_bytes(payload_bytes)),
            };
            *offset = chunk.range().end;
            Some(chunk)
        })
    }

    /// The chunks of one segment in order.
    pub fn chunks_of(&self, name: &str) -> impl Iterator<Item = Chunk> + '_ {
        let number = self.segments.iter().position(|segment| segment.name == name);
        self.chunks().filter(move |chunk| Some(chunk.segment) == number)
    }

    /// Number of chunks.
    #[must_use]
    pub fn chunk_count(&self) -> usize {
        self.chunks().count()
    }

    /// Refuses a vector of another length.
    pub fn check_length(&self, bytes: u64) -> Result<(), WrongLength> {
        let expected = self.total_bytes();
        if bytes == expected { Ok(()) } else { Err(WrongLength { bytes, expected }) }
    }

    /// An upload of zeros with its check lanes: what contributions are written into.
    #[must_use]
    pub fn blank(&self) -> Vec<u8> {
        let mut upload = vec![0; size(self.total_bytes())];
        self.fill_lanes(&mut upload);
        upload
    }

    /// Writes the check lanes of every chunk.
    pub fn write_lanes(&self, upload: &mut [u8]) -> Result<(), WrongLength> {
        self.check_length(upload.len() as u64)?;
        self.fill_lanes(upload);
        Ok(())
    }

    fn fill_lanes(&self, upload: &mut [u8]) {
        for chunk in self.chunks() {
            if let Some(lanes) = upload.get_mut(chunk.lanes()) {
                let ones = std::iter::repeat(word(1, chunk.ring)).flatten();
                lanes.iter_mut().zip(ones).for_each(|(lane, one)| *lane = one);
            }
        }
    }

    /// Whether every word of every check lane of an unmasked sum is the number of survivors.
    pub fn check_lanes(&self, sum: &[u8], survivors: u32) -> Result<(), LanesError> {
        self.check_length(sum.len() as u64)?;
        let broken = self.chunks().find(|chunk| {
            let expected = std::iter::repeat(word(survivors, chunk.ring)).flatten();
            let lanes = sum.get(chunk.lanes()).unwrap_or_default();
            lanes.is_empty() || lanes.iter().zip(expected).any(|(lane, byte)| *lane != byte)
        });
        broken.map_or(Ok(()), |chunk| Err(LanesError::Broken { chunk: chunk.index }))
    }
}

/// Bytes of an upload, where they can be counted.
pub(super) fn checked_total(segments: &[Segment]) -> Option<u64> {
    segments.iter().try_fold(0_u64, |total, segment| {
        let payload = segment.payload_bytes()?;
        let (full, rest) = (payload / CHUNK_PAYLOAD_BYTES, payload % CHUNK_PAYLOAD_BYTES);
        let full_bytes = full.checked_mul(CHUNK_PAYLOAD_BYTES + lane_bytes(CHUNK_PAYLOAD_BYTES))?;
        let rest_bytes = if rest == 0 { 0 } else { rest + lane_bytes(rest) };
        total.checked_add(full_bytes)?.checked_add(rest_bytes)
    })
}

/// Lanes fill a chunk up to whole blocks, and have at least [`LANE_BYTES_MIN`].
fn lane_bytes(payload_bytes: u64) -> u64 {
    let padding = BLOCK - payload_bytes % BLOCK;
    if padding < LANE_BYTES_MIN { padding + BLOCK } else { padding }
}

/// The little-endian bytes of a word of a ring, of which contributors take at most 16 bits.
fn word(value: u32, ring: Ring) -> impl Iterator<Item = u8> + Clone {
    u64::from(value).to_le_bytes().into_iter().take(ring.bytes())
}

/// A count of bytes that was checked to fit when the layout was made.
fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
