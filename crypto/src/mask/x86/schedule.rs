//! The round keys of AES-256 (FIPS 197, section 5.2).
#![expect(unsafe_code, reason = "SIMD: the vector loads of a key")]

use std::arch::x86_64::{
    __m128i, _mm_aeskeygenassist_si128, _mm_loadu_si128, _mm_setzero_si128, _mm_shuffle_epi32,
    _mm_slli_si128, _mm_xor_si128,
};

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Rounds of AES-256.
pub(super) const ROUNDS: usize = 14;

/// The round keys of one mask. Wiped when dropped.
pub(in crate::mask) struct Schedule(Box<[__m128i; ROUNDS + 1]>);

impl Schedule {
    /// Round keys from a key, each made from the two before it.
    #[target_feature(enable = "aes,sse2")]
    pub(super) fn new(key: &[u8; 32]) -> Self {
        // In place on the heap: a schedule that moves would leave its bytes behind.
        let mut schedule = Self(Box::new([_mm_setzero_si128(); ROUNDS + 1]));
        let [low, high] = halves(key);
        let mut pair = [low, high];
        let [first, second, rest @ ..] = &mut *schedule.0;
        (*first, *second) = (low, high);
        let mut rest = rest.iter_mut();
        macro_rules! rounds {
            ($($constant:literal)*) => { $(
                // RotWord, SubWord and the round constant on even rounds, SubWord alone on odd ones.
                pair[0] = spread(pair[0], _mm_shuffle_epi32::<0xff>(_mm_aeskeygenassist_si128::<$constant>(pair[1])));
                if let Some(round) = rest.next() { *round = pair[0]; }
                pair[1] = spread(pair[1], _mm_shuffle_epi32::<0xaa>(_mm_aeskeygenassist_si128::<0>(pair[0])));
                if let Some(round) = rest.next() { *round = pair[1]; }
            )* };
        }
        rounds!(0x01 0x02 0x04 0x08 0x10 0x20 0x40);
        schedule
    }

    /// The round keys in order.
    pub(super) fn rounds(&self) -> &[__m128i; ROUNDS + 1] {
        &self.0
    }
}

impl Drop for Schedule {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for Schedule {}

/// Every word xored with all words before it and with `assist`.
#[inline]
#[target_feature(enable = "sse2")]
fn spread(words: __m128i, assist: __m128i) -> __m128i {
    let words = _mm_xor_si128(words, _mm_slli_si128::<4>(words));
    let words = _mm_xor_si128(words, _mm_slli_si128::<8>(words));
    _mm_xor_si128(words, assist)
}

#[inline]
#[target_feature(enable = "sse2")]
fn halves(key: &[u8; 32]) -> [__m128i; 2] {
    let start = key.as_ptr().cast::<__m128i>();
    // SAFETY: the array has 32 bytes, two vectors of 16, and the load wants no alignment.
    unsafe { [_mm_loadu_si128(start), _mm_loadu_si128(start.add(1))] }
}
