//! The kernel for AES-NI: one block in a register, eight registers in flight.
//!
//! Round keys stay in memory (there are sixteen registers, and eight are taken), where each is read
//! along with the instruction that uses it.
#![expect(unsafe_code, reason = "SIMD: instructions found at run time, vector loads and stores")]

use std::arch::x86_64::{
    __m128i, _mm_add_epi16, _mm_add_epi32, _mm_add_epi64, _mm_aesenc_si128, _mm_aesenclast_si128,
    _mm_loadu_si128, _mm_set_epi64x, _mm_setzero_si128, _mm_shuffle_epi8, _mm_storeu_si128,
    _mm_sub_epi16, _mm_sub_epi32, _mm_sub_epi64, _mm_xor_si128,
};

use super::schedule::{ROUNDS, Schedule};
use crate::mask::kernel::Engine;
use crate::mask::{MaskKey, Ring, Sign};

/// Bytes of a register.
const VECTOR: usize = 16;
/// Registers in flight.
const GROUP: usize = 8;

/// Proof that the processor has AES-NI and AVX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mask) struct AesNi(());

impl AesNi {
    pub(in crate::mask) fn detected() -> Option<Self> {
        let found = is_x86_feature_detected!("aes") && is_x86_feature_detected!("avx");
        found.then_some(Self(()))
    }
}

engine!(AesNi, "aes,avx");

/// One key's keystream: its round keys, and where it stands.
struct Stream<'a> {
    rounds: &'a [__m128i; ROUNDS + 1],
    counter: __m128i,
    step: __m128i,
    big_endian: __m128i,
}

impl<'a> Stream<'a> {
    #[inline]
    #[target_feature(enable = "avx")]
    fn new(key: &'a Schedule, block: u64) -> Self {
        // A block's number has at most 60 bits: the upper half of the counter stays zero.
        let counter = _mm_set_epi64x(0, block.cast_signed());
        let big_endian = _mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f);
        Self { rounds: key.rounds(), counter, step: _mm_set_epi64x(0, 1), big_endian }
    }

    /// The next N registers of keystream.
    #[inline]
    #[target_feature(enable = "aes,avx")]
    fn next<const N: usize>(&mut self) -> [__m128i; N] {
        let [whitening, middle @ .., last] = self.rounds;
        let mut states = [_mm_setzero_si128(); N];
        for state in &mut states {
            let counter = _mm_shuffle_epi8(self.counter, self.big_endian);
            *state = _mm_xor_si128(counter, *whitening);
            self.counter = _mm_add_epi64(self.counter, self.step);
        }
        for round in middle {
            for state in &mut states {
                *state = _mm_aesenc_si128(*state, *round);
            }
        }
        for state in &mut states {
            *state = _mm_aesenclast_si128(*state, *last);
        }
        states
    }
}

#[inline]
#[target_feature(enable = "avx")]
fn combine<const BITS: u32, const MINUS: bool>(words: __m128i, mask: __m128i) -> __m128i {
    match (BITS, MINUS) {
        (16, false) => _mm_add_epi16(words, mask),
        (16, true) => _mm_sub_epi16(words, mask),
        (32, false) => _mm_add_epi32(words, mask),
        (32, true) => _mm_sub_epi32(words, mask),
        (_, false) => _mm_add_epi64(words, mask),
        (_, true) => _mm_sub_epi64(words, mask),
    }
}

#[inline]
#[target_feature(enable = "avx")]
fn load(bytes: &[u8; VECTOR]) -> __m128i {
    // SAFETY: the array has the 16 bytes of the vector, and the load wants no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx")]
fn store(bytes: &mut [u8; VECTOR], vector: __m128i) {
    // SAFETY: the array has the 16 bytes of the vector, and the store wants no alignment.
    unsafe { _mm_storeu_si128(bytes.as_mut_ptr().cast(), vector) }
}
