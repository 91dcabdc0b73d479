//! Differential privacy of a federation: what a manifest promises ([`Privacy`]), what one round costs
//! and how costs add up ([`accountant`]), and who has spent how much ([`Ledger`]).
//!
//! ```text
//! update ─▶ L2 clip ─▶ rotation ─▶ × scale ─▶ randomised rounding ─▶ + noise ─▶ words of the ring
//!                                                                               │ summed under masks
//! mean   ◀─────────── inverse rotation ◀─ ÷ (scale · survivors) ◀───────────────┘
//! ```
//! What is protected is the whole contribution of one client to one round: two neighbouring data sets
//! differ in one client, whose contribution is there or is zero. That the client took part is no
//! secret: its signature stands in the transcript.

pub mod accountant;
pub mod calibration;
pub(crate) mod encode;
pub mod ledger;
pub(crate) mod noise;
pub mod rotation;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

use serde::{Deserialize, Serialize};

pub use calibration::{NoiseSource, Private, PrivateError, Release};
pub use ledger::{Account, Budget, Ledger, Overspent};
pub use rotation::Rotation;

/// Who adds the noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mechanism {
    /// Every client adds its share before it masks: nobody sees a sum without noise.
    Distributed,
    /// The coordinator adds all of it to the unmasked sum: the members trust it to.
    Central,
}

/// What a manifest promises each client about its data set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Privacy {
    /// Who adds the noise.
    pub mechanism: Mechanism,
    /// Budget ε for one data set, over all rounds of all federations that it serves.
    pub epsilon: f64,
    /// Budget δ.
    pub delta: f64,
    /// z: standard deviation of the noise in a sum, over the most that one client changes it by in
    /// L2 norm.
    pub noise_multiplier: f64,
    /// Largest L2 norm of an update; longer ones are shortened to it.
    pub l2_clip: f32,
}

/// A valid one has finite numbers, so this agrees with `==`.
impl Eq for Privacy {}

impl Privacy {
    /// What l2_clip may be.
    pub const CLIPS: std::ops::RangeInclusive<f32> = 1e-6..=1e6;
    /// What noise_multiplier may be.
    pub const MULTIPLIERS: std::ops::RangeInclusive<f64> = 0.01..=1e3;

    /// How many rounds of a cost the budget pays to begin with, at most `most`.
    #[must_use]
    pub fn pays(&self, release: Release, most: u64) -> u64 {
        Ledger::default().left(release, self.budget(), most)
    }

    /// The budget of a data set.
    #[must_use]
    pub fn budget(&self) -> Budget {
        Budget { epsilon: self.epsilon, delta: self.delta }
    }
}
