//! Server optimisers as deterministic pure functions: fixed operation order, no fused
//! multiply-add, so that every client recomputes the published model bit for bit.

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

impl Eq for OptimiserSpec {}
