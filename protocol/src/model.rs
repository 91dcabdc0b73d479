//! Model architectures as every party sees them: named parameters in a fixed flat order, and the
//! initial model as a pure function of the manifest.

use roundelay_crypto::digest::Digest;
use serde::{Deserialize, Serialize};

/// An architecture. The flat parameter vector is the concatenation of its named parameters, each
/// in row-major order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ModelSpec {
    /// Softmax regression: `linear.weight [classes, features]`, `linear.bias [classes]`.
    Softmax {
        /// Seed of the initial model.
        seed: u64,
    },
    /// Fully connected layers with ReLU between them.
    Mlp {
        /// Widths of the hidden layers.
        hidden: Vec<u32>,
        /// Seed of the initial model.
        seed: u64,
    },
    /// Two convolutions (3×3, GroupNorm, ReLU, 2×2 max-pool) and a linear layer.
    Cnn {
        /// Channels of the two convolutions; each a multiple of 4 (the groups).
        channels: [u32; 2],
        /// Seed of the initial model.
        seed: u64,
    },
    /// A TorchScript module exported from Python; its parameters in module order.
    TorchScript {
        /// BLAKE3 of the module file, which holds the initial parameters.
        module: Digest,
        /// Its parameters in module order.
        parameters: Vec<ParameterSpec>,
    },
}

/// One named parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParameterSpec {
    /// The name in the module, such as `head.0.weight`.
    pub name: String,
    /// Its shape; the product of the dimensions is its number of values.
    pub shape: Vec<u32>,
}
