//! Server optimisers as deterministic pure functions: fixed operation order, no fused
//! multiply-add, so that every client recomputes the published model bit for bit.
//!
//! Addition, multiplication, division and square root of `f32` are correctly rounded by IEEE 754
//! on every platform of ours, and the compiler may neither fuse nor reorder them. Each coordinate
//! is on its own, so vectorising changes nothing. The vectors in `tests/vectors/optimiser` are
//! cross-checked by an independent script beside them.

use serde::{Deserialize, Serialize};

/// Which server optimiser turns a mean update into the next model (Reddi et al. 2021, Algorithm 2;
/// FedAvgM: Hsu et al. 2019, §3).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum OptimiserSpec {
    /// `x + learning_rate · Δ`.
    FedAvg {
        /// Server step size, 1 for plain averaging.
        learning_rate: f32,
    },
    /// Server momentum.
    FedAvgM {
        /// Server step size.
        learning_rate: f32,
        /// Momentum.
        momentum: f32,
    },
    /// Adaptive: accumulated squares.
    FedAdagrad {
        /// Server step size.
        learning_rate: f32,
        /// Momentum of the first moment.
        beta1: f32,
        /// Adaptivity τ.
        tau: f32,
    },
    /// Adaptive: exponential average of squares.
    FedAdam {
        /// Server step size.
        learning_rate: f32,
        /// Momentum of the first moment.
        beta1: f32,
        /// Momentum of the second moment.
        beta2: f32,
        /// Adaptivity τ.
        tau: f32,
    },
    /// Adaptive: sign-controlled squares.
    FedYogi {
        /// Server step size.
        learning_rate: f32,
        /// Momentum of the first moment.
        beta1: f32,
        /// Momentum of the second moment.
        beta2: f32,
        /// Adaptivity τ.
        tau: f32,
    },
}

/// A valid specification has finite numbers, so this agrees with `==`.
impl Eq for OptimiserSpec {}

/// Why an optimiser's numbers are none. Whoever wrote the task is at fault.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{field} is {range}, not {value}")]
pub struct OptimiserError {
    field: &'static str,
    range: &'static str,
    value: f32,
}

impl OptimiserSpec {
    /// Refuses numbers with which no model converges: not finite, no step, full momentum.
    pub fn validate(&self) -> Result<(), OptimiserError> {
        let rate =
            |value| within("learning_rate", "above 0, up to 1000", value, f32::MIN_POSITIVE..=1e3);
        let beta = |field, value| within(field, "0 to 0.99999", value, 0.0..=0.99999);
        let adaptivity = |value| within("tau", "1e-9 to 1", value, 1e-9..=1.0);
        match *self {
            Self::FedAvg { learning_rate } => rate(learning_rate),
            Self::FedAvgM { learning_rate, momentum } => {
                rate(learning_rate)?;
                beta("momentum", momentum)
            }
            Self::FedAdagrad { learning_rate, beta1, tau } => {
                rate(learning_rate)?;
                beta("beta1", beta1)?;
                adaptivity(tau)
            }
            Self::FedAdam { learning_rate, beta1, beta2, tau }
            | Self::FedYogi { learning_rate, beta1, beta2, tau } => {
                rate(learning_rate)?;
                beta("beta1", beta1)?;
                beta("beta2", beta2)?;
                adaptivity(tau)
            }
        }
    }

    /// Vectors of the model's length that the optimiser carries from step to step.
    #[must_use]
    pub fn moment_count(&self) -> usize {
        match self {
            Self::FedAvg { .. } => 0,
            Self::FedAvgM { .. } => 1,
            Self::FedAdagrad { .. } | Self::FedAdam { .. } | Self::FedYogi { .. } => 2,
        }
    }

