//! The numbers of a private segment: how fine the integers are, what one client's contribution can
//! weigh, and how much noise hides it.
//!
//! Let C = clip·scale, d the words. A rotated vector of L2 norm at most C is rounded at random until
//! its norm is at most
//!
//! Δ2² = ⌊min( C² + d/4 + √(2·ln(1/β))·(C + √d/2), (C + √d)² )⌋,  β = e^-1/2
//!
//! (conditional rounding: Kairouz, Liu, Steinke 2021, §4; a try exceeds the bound with probability at
//! most β), and for integers Δ1 ≤ min(√d·Δ2, Δ2²). The noise of those who are sure to be honest has
//! variance (z·Δ2)² alone.
//!
//! The scale is the finest for which no word of the sum over n clients leaves its ring, but with
//! probability 2^-20 over signs and noise, in any word of the round. With L = ln 2·(log2 d + 22):
//!
//! - n vectors of norm C, rotated in blocks of at least m words: n·C·min(1, √(2L/m)) (Hoeffding);
//! - rounding: n;
//! - noise of variance μ in all: L/3 + √(L²/9 + 2μL) (Bernstein for jumps of ±1, and 1 more for the
//!   rounding of Gaussian noise).
//!
//! It depends on the federation, not on the cohort: n is all clients, and the noise of all contributors
//! is taken as [`NOISE_RATIO`] times what the honest ones guarantee. So all rounds of a federation
//! cost the same. Every step is one correctly rounded operation: all parties find the same numbers.

use roundelay_crypto::mask::Ring;
use serde::{Deserialize, Serialize};

use super::Privacy;
use super::accountant::Curve;
use super::noise::VARIANCE_MAX;
use super::rotation::{padded, smallest_block};

/// n clients over those that are sure to survive and be honest, at most: below 3 by the rules for
/// thresholds.
const NOISE_RATIO: f64 = 4.0;
/// C over √d at most: finer integers would save less than one part in a thousand.
const FINENESS_MAX: f64 = 64.0;
/// And yet so fine, where words are few.
const NORM_WANTED: f64 = 4096.0;
/// Bits of the union bound beside those of d: 20, one for two tails, one for signs and noise each.
const UNION_BITS: u32 = 22;

/// How a segment of a private round is written and read: all that its bytes depend on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Private {
    /// Coordinates before padding.
    pub coordinates: u64,
    /// Largest L2 norm of a contribution.
    pub l2_clip: f32,
    /// Integer levels per unit.
    pub scale: f64,
    /// z: deviation of the noise that is sure over the L2 sensitivity.
    pub noise_multiplier: f64,
    /// Who adds the noise.
    pub noise: NoiseSource,
}

impl Eq for Private {}

/// Who adds noise to a private segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoiseSource {
    /// Each client, before its masks. The noise of so many is sure: survivors at least, less those
    /// that may collude.
    Clients {
        /// How many.
        honest: u32,
    },
    /// The coordinator, to the unmasked sum.
    Coordinator,
}

/// Why a segment can't be private as asked. Whoever wrote the task is at fault.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PrivateError {
    /// Numbers that no valid task gives.
    #[error("the numbers of the private segment are out of their ranges")]
    Numbers,
    /// Noise and signal do not fit, at any scale that keeps enough of the update.
    #[error(
        "a ring of {bits} bits is too small for the updates of {clients} clients with noise_multiplier \
         {noise_multiplier}: {remedy} would do (another l2_clip would not: the scale follows it)"
    )]
    RingTooSmall {
        /// Bits of the ring.
        bits: u32,
        /// Clients.
        clients: u32,
        /// z.
        noise_multiplier: f64,
        /// What would do.
        remedy: String,
    },
    /// More contributors than the scale was found for.
    #[error("the sum over {0} clients may leave the ring")]
    Contributors(u32),
}

impl Private {
    /// The encoding of an update of so many coordinates, in a federation of so many clients.
    ///
    /// # Errors
    /// No scale keeps the sum in its ring and rounding below the noise.
    pub fn choose(
        privacy: &Privacy,
        ring: Ring,
        coordinates: u64,
        clients: u32,
        noise: NoiseSource,
    ) -> Result<Self, PrivateError> {
        let Privacy { noise_multiplier, l2_clip, .. } = *privacy;
        let unscaled = Self { coordinates, l2_clip, scale: 1.0, noise_multiplier, noise };
        let words = unscaled.words().filter(|_| unscaled.is_plausible());
        words.ok_or(PrivateError::Numbers)?;
        unscaled.scaled(ring, clients).ok_or_else(|| PrivateError::RingTooSmall {
            bits: ring.bits(),
            clients,
            noise_multiplier,
            remedy: unscaled.remedy(ring, clients),
        })
    }

    /// With the finest scale that fits, a power of two times 4, 5, 6 or 7.
    fn scaled(self, ring: Ring, clients: u32) -> Option<Self> {
        let root = self.words_real().sqrt();
        let (finest, clip) = (NORM_WANTED.max(FINENESS_MAX * root), f64::from(self.l2_clip));
        let mut power = 1.0;
        while power * clip < finest {
            power *= 2.0;
        }
        loop {
            for quarter in [7.0, 6.0, 5.0, 4.0] {
                let tried = Self { scale: power * quarter / 4.0, ..self };
                let norm = tried.norm();
                // Rounding may at most double what the noise has to hide.
                if tried.l2_squared() > 2.0 * norm * norm {
                    return None;
                }
                let fits = tried.fits(ring, clients, NOISE_RATIO);
                if norm <= finest && fits && tried.variance_sum_min() <= VARIANCE_MAX {
                    return Some(tried);
                }
            }
            power /= 2.0;
        }
    }

