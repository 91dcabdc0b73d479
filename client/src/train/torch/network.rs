//! The built-in architectures as functions of their parameters. For softmax and MLP the same flat
//! vector gives the same outputs as plain arithmetic over [`roundelay_protocol::model`]'s order.

use roundelay_protocol::model::{ModelSpec, NORM_GROUPS};
use tch::{CModule, TchError, Tensor};

use crate::data::InputShape;

/// Added to the variance by GroupNorm, PyTorch's default.
const NORM_EPSILON: f64 = 1e-5;

/// What computes scores from inputs.
pub(super) enum Network {
    /// Linear layers with ReLU between them; softmax regression has one.
    Dense,
    /// Two convolutions and a linear layer.
    Convolutional,
    /// A module that holds its parameters itself.
    Script(CModule),
}

impl Network {
    /// The network of a built-in architecture.
    pub(super) fn built_in(spec: &ModelSpec) -> Self {
        match spec {
            ModelSpec::Cnn { .. } => Self::Convolutional,
            _ => Self::Dense,
        }
    }

    /// Scores of each row, `[rows, classes]`.
    pub(super) fn forward(
        &self,
        inputs: &Tensor,
        parameters: &[Tensor],
    ) -> Result<Tensor, TchError> {
        match self {
            Self::Dense => dense(inputs, parameters),
            Self::Convolutional => convolutional(inputs, parameters),
            Self::Script(module) => module.forward_ts(&[inputs]),
        }
    }

    /// Tells layers that behave differently in training, such as dropout.
    pub(super) fn set_training(&mut self, training: bool) -> Result<(), TchError> {
        match self {
            Self::Script(module) if training => module.f_set_train(),
            Self::Script(module) => module.f_set_eval(),
            Self::Dense | Self::Convolutional => Ok(()),
        }
    }
}

/// The dimensions of a batch.
pub(super) fn dimensions(shape: InputShape, rows: usize) -> Vec<i64> {
    let sizes = match shape {
        InputShape::Flat { inputs } => vec![rows, inputs],
        InputShape::Image { channels, height, width } => vec![rows, channels, height, width],
    };
    sizes.into_iter().map(|size| i64::try_from(size).unwrap_or(i64::MAX)).collect()
}

fn dense(inputs: &Tensor, parameters: &[Tensor]) -> Result<Tensor, TchError> {
    let mut values = inputs.f_flatten(1, -1)?;
    for (layer, pair) in parameters.chunks(2).enumerate() {
        if layer > 0 {
            values = values.f_relu()?;
        }
        values = values.f_linear(&pair[0], Some(&pair[1]))?;
    }
    Ok(values)
}

fn convolutional(inputs: &Tensor, parameters: &[Tensor]) -> Result<Tensor, TchError> {
    let (blocks, head) = parameters.split_at(8);
    let mut values = inputs.shallow_clone();
    for block in blocks.chunks(4) {
        values = values
            .f_conv2d(&block[0], Some(&block[1]), [1, 1], [1, 1], [1, 1], 1)?
            .f_group_norm(
                i64::from(NORM_GROUPS),
                Some(&block[2]),
                Some(&block[3]),
                NORM_EPSILON,
                true,
            )?
            .f_relu()?
            .f_max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false)?;
    }
    values.f_flatten(1, -1)?.f_linear(&head[0], Some(&head[1]))
}
