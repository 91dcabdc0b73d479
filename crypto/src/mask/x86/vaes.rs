//! The kernel for VAES with AVX-512: four blocks in a register, eight registers in flight.
//!
//! An AES round on 512 bits starts once per cycle and takes some; eight of them one behind the
//! other keep that port busy, and everything else (counters, the addition, loads and stores) runs
//! on the other ports meanwhile. So the bound is 64 bytes in 14 cycles.
#![expect(unsafe_code, reason = "SIMD: instructions found at run time, vector loads and stores")]

use std::arch::x86_64::{
    __m512i, _mm512_add_epi16, _mm512_add_epi32, _mm512_add_epi64, _mm512_aesenc_epi128,
    _mm512_aesenclast_epi128, _mm512_broadcast_i32x4, _mm512_loadu_si512, _mm512_set_epi64,
    _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_storeu_si512, _mm512_sub_epi16,
    _mm512_sub_epi32, _mm512_sub_epi64, _mm512_xor_si512,
};

use super::schedule::{ROUNDS, Schedule};
use crate::mask::kernel::Engine;
use crate::mask::{MaskKey, Ring, Sign};

/// Bytes of a register.
const VECTOR: usize = 64;
/// Blocks of a register.
const VECTOR_BLOCKS: u64 = 4;
/// Registers in flight.
const GROUP: usize = 8;

/// Proof that the processor has VAES, AES-NI and AVX-512 (F and BW).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mask) struct Vaes(());

impl Vaes {
    pub(in crate::mask) fn detected() -> Option<Self> {
        let found = is_x86_feature_detected!("vaes")
            && is_x86_feature_detected!("aes")
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw");
        found.then_some(Self(()))
    }
}

engine!(Vaes, "avx512f,avx512bw,vaes");

/// One key's keystream: its round keys in all four lanes, and where it stands.
struct Stream {
    rounds: [__m512i; ROUNDS + 1],
    counter: __m512i,
    step: __m512i,
    big_endian: __m512i,
}

impl Stream {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn new(key: &Schedule, block: u64) -> Self {
        let mut rounds = [_mm512_setzero_si512(); ROUNDS + 1];
        for (lanes, round) in rounds.iter_mut().zip(key.rounds()) {
            *lanes = _mm512_broadcast_i32x4(*round);
        }
        let number = |lane: u64| block.wrapping_add(lane).cast_signed();
        // A block's number has at most 60 bits: the upper half of the counter stays zero.
        let counter = _mm512_set_epi64(0, number(3), 0, number(2), 0, number(1), 0, number(0));
        let step = VECTOR_BLOCKS.cast_signed();
        let step = _mm512_set_epi64(0, step, 0, step, 0, step, 0, step);
        let (low, high) = (0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f);
        let big_endian = _mm512_set_epi64(low, high, low, high, low, high, low, high);
        Self { rounds, counter, step, big_endian }
    }

    /// The next N registers of keystream.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,vaes")]
    fn next<const N: usize>(&mut self) -> [__m512i; N] {
        let [whitening, middle @ .., last] = &self.rounds;
        let mut states = [_mm512_setzero_si512(); N];
        for state in &mut states {
            let counter = _mm512_shuffle_epi8(self.counter, self.big_endian);
            *state = _mm512_xor_si512(counter, *whitening);
            self.counter = _mm512_add_epi64(self.counter, self.step);
        }
        for round in middle {
            for state in &mut states {
                *state = _mm512_aesenc_epi128(*state, *round);
            }
        }
        for state in &mut states {
            *state = _mm512_aesenclast_epi128(*state, *last);
        }
        states
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn combine<const BITS: u32, const MINUS: bool>(words: __m512i, mask: __m512i) -> __m512i {
    match (BITS, MINUS) {
        (16, false) => _mm512_add_epi16(words, mask),
        (16, true) => _mm512_sub_epi16(words, mask),
        (32, false) => _mm512_add_epi32(words, mask),
        (32, true) => _mm512_sub_epi32(words, mask),
        (_, false) => _mm512_add_epi64(words, mask),
        (_, true) => _mm512_sub_epi64(words, mask),
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(bytes: &[u8; VECTOR]) -> __m512i {
    // SAFETY: the array has the 64 bytes of the vector, and the load wants no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(bytes: &mut [u8; VECTOR], vector: __m512i) {
    // SAFETY: the array has the 64 bytes of the vector, and the store wants no alignment.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), vector) }
}
