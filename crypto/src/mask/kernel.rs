//! Which instructions expand the masks, and in which order keys pass over words.
//!
//! Each key's schedule is expanded once, in [`Masks`]. Words are worked off strip by strip: a strip
//! stays in the first-level cache while the keystreams of all keys are added to it, so that words
//! travel from memory once and not once per key.

use super::portable::Portable;
#[cfg(target_arch = "x86_64")]
use super::x86::{AesNi, Vaes};
use super::{BLOCK_BYTES, MaskKey, Ring, Sign};

/// Bytes of words over which all keys pass before the next ones: a third of a first-level cache.
pub(super) const STRIP_BYTES: usize = 16 * 1024;

/// A way to expand masks: all of them give the same bits, at different speeds.
///
/// One that is in hand can run: only what the processor has is ever handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel(Instructions);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Instructions {
    Portable(Portable),
    #[cfg(target_arch = "x86_64")]
    AesNi(AesNi),
    #[cfg(target_arch = "x86_64")]
    Vaes(Vaes),
}

impl Kernel {
    /// Every kernel that there is, fastest first, and none where the processor lacks it.
    pub fn all() -> [(&'static str, Option<Self>); 3] {
        [
            ("VAES with AVX-512", Self::vaes()),
            ("AES-NI", Self::aes_ni()),
            ("portable", Some(Self::portable())),
        ]
    }

    /// The first of [`Kernel::all`] that the processor has.
    pub fn fastest() -> Self {
        Self::vaes().or_else(Self::aes_ni).unwrap_or(Self::portable())
    }

    /// The `aes` and `ctr` crates: runs everywhere, and what the others are held against.
    pub const fn portable() -> Self {
        Self(Instructions::Portable(Portable))
    }

    #[cfg(target_arch = "x86_64")]
    fn aes_ni() -> Option<Self> {
        AesNi::detected().map(|proof| Self(Instructions::AesNi(proof)))
    }

    #[cfg(target_arch = "x86_64")]
    fn vaes() -> Option<Self> {
        Vaes::detected().map(|proof| Self(Instructions::Vaes(proof)))
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn aes_ni() -> Option<Self> {
        None
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn vaes() -> Option<Self> {
        None
    }

    /// Expands the schedules of `keys` for this kernel.
    pub fn expand(self, keys: &[MaskKey]) -> Masks {
        Masks(match self.0 {
            Instructions::Portable(engine) => Expanded::Portable(Schedules::new(engine, keys)),
            #[cfg(target_arch = "x86_64")]
            Instructions::AesNi(engine) => Expanded::AesNi(Schedules::new(engine, keys)),
            #[cfg(target_arch = "x86_64")]
            Instructions::Vaes(engine) => Expanded::Vaes(Schedules::new(engine, keys)),
        })
    }
}

/// The masks of some keys, their schedules expanded, for the [`Kernel::fastest`] or another kernel:
/// 240 bytes per key, wiped when dropped. Threads share one.
pub struct Masks(Expanded);

enum Expanded {
    Portable(Schedules<Portable>),
    #[cfg(target_arch = "x86_64")]
    AesNi(Schedules<AesNi>),
    #[cfg(target_arch = "x86_64")]
    Vaes(Schedules<Vaes>),
}

impl Masks {
    /// For the fastest kernel that the processor has.
    pub fn new(keys: &[MaskKey]) -> Self {
        Kernel::fastest().expand(keys)
    }

    /// Adds every mask to `words`, little-endian words of `ring`.
    ///
    /// `offset` is the position in bytes of `words` in the whole upload, and so in the keystream.
    /// Pieces in any order, on any number of threads, give the same words as one call over all.
    ///
    /// # Panics
    /// If `offset` is not a multiple of [`BLOCK_BYTES`], or `words` is not a whole number of words.
    pub fn add(&self, words: &mut [u8], ring: Ring, offset: u64) {
        assert!(offset.is_multiple_of(BLOCK_BYTES), "a mask starts at a block of its keystream");
        assert!(words.len().is_multiple_of(ring.bytes()), "whole words are masked");
        let block = offset / BLOCK_BYTES;
        match &self.0 {
            Expanded::Portable(schedules) => schedules.add(words, ring, block),
            #[cfg(target_arch = "x86_64")]
            Expanded::AesNi(schedules) => schedules.add(words, ring, block),
            #[cfg(target_arch = "x86_64")]
            Expanded::Vaes(schedules) => schedules.add(words, ring, block),
        }
    }
}

/// What a kernel is made of.
pub(super) trait Engine {
    /// Round keys, wiped when dropped.
    type Schedule;
    /// Room that a thread needs.
    type Scratch;

    fn schedule(&self, key: &MaskKey) -> Self::Schedule;

    fn scratch(&self) -> Self::Scratch;

    /// Adds one key's keystream from block number `block` to at most [`STRIP_BYTES`] of words.
    fn add(
        &self,
        scratch: &mut Self::Scratch,
        strip: &mut [u8],
        ring: Ring,
        schedule: &(Sign, Self::Schedule),
        block: u64,
    );
}

struct Schedules<E: Engine> {
    engine: E,
    of: Vec<(Sign, E::Schedule)>,
}

impl<E: Engine> Schedules<E> {
    fn new(engine: E, keys: &[MaskKey]) -> Self {
        // Filled within its capacity, so that no schedule is left behind by a move to a larger one.
        let mut of = Vec::with_capacity(keys.len());
        of.extend(keys.iter().map(|key| (key.sign, engine.schedule(key))));
        Self { engine, of }
    }

    fn add(&self, words: &mut [u8], ring: Ring, mut block: u64) {
        let mut scratch = self.engine.scratch();
        for strip in words.chunks_mut(STRIP_BYTES) {
            for schedule in &self.of {
                self.engine.add(&mut scratch, strip, ring, schedule, block);
            }
            block += strip.len() as u64 / BLOCK_BYTES;
        }
    }
}
