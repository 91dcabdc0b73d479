//! An update into the words of a private segment, and the sum of such words back into a mean.

use roundelay_crypto::kdf;
use roundelay_crypto::secret::Seed;

use super::calibration::{NoiseSource, Private};
use super::noise::{Bits, Skellam, whole};
use super::rotation::Rotation;

/// Tries of randomised rounding; each fails with probability 0.61 at most. After the last one every
/// coordinate is rounded towards zero, which keeps any norm.
const ROUNDINGS: u64 = 64;

/// A vector clipped, rotated and rounded: its L2 norm is at most Δ2. Noise is added as its words are
/// [drawn](Self::noised).
pub(crate) struct Rounded {
    levels: Vec<i32>,
    skellam: Option<Skellam>,
    bits: Bits,
}

impl Rounded {
    /// Of finite values, as many as the encoding has coordinates. `seed` is fresh and serves this one
    /// vector.
    pub(crate) fn new(private: &Private, values: &[f32], rotation: &Rotation, seed: &Seed) -> Self {
        let words = usize::try_from(private.words().unwrap_or(0)).unwrap_or(usize::MAX);
        let mut rotated = vec![0.0; words];
        let clip = shrink_to(f64::from(private.l2_clip), norm(values, 1.0));
        rotated
            .iter_mut()
            .zip(values)
            .for_each(|(to, value)| *to = narrow(f64::from(*value) * clip));
        rotation.apply(&mut rotated);
        // Rotating may add what floating-point numbers round away.
        let shrink = shrink_to(private.norm(), norm(&rotated, private.scale));
        let levels = round(&rotated, private.scale * shrink, private.l2_squared(), seed);
        let skellam = match private.noise {
            NoiseSource::Clients { .. } => Some(Skellam::new(private.variance())),
            NoiseSource::Coordinator => None,
        };
        let bits = Bits::new(kdf::derive(seed, "roundelay/privacy/noise", &[]));
        Self { levels, skellam, bits }
    }

    /// Words from here on, with their noise, in two's complement. Each is drawn once, in order.
    pub(crate) fn noised(&mut self, range: std::ops::Range<usize>) -> impl Iterator<Item = u64> {
        let Self { levels, skellam, bits } = self;
        levels.get(range).unwrap_or_default().iter().map(|level| {
            let noise = skellam.as_ref().map_or(0, |skellam| skellam.draw(bits));
            (i64::from(*level) + noise).cast_unsigned()
        })
    }

    #[cfg(test)]
    pub(crate) fn levels(&self) -> &[i32] {
        &self.levels
    }
}

/// Rounds at random until the norm is within its bound.
fn round(rotated: &[f32], scale: f64, l2_squared: f64, seed: &Seed) -> Vec<i32> {
    let mut levels = vec![0; rotated.len()];
    for attempt in 0..ROUNDINGS {
        let label = "roundelay/privacy/rounding";
        let mut bits = Bits::new(kdf::derive(seed, label, &[&attempt.to_le_bytes()]));
        let mut square = 0.0;
        for (level, value) in levels.iter_mut().zip(rotated) {
            let rounded = bits.round(f64::from(*value) * scale);
            square += rounded * rounded;
            *level = small(rounded);
        }
        // Squares of whole numbers below 2^53 in all are added exactly.
        if square <= l2_squared {
            return levels;
        }
    }
    let towards_zero = rotated.iter().map(|value| small((f64::from(*value) * scale).trunc()));
    towards_zero.collect()
}

/// The mean in the units of the update from the summed levels of one block of a segment, the block
/// of this number.
pub(crate) fn mean(
    private: &Private,
    sum: impl Iterator<Item = i64>,
    survivors: u64,
    (rotation, block): (&Rotation, usize),
) -> Vec<f32> {
    let unit = private.scale * survivors.max(1) as f64;
    let mut words: Vec<f32> = sum.map(|level| narrow(level as f64 / unit)).collect();
    rotation.undo(block, &mut words);
    words
}

/// Central noise for one word of a sum: Gaussian, of the encoding's deviation, rounded. The sum is
/// whole, so rounding the noise is rounding the noisy sum.
pub(crate) fn gaussian(private: &Private, bits: &mut Bits) -> i64 {
    whole((bits.gaussian() * private.variance().sqrt()).round())
}

/// The L2 norm of values times a scale.
fn norm(values: &[f32], scale: f64) -> f64 {
    let scaled = values.iter().map(|value| f64::from(*value) * scale);
    scaled.map(|value| value * value).sum::<f64>().sqrt()
}

/// The factor that brings a norm within its bound.
fn shrink_to(bound: f64, norm: f64) -> f64 {
    if norm > bound { bound / norm } else { 1.0 }
}

#[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest f32, as stated")]
fn narrow(value: f64) -> f32 {
    value as f32
}

/// A level: at most C + 1, far below 2^31.
#[expect(clippy::cast_possible_truncation, reason = "a whole number far below 2^31")]
fn small(value: f64) -> i32 {
    value as i32
}

#[cfg(test)]
mod tests;
