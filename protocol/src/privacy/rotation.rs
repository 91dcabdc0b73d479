//! The randomised Hadamard rotation: a vector's energy is spread evenly over its coordinates, so that
//! none of them needs more of the ring than the others (Suresh et al. 2017, §3).
//!
//! In each block of m words: y = H·D·x/√m with the Hadamard matrix H and a diagonal D of random signs;
//! x = D·H·y/√m undoes it. The signs are public: bits of the AES-256-CTR keystream under a key from the
//! state that a round starts from. They serve accuracy alone, privacy holds whatever they are.
//!
//! Every party computes the same bits: sums of `f32` in the order of the fast transform, and one
//! product each with a sign and with 1/√m. The rounding error of a transform is at most
//! 2^-24·(log2 m + 2) of the block's L2 norm in L2 norm.

use roundelay_crypto::digest::Digest;
use roundelay_crypto::mask::{MaskKey, Ring, Sign, add_masks};
use roundelay_crypto::secret::Secret;

/// Words of a whole block.
pub const BLOCK_WORDS: usize = 1 << 20;
const BLOCK: u64 = BLOCK_WORDS as u64;
/// Words of the last block at least, where it is not the only one: the fewer words share a block's
/// energy, the more of the ring each of them needs.
const LAST_BLOCK_MIN: u64 = 1 << 17;

/// The words that so many coordinates become: whole blocks, and a last one padded to a power of two.
#[must_use]
pub fn padded(coordinates: u64) -> Option<u64> {
    let whole = coordinates / BLOCK * BLOCK;
    whole.checked_add(last_block(coordinates))
}

/// Words of the last block, 0 where whole ones are all.
fn last_block(coordinates: u64) -> u64 {
    let least = if coordinates < BLOCK { 1 } else { LAST_BLOCK_MIN };
    match coordinates % BLOCK {
        0 => 0,
        rest => rest.next_power_of_two().max(least),
    }
}

/// Words of the smallest block.
#[must_use]
pub fn smallest_block(coordinates: u64) -> u64 {
    match last_block(coordinates) {
        0 => BLOCK,
        last => last,
    }
}

/// The signs of a round, from the state that it starts from.
#[derive(Debug)]
pub struct Rotation {
    key: Digest,
}

impl Rotation {
    /// The rotation of the round that starts from the state of this hash.
    #[must_use]
    pub fn from_state(state: &Digest) -> Self {
        Self { key: Digest::of("roundelay/privacy/rotation", &[&state.0]) }
    }

    /// Rotates whole words of [`padded`] in place.
    pub fn apply(&self, words: &mut [f32]) {
        for (number, block) in blocks(words).enumerate() {
            self.flip(number, block);
            transform(block);
        }
    }

    /// Undoes [`apply`](Self::apply) for one block, the block of this number.
    pub fn undo(&self, number: usize, block: &mut [f32]) {
        transform(block);
        self.flip(number, block);
    }

    /// Bit i of a block's keystream is the sign of its word i.
    fn flip(&self, number: usize, block: &mut [f32]) {
        let offset = number as u64 * (BLOCK / 8);
        let mut bits = vec![0; block.len().div_ceil(128) * 16];
        let keys = [MaskKey { seed: Secret::new(self.key.0), sign: Sign::Plus }];
        add_masks(&mut bits, Ring::Z64, &keys, offset);
        for (words, bits) in block.chunks_mut(8).zip(&bits) {
            for (bit, word) in words.iter_mut().enumerate() {
                let sign = u32::from(bits >> bit & 1) << 31;
                *word = f32::from_bits(word.to_bits() ^ sign);
            }
        }
    }
}

/// Whole blocks, then what is left.
fn blocks(words: &mut [f32]) -> impl Iterator<Item = &mut [f32]> {
    words.chunks_mut(BLOCK_WORDS)
}

/// H·x/√m, for m a power of two.
fn transform(block: &mut [f32]) {
    let mut half = 1;
    while half < block.len() {
        for pair in block.chunks_exact_mut(2 * half) {
            let (one, other) = pair.split_at_mut(half);
            for (one, other) in one.iter_mut().zip(other) {
                (*one, *other) = (*one + *other, *one - *other);
            }
        }
        half *= 2;
    }
    let scale = narrow(1.0 / (block.len() as f64).sqrt());
    block.iter_mut().for_each(|word| *word *= scale);
}

#[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest f32, as stated")]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn norm(values: &[f32]) -> f64 {
        values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
    }

    fn rotation() -> Rotation {
        Rotation::from_state(&Digest([7; 32]))
    }

    #[test]
    fn coordinates_are_padded_to_whole_blocks_and_a_power_of_two() {
        let cases = [
            (1, 1, 1),
            (10, 16, 16),
            (1 << 20, 1 << 20, 1 << 20),
            ((1 << 20) + 1, (1 << 20) + (1 << 17), 1 << 17),
            ((1 << 21) - 1, 1 << 21, 1 << 20),
            ((1 << 20) + 200_000, (1 << 20) + (1 << 18), 1 << 18),
        ];
        for (coordinates, words, smallest) in cases {
            assert_eq!(padded(coordinates), Some(words));
            assert_eq!(smallest_block(coordinates), smallest);
        }
    }

    #[test]
    fn each_block_has_signs_of_its_own_and_one_coordinate_is_spread_over_its_block() {
        let mut words = vec![0.0; (1 << 20) + (1 << 17)];
        words[3] = 1.0;
        words[(1 << 20) + 3] = 1.0;
        let unrotated = words.clone();
        rotation().apply(&mut words);
        let (first, second) = words.split_at(1 << 20);
        assert!(first.iter().all(|word| word.abs() == 1.0 / 1024.0));
        assert!(second.iter().all(|word| (word.abs() - 1.0 / 362.038_67).abs() < 1e-6));
        blocks(&mut words).enumerate().for_each(|(number, block)| rotation().undo(number, block));
        let error: Vec<f32> = words.iter().zip(&unrotated).map(|(a, b)| a - b).collect();
        assert!(norm(&error) < 1e-5);
    }

    #[test]
    fn the_signs_are_as_often_plus_as_minus_and_change_with_the_state() {
        let mut one = vec![1.0; 4096];
        let mut other = one.clone();
        rotation().flip(0, &mut one);
        Rotation::from_state(&Digest([8; 32])).flip(0, &mut other);
        let plus = one.iter().filter(|word| **word > 0.0).count();
        assert!((1900..2200).contains(&plus));
        let same = one.iter().zip(&other).filter(|(a, b)| a == b).count();
        assert!((1900..2200).contains(&same));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_rotation_keeps_norms_and_is_undone_within_its_stated_error(
            bits in 0_u32..10,
            values in proptest::collection::vec(-1e3_f32..1e3, 1024),
        ) {
            let mut words = values[..1 << bits].to_vec();
            let before = norm(&words);
            rotation().apply(&mut words);
            let stated = before * 2_f64.powi(-24) * f64::from(bits + 2);
            prop_assert!((norm(&words) - before).abs() <= stated);
            rotation().undo(0, &mut words);
            let error: Vec<f32> = words.iter().zip(&values).map(|(a, b)| a - b).collect();
            prop_assert!(norm(&error) <= 2.0 * stated);
        }
    }
}
