//! Masks: AES-256-CTR keystreams (NIST SP 800-38A, 6.5) added to integer words.
//!
//! The counter block is 128 bits, big endian, and starts at zero; the keystream is read as
//! little-endian words of the ring. A mask that one client adds and its neighbour subtracts
//! vanishes from the sum modulo 2^b. Keys are worked off strip by strip, so that the words stay
//! in the processor's cache while all keystreams pass over them.

use std::fmt;

use aes::Aes256Enc;
use ctr::cipher::{KeyIvInit, StreamCipher};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::secret::Seed;

/// Bytes of words over which all keys pass before the next ones: half of a first-level cache.
const STRIP_BYTES: usize = 16 * 1024;
/// Bytes of a block of the keystream; offsets are multiples of it.
pub const BLOCK_BYTES: u64 = 16;

/// The integers modulo 2^b in which a segment is summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Ring {
    /// Modulo 2^16.
    Z16,
    /// Modulo 2^32.
    Z32,
    /// Modulo 2^64.
    Z64,
}

impl Ring {
    /// Bytes of a word.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Z16 => 2,
            Self::Z32 => 4,
            Self::Z64 => 8,
        }
    }

    /// Bits of a word.
    pub const fn bits(self) -> u32 {
        match self {
            Self::Z16 => 16,
            Self::Z32 => 32,
            Self::Z64 => 64,
        }
    }
}

/// Whether a mask is added or taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sign {
    /// Added.
    Plus,
    /// Subtracted.
    Minus,
}

impl Sign {
    /// The other one.
    pub const fn reversed(self) -> Self {
        match self {
            Self::Plus => Self::Minus,
            Self::Minus => Self::Plus,
        }
    }
}

/// The key of one mask and its sign. Wiped when dropped.
pub struct MaskKey {
    /// The AES-256 key: a pair seed, or a self mask's seed.
    pub seed: Seed,
    /// Whether it is added or subtracted here.
    pub sign: Sign,
}

impl fmt::Debug for MaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MaskKey({:?})", self.sign)
    }
}

/// The seed wipes itself.
impl ZeroizeOnDrop for MaskKey {}

/// Adds the masks of `keys` to `words`, little-endian words of `ring`.
///
/// `offset` is the position in bytes of `words` in the whole upload, and so in the keystream.
/// Pieces in any order give the same words as one call over all.
///
/// # Panics
/// If `offset` is not a multiple of [`BLOCK_BYTES`], or `words` is not a whole number of words.
pub fn add_masks(words: &mut [u8], ring: Ring, keys: &[MaskKey], offset: u64) {
    assert!(offset.is_multiple_of(BLOCK_BYTES), "a mask starts at a block of its keystream");
    assert!(words.len().is_multiple_of(ring.bytes()), "whole words are masked");
    let block = u128::from(offset / BLOCK_BYTES);
    let mut streams: Vec<_> = keys.iter().map(|key| Keystream::new(key, block)).collect();
    let mut buffer = Zeroizing::new(vec![0; STRIP_BYTES.min(words.len())]);
    for strip in words.chunks_mut(STRIP_BYTES) {
        let Some(buffer) = buffer.get_mut(..strip.len()) else { continue };
        for stream in &mut streams {
            stream.write(buffer);
            apply(strip, ring, buffer, stream.sign);
        }
    }
}

/// [`add_masks`] on all cores of the current rayon pool.
///
/// # Panics
/// As [`add_masks`] does.
#[cfg(feature = "rayon")]
pub fn add_masks_parallel(words: &mut [u8], ring: Ring, keys: &[MaskKey], offset: u64) {
    use rayon::prelude::*;

    // Few, long pieces: every piece expands each key's schedule again.
    let pieces = rayon::current_num_threads() * 4;
    let strips = words.len().div_ceil(STRIP_BYTES).div_ceil(pieces).max(1);
    let piece_bytes = strips * STRIP_BYTES;
    words.par_chunks_mut(piece_bytes).enumerate().for_each(|(index, piece)| {
        add_masks(piece, ring, keys, offset + (index * piece_bytes) as u64);
    });
}

/// Adds `words` to `accumulator`, both little-endian words of `ring`.
///
/// # Panics
/// If the two differ in length or are not whole numbers of words.
pub fn add_words(accumulator: &mut [u8], ring: Ring, words: &[u8]) {
    assert_same_words(accumulator, ring, words);
    apply(accumulator, ring, words, Sign::Plus);
}

/// Subtracts `words` from `accumulator`, both little-endian words of `ring`.
///
/// # Panics
/// If the two differ in length or are not whole numbers of words.
pub fn sub_words(accumulator: &mut [u8], ring: Ring, words: &[u8]) {
    assert_same_words(accumulator, ring, words);
    apply(accumulator, ring, words, Sign::Minus);
}

fn assert_same_words(accumulator: &[u8], ring: Ring, words: &[u8]) {
    assert_eq!(accumulator.len(), words.len(), "vectors of one length are added");
    assert!(words.len().is_multiple_of(ring.bytes()), "whole words are added");
}

/// One key's keystream, from where the last strip ended.
struct Keystream {
    cipher: ctr::Ctr128BE<Aes256Enc>,
    sign: Sign,
}

impl Keystream {
    /// The stream of `key` from block number `block`: the counter starts there.
    fn new(key: &MaskKey, block: u128) -> Self {
        let counter = block.to_be_bytes();
        let cipher = ctr::Ctr128BE::new(key.seed.expose().into(), &counter.into());
        Self { cipher, sign: key.sign }
    }

    fn write(&mut self, buffer: &mut [u8]) {
        // A counter of 128 bits does not come round within an upload.
        self.cipher.unchecked_write_keystream(buffer);
    }
}

fn apply(words: &mut [u8], ring: Ring, mask: &[u8], sign: Sign) {
    match (ring, sign) {
        (Ring::Z16, Sign::Plus) => {
            zip(words, mask, u16::from_le_bytes, u16::wrapping_add, u16::to_le_bytes)
        }
        (Ring::Z16, Sign::Minus) => {
            zip(words, mask, u16::from_le_bytes, u16::wrapping_sub, u16::to_le_bytes)
        }
        (Ring::Z32, Sign::Plus) => {
            zip(words, mask, u32::from_le_bytes, u32::wrapping_add, u32::to_le_bytes)
        }
        (Ring::Z32, Sign::Minus) => {
            zip(words, mask, u32::from_le_bytes, u32::wrapping_sub, u32::to_le_bytes)
        }
        (Ring::Z64, Sign::Plus) => {
            zip(words, mask, u64::from_le_bytes, u64::wrapping_add, u64::to_le_bytes)
        }
        (Ring::Z64, Sign::Minus) => {
            zip(words, mask, u64::from_le_bytes, u64::wrapping_sub, u64::to_le_bytes)
        }
    }
}

#[inline(always)]
fn zip<const N: usize, W>(
    words: &mut [u8],
    others: &[u8],
    read: impl Fn([u8; N]) -> W,
    combine: impl Fn(W, W) -> W,
    write: impl Fn(W) -> [u8; N],
) {
    let (words, _) = words.as_chunks_mut::<N>();
    let (others, _) = others.as_chunks::<N>();
    for (word, other) in words.iter_mut().zip(others) {
        *word = write(combine(read(*word), read(*other)));
    }
}

#[cfg(test)]
mod tests;
