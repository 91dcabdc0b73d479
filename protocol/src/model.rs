//! Model architectures as every party sees them: named parameters in a fixed flat order, and the
//! initial model as a pure function of the manifest.

use std::collections::BTreeSet;

use roundelay_crypto::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::limits::{NAME_BYTES_MAX, PARAMETER_NAMES_MAX, PARAMETERS_MAX};
use crate::plain::is_plain;
use crate::schema::Schema;

mod initial;

pub use initial::initial;
#[cfg(test)]
pub(crate) use initial::initial_key;

/// Groups of the GroupNorm layers of [`ModelSpec::Cnn`].
pub const NORM_GROUPS: u32 = 4;
/// Hidden layers of [`ModelSpec::Mlp`] at most.
pub const HIDDEN_LAYERS_MAX: usize = 16;
/// Dimensions of a parameter at most.
const DIMENSIONS_MAX: usize = 8;

/// An architecture. The flat parameter vector is the concatenation of its named parameters, each
/// in row-major order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ModelSpec {
    /// Softmax regression: `linear.weight [classes, features]`, `linear.bias [classes]`.
    Softmax {
        /// Seed of the initial model.
        seed: u64,
    },
    /// Fully connected layers with ReLU between them: `layers.0.weight [hidden, features]`,
    /// `layers.0.bias [hidden]`, and so on to the classes.
    Mlp {
        /// Widths of the hidden layers.
        hidden: Vec<u32>,
        /// Seed of the initial model.
        seed: u64,
    },
    /// Two convolutions (3×3 with padding 1, GroupNorm of 4 groups, ReLU, 2×2 max-pool) and a
    /// linear layer: `conv1.{weight,bias}`, `norm1.{weight,bias}`, `conv2…`, `norm2…`,
    /// `linear.{weight,bias}`. The linear layer sees `channels[1] × ⌊height/4⌋ × ⌊width/4⌋`.
    Cnn {
        /// Channels of the two convolutions; each a multiple of 4 (the groups).
        channels: [u32; 2],
        /// Seed of the initial model.
        seed: u64,
    },
    /// A TorchScript module exported from Python; its parameters in module order.
    #[serde(rename = "torchscript")]
    TorchScript {
        /// BLAKE3 of the module file ([`module_digest`]), which holds the initial parameters.
        #[serde(with = "crate::text::digest")]
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

impl ParameterSpec {
    /// Its number of values.
    #[must_use]
    pub fn values(&self) -> u64 {
        self.shape.iter().fold(1, |values: u64, side| values.saturating_mul(u64::from(*side)))
    }
}

/// Why a model cannot be. Whoever wrote the task is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The hidden layers of an MLP.
    #[error("an mlp has 1 to {HIDDEN_LAYERS_MAX} hidden layers of at least 1 unit")]
    Hidden,
    /// The channels of a CNN.
    #[error("a cnn has channels in multiples of {NORM_GROUPS}, not {0}")]
    Channels(u32),
    /// A CNN over something else than pictures of at least 4 × 4.
    #[error("a cnn takes images of at least 4 × 4 pixels; take softmax or mlp for this schema")]
    NotImages,
    /// A parameter of a TorchScript module.
    #[error(
        "parameter {0}: a name of 1 to {NAME_BYTES_MAX} bytes without control characters that no other \
         has, and a shape of at \
         most {DIMENSIONS_MAX} dimensions without zeros"
    )]
    Parameter(usize),
    /// Too few or too many parameters.
    #[error(
        "a model has 1 to {PARAMETERS_MAX} parameters under at most {PARAMETER_NAMES_MAX} names"
    )]
    Size,
}