    /// What would do instead.
    fn remedy(self, ring: Ring, clients: u32) -> String {
        let wider = (ring == Ring::Z16 && self.scaled(Ring::Z32, clients).is_some())
            .then(|| "a ring of 32 bits".to_owned());
        let multipliers =
            (1..100_u32).map(|part| self.noise_multiplier * f64::from(100 - part) / 100.0);
        let fits = |z: &f64| Self { noise_multiplier: *z, ..self }.scaled(ring, clients).is_some();
        let quieter = multipliers.into_iter().find(fits);
        let quieter = quieter.map(|z| format!("a noise_multiplier of at most {z:.3}"));
        let ways: Vec<String> = wider.into_iter().chain(quieter).collect();
        if ways.is_empty() { "fewer clients".to_owned() } else { ways.join(", or ") }
    }

    /// Proves what [`choose`](Self::choose) promises of an encoding that comes from outside.
    ///
    /// # Errors
    /// It is none for so many contributors in this ring.
    pub fn prove(&self, ring: Ring, words: u64, contributors: u32) -> Result<(), PrivateError> {
        if !self.is_plausible() || self.words() != Some(words) {
            return Err(PrivateError::Numbers);
        }
        let ratio = match self.noise {
            NoiseSource::Clients { honest } => f64::from(contributors) / f64::from(honest),
            NoiseSource::Coordinator => 1.0,
        };
        if self.variance() <= VARIANCE_MAX && self.fits(ring, contributors, ratio) {
            return Ok(());
        }
        Err(PrivateError::Contributors(contributors))
    }

    fn is_plausible(&self) -> bool {
        let Self { coordinates, l2_clip, scale, noise_multiplier, noise } = *self;
        (1..1 << 40).contains(&coordinates)
            && Privacy::CLIPS.contains(&l2_clip)
            && (1e-12..1e24).contains(&scale)
            && Privacy::MULTIPLIERS.contains(&noise_multiplier)
            && noise != (NoiseSource::Clients { honest: 0 })
    }

    /// Whether no word of a sum leaves the ring, where the noise of all has `ratio` times the
    /// variance that is sure.
    fn fits(&self, ring: Ring, clients: u32, ratio: f64) -> bool {
        let union_bits = u64::BITS - self.words().unwrap_or(1).leading_zeros() + UNION_BITS;
        let tail = std::f64::consts::LN_2 * f64::from(union_bits);
        let share = (2.0 * tail / smallest_block(self.coordinates) as f64).sqrt().min(1.0);
        let signal = f64::from(clients) * self.norm() * share + f64::from(clients);
        let variance = ratio * self.variance_sum_min();
        let noise = tail / 3.0 + (tail * tail / 9.0 + 2.0 * variance * tail).sqrt() + 1.0;
        let half = 1_u64 << (ring.bits().min(63) - 1);
        signal + noise < half as f64
    }

    /// d: words of the segment.
    #[must_use]
    pub fn words(&self) -> Option<u64> {
        padded(self.coordinates)
    }

    fn words_real(&self) -> f64 {
        self.words().unwrap_or(u64::MAX) as f64
    }

    /// C: the clip in levels.
    #[must_use]
    pub fn norm(&self) -> f64 {
        f64::from(self.l2_clip) * self.scale
    }

    /// Δ2², a whole number.
    #[must_use]
    pub fn l2_squared(&self) -> f64 {
        let (norm, words) = (self.norm(), self.words_real());
        let root = words.sqrt();
        let conditional = norm * norm + words / 4.0 + (norm + root / 2.0);
        let certain = (norm + root) * (norm + root);
        conditional.min(certain).floor()
    }

    /// (z·Δ2)²: the variance of the noise that is sure, in the sum.
    #[must_use]
    pub fn variance_sum_min(&self) -> f64 {
        self.noise_multiplier * self.noise_multiplier * self.l2_squared()
    }

    /// The variance of the noise that one of its sources adds.
    #[must_use]
    pub fn variance(&self) -> f64 {
        match self.noise {
            NoiseSource::Clients { honest } => self.variance_sum_min() / f64::from(honest),
            NoiseSource::Coordinator => self.variance_sum_min(),
        }
    }

    /// What a round costs.
    #[must_use]
    pub fn release(&self) -> Release {
        let Self { noise_multiplier, .. } = *self;
        match self.noise {
            NoiseSource::Coordinator => Release::Gaussian { noise_multiplier },
            NoiseSource::Clients { .. } => Release::Skellam {
                l2_squared: self.l2_squared(),
                words: self.words_real(),
                noise_multiplier,
            },
        }
    }
}

/// One release as the accountant sees it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Release {
    /// Gaussian noise in the sum.
    Gaussian {
        /// z.
        noise_multiplier: f64,
    },
    /// Skellam noise in the sum.
    Skellam {
        /// Δ2².
        l2_squared: f64,
        /// d.
        words: f64,
        /// z.
        noise_multiplier: f64,
    },
}

/// A valid one has finite numbers, so this agrees with `==`.
impl Eq for Release {}

impl Release {
    /// Its divergences.
    #[must_use]
    pub fn curve(&self) -> Curve {
        match *self {
            Self::Gaussian { noise_multiplier } => Curve::gaussian(noise_multiplier),
            Self::Skellam { l2_squared, words, noise_multiplier } => {
                let l1 = (words * l2_squared).sqrt().min(l2_squared);
                let variance = noise_multiplier * noise_multiplier * l2_squared;
                Curve::skellam(l1, l2_squared.sqrt(), variance)
            }
        }
    }
}

#[cfg(test)]
mod tests;
