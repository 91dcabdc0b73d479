//! Floats to integers and back, with an overflow bound that is proved when the quantiser is made.
//!
//! A value x is clipped to ±clip and becomes q = round-half-even(x / step), |q| ≤ levels, with
//! step = clip / levels; the client uploads w·q. The sum over n clients stays below half the ring
//! on either side because 2·n·levels·weight_max + 1 ≤ 2^b, so two's complement reads it back
//! exactly. The mean Σ w·q·step / Σ w is off by at most step / 2 from the mean of the clipped
//! values: a weighted mean of rounding errors, none above step / 2. (The arithmetic is f64: that
//! adds less than step / 2^18; the last rounding to f32 adds half a unit in its last place.)

use crate::mask::Ring;

#[cfg(target_arch = "x86_64")]
mod avx512;

/// The most levels: q fits 31 bits, far inside the 53 of an f64, which keeps the stated bound.
const LEVELS_MAX: u64 = (1 << 31) - 1;
/// 1.5 · 2^52: added to a number of less than 2^51, it leaves the number, rounded half to even,
/// in the low bits of the sum, without a branch or a library call (IEEE 754, default rounding).
const ROUNDER: f64 = 6_755_399_441_055_744.0;

/// What a quantiser has to hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantizerSpec {
    /// The ring in which words are summed.
    pub ring: Ring,
    /// Largest absolute value; beyond it, values are clipped.
    pub clip: f32,
    /// The most clients in one sum.
    pub contributors_max: u32,
    /// The largest weight that a client may put on its values.
    pub weight_max: u32,
}

/// Why values, weights or sums were refused.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum QuantizeError {
    /// The clip is not a positive, finite number.
    #[error("the clip {0} is not a positive, finite number")]
    Clip(f32),
    /// No contributors, or no weight.
    #[error("contributors_max and weight_max must be at least 1")]
    Empty,
    /// Not even one level fits.
    #[error(
        "the ring of {bits} bits is too small for {contributors_max} contributors of weight \
         up to {weight_max}: not one level fits; {} would do",
        ring_remedy(*.bits, *.contributors_max, *.weight_max)
    )]
    RingTooSmall {
        /// Bits of the ring.
        bits: u32,
        /// As specified.
        contributors_max: u32,
        /// As specified.
        weight_max: u32,
    },
    /// A value is NaN or infinite.
    #[error("value {index} is not finite")]
    NotFinite {
        /// Position of the value.
        index: usize,
    },
    /// The weight is above what the bound was proved for.
    #[error("the weight {weight} is outside 1..={weight_max}")]
    Weight {
        /// The weight, or sum of weights.
        weight: u64,
        /// The largest that is allowed.
        weight_max: u64,
    },
    /// Bytes and values do not match.
    #[error("{values} values take {expected} bytes, not {bytes}")]
    Length {
        /// Number of values.
        values: usize,
        /// Bytes they take.
        expected: usize,
        /// Bytes there were.
        bytes: usize,
    },
    /// A sum is larger than its weights allow: somebody left the bounds, or masks remain.
    #[error("sum {index} is larger than its weights allow")]
    OutOfRange {
        /// Position of the sum.
        index: usize,
    },
}

/// Which other number would leave room for one level.
fn ring_remedy(bits: u32, contributors_max: u32, weight_max: u32) -> String {
    let (contributors, weight) = (u128::from(contributors_max), u128::from(weight_max));
    let largest_sum = |bits: u32| (1_u128 << bits) / 2 - 1;
    let ring = [32, 64].into_iter().find(|bits| largest_sum(*bits) >= contributors * weight);
    let ring = ring.map(|bits| format!("a ring of {bits} bits"));
    let fits = |other: u128| largest_sum(bits).checked_div(other).filter(|fits| *fits > 0);
    let contributors_fit = fits(weight).map(|fits| format!("at most {fits} contributors"));
    let weight_fits = fits(contributors).map(|fits| format!("weights up to {fits}"));
    let ways: Vec<String> = [ring, contributors_fit, weight_fits].into_iter().flatten().collect();
    if ways.is_empty() { "fewer and lighter contributors".to_owned() } else { ways.join(", or ") }
}

/// Turns f32 values into words of a ring, and their sum into a mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantizer {
    spec: QuantizerSpec,
    levels: u32,
    step: f64,
}

impl Quantizer {
    /// Proves 2·n·levels·weight_max + 1 ≤ 2^b for the largest number of levels that allows it
    /// (at most 2^31 − 1), or says that there is none.
    pub fn new(spec: QuantizerSpec) -> Result<Self, QuantizeError> {
        let QuantizerSpec { ring, clip, contributors_max, weight_max } = spec;
        if !clip.is_finite() || clip <= 0.0 {
            return Err(QuantizeError::Clip(clip));
        }
        if contributors_max == 0 || weight_max == 0 {
            return Err(QuantizeError::Empty);
        }
        let bits = ring.bits();
        let largest_sum = ((1_u128 << bits) - 1) / 2;
        let levels = largest_sum / (u128::from(contributors_max) * u128::from(weight_max));
        match u32::try_from(levels.min(LEVELS_MAX.into())) {
            Ok(levels) if levels > 0 => {
                Ok(Self { spec, levels, step: f64::from(clip) / f64::from(levels) })
            }
            _ => Err(QuantizeError::RingTooSmall { bits, contributors_max, weight_max }),
        }
    }

    /// What it was made for.
    pub fn spec(&self) -> &QuantizerSpec {
        &self.spec
    }