impl ModelSpec {
    /// The named parameters in flat order, for data of this schema.
    pub fn parameters(&self, schema: &Schema) -> Result<Vec<ParameterSpec>, ModelError> {
        let parameters = match self {
            Self::Softmax { .. } => linear("linear", features(schema)?, classes(schema)?),
            Self::Mlp { hidden, .. } => mlp(hidden, schema)?,
            Self::Cnn { channels, .. } => cnn(*channels, schema)?,
            Self::TorchScript { parameters, .. } => named(parameters)?.to_vec(),
        };
        let total = parameters.iter().fold(0, |sum: u64, one| sum.saturating_add(one.values()));
        let possible = (1..=PARAMETERS_MAX).contains(&total);
        if possible && parameters.len() <= PARAMETER_NAMES_MAX {
            Ok(parameters)
        } else {
            Err(ModelError::Size)
        }
    }

    /// Length of the flat parameter vector, for data of this schema.
    pub fn parameter_count(&self, schema: &Schema) -> Result<u64, ModelError> {
        Ok(self.parameters(schema)?.iter().map(ParameterSpec::values).sum())
    }
}

/// The digest by which a TorchScript module file is named.
#[must_use]
pub fn module_digest(file: &[u8]) -> Digest {
    Digest::of("roundelay/model/module", &[file])
}

fn linear(name: &str, inputs: u32, outputs: u32) -> Vec<ParameterSpec> {
    pair(name, vec![outputs, inputs], outputs)
}

/// A weight and a bias.
fn pair(name: &str, weight: Vec<u32>, bias: u32) -> Vec<ParameterSpec> {
    vec![
        ParameterSpec { name: format!("{name}.weight"), shape: weight },
        ParameterSpec { name: format!("{name}.bias"), shape: vec![bias] },
    ]
}

fn mlp(hidden: &[u32], schema: &Schema) -> Result<Vec<ParameterSpec>, ModelError> {
    if hidden.is_empty() || hidden.len() > HIDDEN_LAYERS_MAX || hidden.contains(&0) {
        return Err(ModelError::Hidden);
    }
    let inputs = std::iter::once(features(schema)?).chain(hidden.iter().copied());
    let outputs = hidden.iter().copied().chain(std::iter::once(classes(schema)?));
    let layers = inputs.zip(outputs).enumerate();
    Ok(layers.flat_map(|(i, (input, out))| linear(&format!("layers.{i}"), input, out)).collect())
}

fn cnn(channels: [u32; 2], schema: &Schema) -> Result<Vec<ParameterSpec>, ModelError> {
    let Schema::Images { channels: colours, height, width, classes } = *schema else {
        return Err(ModelError::NotImages);
    };
    if height < 4 || width < 4 {
        return Err(ModelError::NotImages);
    }
    if let Some(odd) = channels.iter().find(|n| **n == 0 || !n.is_multiple_of(NORM_GROUPS)) {
        return Err(ModelError::Channels(*odd));
    }
    let [first, second] = channels;
    let flat =
        [height / 4, width / 4].iter().try_fold(second, |flat, side| flat.checked_mul(*side));
    Ok([
        pair("conv1", vec![first, colours, 3, 3], first),
        pair("norm1", vec![first], first),
        pair("conv2", vec![second, first, 3, 3], second),
        pair("norm2", vec![second], second),
        linear("linear", flat.ok_or(ModelError::Size)?, classes),
    ]
    .concat())
}

fn named(parameters: &[ParameterSpec]) -> Result<&[ParameterSpec], ModelError> {
    let mut seen = BTreeSet::new();
    let bad = parameters.iter().position(|ParameterSpec { name, shape }| {
        let shaped = shape.len() <= DIMENSIONS_MAX && !shape.contains(&0);
        let named = (1..=NAME_BYTES_MAX).contains(&name.len()) && is_plain(name);
        !(shaped && named && seen.insert(name))
    });
    bad.map_or(Ok(parameters), |index| Err(ModelError::Parameter(index)))
}

fn features(schema: &Schema) -> Result<u32, ModelError> {
    u32::try_from(schema.feature_count()).map_err(|_| ModelError::Size)
}

fn classes(schema: &Schema) -> Result<u32, ModelError> {
    u32::try_from(schema.class_count()).map_err(|_| ModelError::Size)
}

#[cfg(test)]
mod tests;