    /// The moments before the first step: m = 0, and v = τ² (the smallest that Algorithm 2 allows).
    #[must_use]
    pub fn initial_moments(&self, parameters: usize) -> Vec<Vec<f32>> {
        match *self {
            Self::FedAvg { .. } => vec![],
            Self::FedAvgM { .. } => vec![vec![0.0; parameters]],
            Self::FedAdagrad { tau, .. }
            | Self::FedAdam { tau, .. }
            | Self::FedYogi { tau, .. } => vec![vec![0.0; parameters], vec![tau * tau; parameters]],
        }
    }

    /// One step: `model` and `moments` move by the mean update Δ, coordinate by coordinate. Any
    /// window of coordinates may be given by itself.
    ///
    /// # Panics
    /// If a vector is shorter than the model, or a moment is missing: [`crate::lineage::State`]
    /// holds them all at one length.
    pub fn step(&self, model: &mut [f32], moments: &mut [&mut [f32]], update: &[f32]) {
        assert_eq!(moments.len(), self.moment_count(), "an optimiser has its own moments");
        let whole = moments.iter().all(|moment| moment.len() == model.len());
        assert!(whole && update.len() == model.len(), "one length for model, moments and update");
        match (*self, moments) {
            (Self::FedAvg { learning_rate }, _) => {
                for (x, delta) in model.iter_mut().zip(update) {
                    *x += learning_rate * delta;
                }
            }
            (Self::FedAvgM { learning_rate, momentum }, [velocity]) => {
                for ((x, v), delta) in model.iter_mut().zip(velocity.iter_mut()).zip(update) {
                    *v = momentum * *v + delta;
                    *x += learning_rate * *v;
                }
            }
            (Self::FedAdagrad { learning_rate, beta1, tau }, [m, v]) => {
                let second = |v: f32, square: f32| v + square;
                adaptive(Adaptive { learning_rate, beta1, tau }, model, (m, v), update, second);
            }
            (Self::FedAdam { learning_rate, beta1, beta2, tau }, [m, v]) => {
                let rest = 1.0 - beta2;
                let second = |v: f32, square: f32| beta2 * v + rest * square;
                adaptive(Adaptive { learning_rate, beta1, tau }, model, (m, v), update, second);
            }
            (Self::FedYogi { learning_rate, beta1, beta2, tau }, [m, v]) => {
                let rest = 1.0 - beta2;
                let second = |v: f32, square: f32| v - rest * square * sign(v - square);
                adaptive(Adaptive { learning_rate, beta1, tau }, model, (m, v), update, second);
            }
            // Excluded by the first assertion.
            _ => {}
        }
    }
}

/// The numbers that the adaptive optimisers share.
struct Adaptive {
    learning_rate: f32,
    beta1: f32,
    tau: f32,
}

/// Reddi et al. 2021, Algorithm 2: m ← β₁·m + (1 − β₁)·Δ, v ← `second`(v, Δ²),
/// x ← x + η·m / (√v + τ).
fn adaptive(
    Adaptive { learning_rate, beta1, tau }: Adaptive,
    model: &mut [f32],
    (first, second): (&mut [f32], &mut [f32]),
    update: &[f32],
    next_second: impl Fn(f32, f32) -> f32,
) {
    let rest = 1.0 - beta1;
    let moments = first.iter_mut().zip(second);
    for ((x, (m, v)), delta) in model.iter_mut().zip(moments).zip(update) {
        *m = beta1 * *m + rest * delta;
        *v = next_second(*v, delta * delta);
        *x += learning_rate * *m / (v.sqrt() + tau);
    }
}

/// −1, 0 or 1.
fn sign(value: f32) -> f32 {
    match value.partial_cmp(&0.0) {
        Some(std::cmp::Ordering::Less) => -1.0,
        Some(std::cmp::Ordering::Greater) => 1.0,
        _ => 0.0,
    }
}

fn within(
    field: &'static str,
    range: &'static str,
    value: f32,
    allowed: std::ops::RangeInclusive<f32>,
) -> Result<(), OptimiserError> {
    if allowed.contains(&value) { Ok(()) } else { Err(OptimiserError { field, range, value }) }
}

#[cfg(test)]
mod tests;
