//! Lagrange weights of a set of indices: found once, used for every secret shared over it.

use super::field::{Row, invert, multiply};
use super::{Secret, Seed, ShamirError};

/// The weights that rebuild secrets from shares with given indices, in the given order.
/// Indices are public, so their number and values may steer the work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LagrangeWeights {
    indices: Vec<u16>,
    /// 1 / Π (x_i − x_j), the part that does not depend on where the polynomial is read.
    barycentric: Vec<u16>,
    at_zero: Vec<u16>,
}

impl LagrangeWeights {
    /// The weights for as many shares as there are indices: t of them, all different, none zero.
    pub fn new(indices: &[u16]) -> Result<Self, ShamirError> {
        check_indices(indices)?;
        let barycentric = indices.iter().map(|own| invert(differences(indices, *own))).collect();
        let mut weights = Self { indices: indices.to_vec(), barycentric, at_zero: Vec::new() };
        weights.at_zero = weights.at(0);
        Ok(weights)
    }

    /// The indices, in the order in which [`combine`](Self::combine) wants the shares.
    pub fn indices(&self) -> &[u16] {
        &self.indices
    }

    /// The secret, from the values of the shares in the order of the indices.
    pub fn combine(&self, values: &[&[u8; 32]]) -> Result<Seed, ShamirError> {
        self.check_number(values)?;
        Ok(sum(&self.at_zero, values))
    }

    /// What the share with index `index` must be if these are right.
    pub(super) fn share_at(&self, index: u16, values: &[&[u8; 32]]) -> Result<Seed, ShamirError> {
        self.check_number(values)?;
        Ok(sum(&self.at(index), values))
    }

    /// The weights at `point`, which is none of the indices.
    fn at(&self, point: u16) -> Vec<u16> {
        let product = self.indices.iter().fold(1, |product, x| multiply(product, point ^ x));
        let weight = |(x, w): (&u16, &u16)| multiply(multiply(product, *w), invert(point ^ x));
        self.indices.iter().zip(&self.barycentric).map(weight).collect()
    }

    fn check_number(&self, values: &[&[u8; 32]]) -> Result<(), ShamirError> {
        let (at_hand, indices) = (values.len(), self.indices.len());
        if at_hand == indices {
            Ok(())
        } else {
            Err(ShamirError::OtherIndices { at_hand, indices })
        }
    }
}

/// Refuses zero and repetitions.
pub(super) fn check_indices(indices: &[u16]) -> Result<(), ShamirError> {
    let mut sorted = indices.to_vec();
    sorted.sort_unstable();
    if sorted.first() == Some(&0) {
        return Err(ShamirError::IndexZero);
    }
    match sorted.array_windows().find(|[a, b]| a == b) {
        Some([twice, _]) => Err(ShamirError::DuplicateIndex(*twice)),
        None => Ok(()),
    }
}

/// Π (own − x_j) over the other indices; minus is plus in this field.
fn differences(indices: &[u16], own: u16) -> u16 {
    indices.iter().filter(|x| **x != own).fold(1, |product, x| multiply(product, own ^ x))
}

fn sum(weights: &[u16], values: &[&[u8; 32]]) -> Seed {
    let mut total = Row::ZERO;
    for (weight, value) in weights.iter().zip(values) {
        let mut term = Row::read(value);
        term.scale(*weight);
        total.add(&term);
    }
    Secret::fill_with(|bytes| total.write(bytes))
}
