//! The quantiser for AVX-512: sixteen values at a time, the same words as the portable path.
//!
//! A division waits for one unit that serves a value every other cycle, so the quotient is made
//! from the divisor's reciprocal instead: y = RN(1/s), q₀ = RN(x·y), then twice
//! q ← RN(q + y·RN(x − q·s)) with fused multiply-adds. q₀ is within two units in the last place of
//! x/s, the first step brings it within one, and from there the second gives RN(x/s) itself
//! (Markstein, "Computation of elementary functions on the IBM RISC System/6000 processor", IBM J.
//! Res. Dev. 34, 1990, theorem 8.3: y is the rounded reciprocal, the remainder is exact). Nothing
//! underflows: clips and steps lie between 2^-180 and 2^128, values that are not zero above 2^-150.
#![expect(unsafe_code, reason = "SIMD: instructions found at run time, vector loads and stores")]

use std::arch::x86_64::{
    __m256i, __m512, __m512d, __m512i, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT,
    _mm256_castpd_ps, _mm256_storeu_si256, _mm512_and_si512, _mm512_castps_pd, _mm512_castps_si512,
    _mm512_castps512_ps256, _mm512_castsi256_si512, _mm512_castsi512_si256,
    _mm512_cmpgt_epi32_mask, _mm512_cvt_roundpd_epi32, _mm512_cvtepi32_epi16,
    _mm512_cvtepi32_epi64, _mm512_cvtps_pd, _mm512_extractf64x4_pd, _mm512_extracti64x4_epi64,
    _mm512_fmadd_pd, _mm512_fnmadd_pd, _mm512_inserti64x4, _mm512_loadu_ps, _mm512_max_ps,
    _mm512_min_ps, _mm512_mul_pd, _mm512_mullo_epi32, _mm512_mullo_epi64, _mm512_set1_epi32,
    _mm512_set1_epi64, _mm512_set1_pd, _mm512_set1_ps, _mm512_storeu_si512,
};

use super::Quantizer;
use crate::mask::Ring;

/// Values of one step.
pub(super) const LANES: usize = 16;
/// The bits of the largest finite f32; above it, but for the sign, are infinity and NaN.
const FINITE_MAX: i32 = 0x7f7f_ffff;
const SIGN: i32 = i32::MIN;
/// Half to even.
const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;

/// Proof that the processor has AVX-512 F and DQ.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx512(());

impl Avx512 {
    pub(super) fn detected() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq");
        found.then_some(Self(()))
    }

    /// Writes weight · q for every value of `x` into `out`, and says whether all were finite.
    pub(super) fn quantize(
        self,
        quantizer: &Quantizer,
        x: &[[f32; LANES]],
        weight: u32,
        out: &mut [u8],
    ) -> bool {
        let weight = weight.into();
        // SAFETY: `self` proves that AVX-512 F and DQ were found.
        unsafe {
            match quantizer.spec.ring {
                Ring::Z16 => quantize::<{ 2 * LANES }>(quantizer, x, weight, out),
                Ring::Z32 => quantize::<{ 4 * LANES }>(quantizer, x, weight, out),
                Ring::Z64 => quantize::<{ 8 * LANES }>(quantizer, x, weight, out),
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512dq")]
fn quantize<const BYTES: usize>(
    quantizer: &Quantizer,
    x: &[[f32; LANES]],
    weight: i64,
    out: &mut [u8],
) -> bool {
    let scale = Scale::new(quantizer);
    let mut finite = true;
    for (values, words) in x.iter().zip(out.as_chunks_mut::<BYTES>().0) {
        let values = load(values);
        finite &= all_finite(values);
        let levels = scale.levels(values);
        write::<BYTES>(words, levels, weight);
    }
    finite
}

/// Clip, step and the step's reciprocal in all lanes.
struct Scale {
    low: __m512,
    high: __m512,
    step: __m512d,
    reciprocal: __m512d,
}

impl Scale {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new(quantizer: &Quantizer) -> Self {
        Self {
            low: _mm512_set1_ps(-quantizer.spec.clip),
            high: _mm512_set1_ps(quantizer.spec.clip),
            step: _mm512_set1_pd(quantizer.step),
            reciprocal: _mm512_set1_pd(1.0 / quantizer.step),
        }
    }

    /// q of sixteen values, as i32.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq")]
    fn levels(&self, values: __m512) -> __m512i {
        let clipped = _mm512_min_ps(_mm512_max_ps(values, self.low), self.high);
        let upper = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(clipped)));
        let low = self.rounded(_mm512_cvtps_pd(_mm512_castps512_ps256(clipped)));
        let high = self.rounded(_mm512_cvtps_pd(upper));
        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn rounded(&self, x: __m512d) -> __m256i {
        let mut quotient = _mm512_mul_pd(x, self.reciprocal);
        for _ in 0..2 {
            let remainder = _mm512_fnmadd_pd(quotient, self.step, x);
            quotient = _mm512_fmadd_pd(remainder, self.reciprocal, quotient);
        }
        // A level has at most 31 bits.
        _mm512_cvt_roundpd_epi32::<NEAREST>(quotient)
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn all_finite(values: __m512) -> bool {
    let magnitude = _mm512_and_si512(_mm512_castps_si512(values), _mm512_set1_epi32(!SIGN));
    _mm512_cmpgt_epi32_mask(magnitude, _mm512_set1_epi32(FINITE_MAX)) == 0
}

/// Writes sixteen words of BYTES / 16 bytes each.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn write<const BYTES: usize>(words: &mut [u8; BYTES], levels: __m512i, weight: i64) {
    let start = words.as_mut_ptr();
    if BYTES == 8 * LANES {
        let weight = _mm512_set1_epi64(weight);
        let low = _mm512_cvtepi32_epi64(_mm512_castsi512_si256(levels));
        let high = _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64::<1>(levels));
        // SAFETY: the array has 128 bytes, two vectors of 64, and a store wants no alignment.
        unsafe {
            _mm512_storeu_si512(start.cast(), _mm512_mullo_epi64(low, weight));
            _mm512_storeu_si512(start.add(64).cast(), _mm512_mullo_epi64(high, weight));
        }
        return;
    }
    let product = _mm512_mullo_epi32(levels, _mm512_set1_epi32(low_bits(weight)));
    if BYTES == 4 * LANES {
        // SAFETY: the array has the 64 bytes of the vector, and a store wants no alignment.
        unsafe { _mm512_storeu_si512(start.cast(), product) }
    } else {
        const { assert!(BYTES >= 2 * LANES, "two bytes are the shortest word") };
        // SAFETY: the array has the 32 bytes of the vector, and a store wants no alignment.
        unsafe { _mm256_storeu_si256(start.cast(), _mm512_cvtepi32_epi16(product)) }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(values: &[f32; LANES]) -> __m512 {
    // SAFETY: the array has the sixteen values of the vector, and the load wants no alignment.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

/// The low half of a number, which is all that a product modulo 2^32 depends on.
#[expect(clippy::cast_possible_truncation, reason = "modulo 2^32")]
fn low_bits(number: i64) -> i32 {
    number as i32
}
