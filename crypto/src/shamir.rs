//! Shamir's secret sharing (CACM 1979) of 32-byte seeds over GF(2^16), in constant time.
//!
//! A seed is 16 field elements (little endian); each is the value at zero of a random polynomial
//! of degree t − 1, and share i is the values at i. Any t shares rebuild the seed, t − 1 say
//! nothing about it. Indices are public; shares and coefficients never steer a branch or an
//! address where secrets are made or joined.

use rand_core::CryptoRng;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::secret::{Secret, Seed};
use field::Row;
pub use verified::combine_verified;
pub use weights::LagrangeWeights;

mod decode;
mod field;
mod verified;
mod weights;

/// How many of how many shares rebuild a secret: 2 ≤ t ≤ n.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    needed: u16,
    shares: u16,
}

impl Threshold {
    /// `needed` (t) of `shares` (n). One of n would hand the secret itself to everybody.
    pub fn new(needed: u16, shares: u16) -> Result<Self, ShamirError> {
        if needed < 2 || needed > shares {
            return Err(ShamirError::Threshold { needed, shares });
        }
        Ok(Self { needed, shares })
    }

    /// t: how many shares rebuild the secret.
    pub fn needed(self) -> u16 {
        self.needed
    }

    /// n: how many shares there are.
    pub fn shares(self) -> u16 {
        self.shares
    }
}

/// Why no secret was rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShamirError {
    /// Not 2 ≤ t ≤ n.
    #[error("a threshold of {needed} of {shares} shares is not between 2 and all of them")]
    Threshold {
        /// t.
        needed: u16,
        /// n.
        shares: u16,
    },
    /// Fewer than t shares.
    #[error("{at_hand} shares are at hand, {needed} are needed")]
    TooFew {
        /// Shares given.
        at_hand: usize,
        /// t.
        needed: u16,
    },
    /// Index zero is where the secret is.
    #[error("no share has the index 0")]
    IndexZero,
    /// One index twice.
    #[error("two shares have the index {0}")]
    DuplicateIndex(u16),
    /// The shares were made for other weights.
    #[error("{at_hand} shares do not fit weights for {indices} indices")]
    OtherIndices {
        /// Shares given.
        at_hand: usize,
        /// Indices of the weights.
        indices: usize,
    },
    /// Wrong shares are among those at hand, more than can be told from right ones.
    #[error("no {needed} of the {at_hand} shares at hand rebuild the secret")]
    NotRebuilt {
        /// Shares given.
        at_hand: usize,
        /// t.
        needed: u16,
    },
}

/// One share. Wiped when dropped.
pub struct Share {
    /// Its place, from 1 to n.
    pub index: u16,
    /// The polynomials' values there.
    pub value: Secret<[u8; 32]>,
}

/// The value wipes itself.
impl ZeroizeOnDrop for Share {}

/// Splits a seed into `threshold.shares()` shares with indices from 1.
pub fn split(
    secret: &Seed,
    threshold: Threshold,
    rng: &mut (impl CryptoRng + ?Sized),
) -> Vec<Share> {
    let mut coefficients: Zeroizing<Vec<Row>> = Zeroizing::new(Vec::new());
    coefficients.reserve_exact(threshold.needed.into());
    let mut bytes = Zeroizing::new([0; 32]);
    for _ in 1..threshold.needed {
        rng.fill_bytes(bytes.as_mut());
        coefficients.push(Row::read(&bytes));
    }
    coefficients.push(Row::read(secret.expose()));
    (1..=threshold.shares).map(|index| share(&coefficients, index)).collect()
}

/// Horner's rule, from the highest coefficient to the secret.
fn share(coefficients: &[Row], index: u16) -> Share {
    let mut value = Row::ZERO;
    for coefficient in coefficients {
        value.scale(index);
        value.add(coefficient);
    }
    Share { index, value: Secret::fill_with(|bytes| value.write(bytes)) }
}

/// Rebuilds the seed from the first `needed` of `shares`. Wrong shares give a wrong seed: check
/// it against its commitment, or use [`combine_verified`].
pub fn combine(shares: &[(u16, &[u8; 32])], needed: u16) -> Result<Seed, ShamirError> {
    let used = first(shares, needed)?;
    let indices: Vec<u16> = used.iter().map(|(index, _)| *index).collect();
    let values: Vec<&[u8; 32]> = used.iter().map(|(_, value)| *value).collect();
    LagrangeWeights::new(&indices)?.combine(&values)
}

fn first<'a, 'b>(
    shares: &'a [(u16, &'b [u8; 32])],
    needed: u16,
) -> Result<&'a [(u16, &'b [u8; 32])], ShamirError> {
    let at_hand = shares.len();
    shares.get(..needed.into()).ok_or(ShamirError::TooFew { at_hand, needed })
}

#[cfg(test)]
mod tests;
