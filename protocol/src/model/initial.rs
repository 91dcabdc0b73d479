//! The initial model: drawn from the manifest's seed, the same bits on every platform.

use roundelay_crypto::digest::Digest;
use roundelay_crypto::mask::{MaskKey, Ring, Sign, add_masks};
use roundelay_crypto::secret::Secret;

use super::{ModelError, ModelSpec, ParameterSpec};
use crate::manifest::Task;

/// Model 0 of a task, flat. `None` for a TorchScript module, whose file holds its own.
///
/// Weights and biases of linear and convolutional layers are uniform within ±1/√(inputs of a
/// unit), as `torch.nn.Linear` and `Conv2d` draw them; normalisations start as the identity. The
/// draws are the 32-bit words of an AES-256-CTR keystream under a key from the seed: the top 24
/// bits of word i make value i of the flat vector.
pub fn initial(task: &Task) -> Result<Option<Vec<f32>>, ModelError> {
    let seed = match &task.model {
        ModelSpec::Softmax { seed } | ModelSpec::Mlp { seed, .. } | ModelSpec::Cnn { seed, .. } => {
            *seed
        }
        ModelSpec::TorchScript { .. } => return Ok(None),
    };
    let parameters = task.model.parameters(&task.schema)?;
    let total = parameters.iter().map(ParameterSpec::values).sum::<u64>();
    let mut model = Vec::with_capacity(usize::try_from(total).map_err(|_| ModelError::Size)?);
    let mut words = draws(seed);
    for [weight, bias] in parameters.as_chunks().0 {
        let drawn = words.by_ref().take(size(weight) + size(bias));
        match weight.shape.as_slice() {
            [] | [_] => model.extend(drawn.enumerate().map(|(i, _)| identity(i < size(weight)))),
            [_, inputs @ ..] => {
                let inputs = inputs.iter().fold(1.0, |n: f32, side| n * *side as f32);
                let bound = 1.0 / inputs.sqrt();
                model.extend(drawn.map(|word| bound * unit(word)));
            }
        }
    }
    Ok(Some(model))
}

/// A normalisation's weights are 1, its biases 0.
fn identity(weight: bool) -> f32 {
    if weight { 1.0 } else { 0.0 }
}

fn size(parameter: &ParameterSpec) -> usize {
    usize::try_from(parameter.values()).unwrap_or(usize::MAX)
}

/// Uniform in [−1, 1): a multiple of 2^-23 from the top 24 bits, exactly.
fn unit(word: u32) -> f32 {
    (word >> 8) as f32 / 8_388_608.0 - 1.0
}

/// The key of the draws.
pub(crate) fn initial_key(seed: u64) -> Digest {
    Digest::of("roundelay/model/initial", &[&seed.to_le_bytes()])
}

/// The keystream word by word: a long model is not there twice.
fn draws(seed: u64) -> impl Iterator<Item = u32> {
    const PIECE_BYTES: usize = 64 << 10;
    let keys = [MaskKey { seed: Secret::new(initial_key(seed).0), sign: Sign::Plus }];
    (0_u64..).step_by(PIECE_BYTES).flat_map(move |offset| {
        let mut bytes = vec![0; PIECE_BYTES];
        add_masks(&mut bytes, Ring::Z32, &keys, offset);
        let words: Vec<u32> =
            bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
        words
    })
}