    /// The largest |q|.
    pub fn levels(&self) -> u32 {
        self.levels
    }

    /// The distance of two neighbouring levels, clip / levels.
    pub fn step(&self) -> f64 {
        self.step
    }

    /// Writes weight · q for every value of `x` into `out`, `ring.bytes()` bytes each, two's
    /// complement little endian. On an error, what `out` holds is of no use.
    pub fn quantize(&self, x: &[f32], weight: u32, out: &mut [u8]) -> Result<(), QuantizeError> {
        self.check_weight(weight.into(), self.spec.weight_max.into())?;
        self.check_length(x.len(), out.len())?;
        if self.write(x, weight, out) {
            return Ok(());
        }
        let index = x.iter().position(|value| !value.is_finite()).unwrap_or(x.len());
        Err(QuantizeError::NotFinite { index })
    }

    /// Writes the words and says whether all values were finite, with the widest instructions that
    /// the processor has.
    fn write(&self, x: &[f32], weight: u32, out: &mut [u8]) -> bool {
        #[cfg(target_arch = "x86_64")]
        if let Some(instructions) = avx512::Avx512::detected() {
            let (vectors, rest) = x.as_chunks();
            let bytes = (x.len() - rest.len()) * self.spec.ring.bytes();
            let (words, last_words) = out.split_at_mut(bytes);
            return instructions.quantize(self, vectors, weight, words)
                & self.write_portably(rest, weight, last_words);
        }
        self.write_portably(x, weight, out)
    }

    /// [`Quantizer::write`] in plain Rust; the words of the other paths are the same.
    fn write_portably(&self, x: &[f32], weight: u32, out: &mut [u8]) -> bool {
        let word = |value: f32| self.level(value).wrapping_mul(weight.into()).to_le_bytes();
        match self.spec.ring {
            Ring::Z16 => write_words(x, out, |value| low::<2>(word(value))),
            Ring::Z32 => write_words(x, out, |value| low::<4>(word(value))),
            Ring::Z64 => write_words(x, out, word),
        }
        x.iter().all(|value| value.is_finite())
    }

    /// The weighted mean from the words' sum and the weights' sum. Refuses a sum that no
    /// contributors within the bounds can have made.
    pub fn dequantize_mean(
        &self,
        sum: &[u8],
        weight_sum: u64,
        out: &mut [f32],
    ) -> Result<(), QuantizeError> {
        let QuantizerSpec { ring, contributors_max, weight_max, .. } = self.spec;
        self.check_weight(weight_sum, u64::from(contributors_max) * u64::from(weight_max))?;
        self.check_length(out.len(), sum.len())?;
        let mean =
            |index, sum| self.mean(sum, weight_sum).ok_or(QuantizeError::OutOfRange { index });
        match ring {
            Ring::Z16 => read_words(sum, out, |i, w| mean(i, i16::from_le_bytes(w).into())),
            Ring::Z32 => read_words(sum, out, |i, w| mean(i, i32::from_le_bytes(w).into())),
            Ring::Z64 => read_words(sum, out, |i, w| mean(i, i64::from_le_bytes(w))),
        }
    }

    /// q of one value: clipped, divided by the step, rounded half to even.
    fn level(&self, value: f32) -> i64 {
        let clipped = value.clamp(-self.spec.clip, self.spec.clip);
        let rounded = f64::from(clipped) / self.step + ROUNDER;
        rounded.to_bits().wrapping_sub(ROUNDER.to_bits()).cast_signed()
    }

    fn mean(&self, sum: i64, weight_sum: u64) -> Option<f32> {
        // At most n·weight_max·levels, which was proved to be below 2^63.
        let largest = u64::from(self.levels) * weight_sum;
        (sum.unsigned_abs() <= largest).then(|| narrow(sum as f64 / weight_sum as f64 * self.step))
    }

    fn check_weight(&self, weight: u64, weight_max: u64) -> Result<(), QuantizeError> {
        if (1..=weight_max).contains(&weight) {
            Ok(())
        } else {
            Err(QuantizeError::Weight { weight, weight_max })
        }
    }

    fn check_length(&self, values: usize, bytes: usize) -> Result<(), QuantizeError> {
        match values.checked_mul(self.spec.ring.bytes()) {
            Some(expected) if expected == bytes => Ok(()),
            expected => {
                let expected = expected.unwrap_or(usize::MAX);
                Err(QuantizeError::Length { values, expected, bytes })
            }
        }
    }
}

fn write_words<const N: usize>(x: &[f32], out: &mut [u8], word: impl Fn(f32) -> [u8; N]) {
    let (words, _) = out.as_chunks_mut::<N>();
    for (to, value) in words.iter_mut().zip(x) {
        *to = word(*value);
    }
}

fn read_words<const N: usize>(
    sum: &[u8],
    out: &mut [f32],
    mean: impl Fn(usize, [u8; N]) -> Result<f32, QuantizeError>,
) -> Result<(), QuantizeError> {
    let (words, _) = sum.as_chunks::<N>();
    for (index, (to, word)) in out.iter_mut().zip(words).enumerate() {
        *to = mean(index, *word)?;
    }
    Ok(())
}

/// The low bytes of a two's complement number are the number in the smaller ring.
fn low<const N: usize>(word: [u8; 8]) -> [u8; N] {
    let mut bytes = [0; N];
    for (to, from) in bytes.iter_mut().zip(word) {
        *to = from;
    }
    bytes
}

#[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest f32, as stated")]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests;
