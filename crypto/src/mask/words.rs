//! Words of a ring added to words of a ring.

use super::{Ring, Sign};

/// Adds `words` to `accumulator`, both little-endian words of `ring`.
///
/// # Panics
/// If the two differ in length or are not whole numbers of words.
pub fn add_words(accumulator: &mut [u8], ring: Ring, words: &[u8]) {
    assert_same_words(accumulator, ring, words);
    apply(accumulator, ring, words, Sign::Plus);
}

/// Subtracts `words` from `accumulator`, both little-endian words of `ring`.
///
/// # Panics
/// If the two differ in length or are not whole numbers of words.
pub fn sub_words(accumulator: &mut [u8], ring: Ring, words: &[u8]) {
    assert_same_words(accumulator, ring, words);
    apply(accumulator, ring, words, Sign::Minus);
}

fn assert_same_words(accumulator: &[u8], ring: Ring, words: &[u8]) {
    assert_eq!(accumulator.len(), words.len(), "vectors of one length are added");
    assert!(words.len().is_multiple_of(ring.bytes()), "whole words are added");
}

/// Adds or subtracts `mask`, as long as `words`.
pub(super) fn apply(words: &mut [u8], ring: Ring, mask: &[u8], sign: Sign) {
    match (ring, sign) {
        (Ring::Z16, Sign::Plus) => {
            zip(words, mask, u16::from_le_bytes, u16::wrapping_add, u16::to_le_bytes)
        }
        (Ring::Z16, Sign::Minus) => {
            zip(words, mask, u16::from_le_bytes, u16::wrapping_sub, u16::to_le_bytes)
        }
        (Ring::Z32, Sign::Plus) => {
            zip(words, mask, u32::from_le_bytes, u32::wrapping_add, u32::to_le_bytes)
        }
        (Ring::Z32, Sign::Minus) => {
            zip(words, mask, u32::from_le_bytes, u32::wrapping_sub, u32::to_le_bytes)
        }
        (Ring::Z64, Sign::Plus) => {
            zip(words, mask, u64::from_le_bytes, u64::wrapping_add, u64::to_le_bytes)
        }
        (Ring::Z64, Sign::Minus) => {
            zip(words, mask, u64::from_le_bytes, u64::wrapping_sub, u64::to_le_bytes)
        }
    }
}

#[inline(always)]
fn zip<const N: usize, W>(
    words: &mut [u8],
    others: &[u8],
    read: impl Fn([u8; N]) -> W,
    combine: impl Fn(W, W) -> W,
    write: impl Fn(W) -> [u8; N],
) {
    let (words, _) = words.as_chunks_mut::<N>();
    let (others, _) = others.as_chunks::<N>();
    for (word, other) in words.iter_mut().zip(others) {
        *word = write(combine(read(*word), read(*other)));
    }
}
