//! Masks: AES-256-CTR keystreams (NIST SP 800-38A, 6.5) added to integer words.
//!
//! The counter block is 128 bits, big endian, and starts at zero; the keystream is read as
//! little-endian words of the ring. A mask that one client adds and its neighbour subtracts
//! vanishes from the sum modulo 2^b. How keystreams are computed is a [`Kernel`]'s affair: all
//! kernels give the same bits.

use std::fmt;

use zeroize::ZeroizeOnDrop;

use crate::secret::Seed;

pub use kernel::{Kernel, Masks};
pub use words::{add_words, sub_words};

mod kernel;
mod portable;
mod words;
#[cfg(target_arch = "x86_64")]
mod x86;

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

/// Adds the masks of `keys` to `words`: [`Masks::add`] where one piece of an upload is all.
///
/// # Panics
/// If `offset` is not a multiple of [`BLOCK_BYTES`], or `words` is not a whole number of words.
pub fn add_masks(words: &mut [u8], ring: Ring, keys: &[MaskKey], offset: u64) {
    Masks::new(keys).add(words, ring, offset);
}

#[cfg(test)]
mod tests;
