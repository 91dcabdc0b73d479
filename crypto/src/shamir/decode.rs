//! Finding wrong shares by algebra: Gao's decoder for Reed-Solomon codes (S. Gao, "A new
//! algorithm for decoding Reed-Solomon codes", 2003), quadratic in the number of shares.
//!
//! Shares of one secret are sixteen codewords whose errors stand at the same places. They are
//! decoded one after the other, and what one shows to be wrong is left out of the next. The
//! running time depends on the shares' values: this runs only where they are being opened
//! anyway, after the plain way has failed.

use super::field::{invert, multiply};

/// The positions of shares that lie on one polynomial of degree < `needed` per element, or
/// nothing where more than (m − t) / 2 of the m shares are wrong.
pub(super) fn consistent(shares: &[(u16, &[u8; 32])], needed: usize) -> Option<Vec<usize>> {
    let mut left: Vec<usize> = (0..shares.len()).collect();
    for element in 0..16 {
        let point = |position: &usize| {
            let (index, value) = shares.get(*position)?;
            let pair = value.as_chunks::<2>().0.get(element)?;
            Some((*index, u16::from_le_bytes(*pair)))
        };
        let points: Vec<(u16, u16)> = left.iter().filter_map(point).collect();
        let polynomial = decode(&points, needed)?;
        let mut right = points.iter().map(|(x, y)| polynomial.evaluate(*x) == *y);
        left.retain(|_| right.next() == Some(true));
    }
    Some(left)
}

/// The polynomial of degree < `needed` that all but (m − t) / 2 of the points lie on.
fn decode(points: &[(u16, u16)], needed: usize) -> Option<Polynomial> {
    let (mut upper, mut lower) = vanishing_and_interpolated(points);
    let (mut upper_factor, mut lower_factor) = (Polynomial::zero(), Polynomial::one());
    // The degree at which the remainders of Euclid's algorithm are error locator times message.
    while lower.degree().is_some_and(|degree| 2 * degree >= points.len() + needed) {
        let (quotient, remainder) = upper.divide(&lower)?;
        let factor = upper_factor.plus(&quotient.times(&lower_factor));
        (upper, lower) = (lower, remainder);
        (upper_factor, lower_factor) = (lower_factor, factor);
    }
    let (message, remainder) = lower.divide(&lower_factor)?;
    let small = message.degree().is_none_or(|degree| degree < needed);
    (small && remainder.degree().is_none()).then_some(message)
}

/// Π (x − x_i), and the polynomial of degree < m through all points (Newton).
fn vanishing_and_interpolated(points: &[(u16, u16)]) -> (Polynomial, Polynomial) {
    let (mut vanishing, mut through) = (Polynomial::one(), Polynomial::zero());
    for (x, y) in points {
        let missing = y ^ through.evaluate(*x);
        let slope = multiply(missing, invert(vanishing.evaluate(*x)));
        through = through.plus(&vanishing.scaled(slope));
        vanishing = vanishing.times_root(*x);
    }
    (vanishing, through)
}

/// Coefficients from the constant one upwards; the last one is not zero.
#[derive(Clone)]
struct Polynomial(Vec<u16>);

impl Polynomial {
    fn zero() -> Self {
        Self(Vec::new())
    }

    fn one() -> Self {
        Self(vec![1])
    }

    fn trimmed(mut coefficients: Vec<u16>) -> Self {
        while coefficients.last() == Some(&0) {
            coefficients.pop();
        }
        Self(coefficients)
    }

    fn degree(&self) -> Option<usize> {
        self.0.len().checked_sub(1)
    }

    fn evaluate(&self, x: u16) -> u16 {
        self.0.iter().rev().fold(0, |value, coefficient| multiply(value, x) ^ coefficient)
    }

    fn scaled(&self, factor: u16) -> Self {
        Self::trimmed(self.0.iter().map(|c| multiply(*c, factor)).collect())
    }

    fn plus(&self, other: &Self) -> Self {
        let length = self.0.len().max(other.0.len());
        let mut sum = self.0.clone();
        sum.resize(length, 0);
        sum.iter_mut().zip(&other.0).for_each(|(a, b)| *a ^= b);
        Self::trimmed(sum)
    }

    /// Times x^shift · factor.
    fn shifted(&self, shift: usize, factor: u16) -> Self {
        let mut coefficients = vec![0; shift];
        coefficients.extend(self.scaled(factor).0);
        Self::trimmed(coefficients)
    }

    /// Times (x − root).
    fn times_root(&self, root: u16) -> Self {
        self.shifted(1, 1).plus(&self.scaled(root))
    }

    fn times(&self, other: &Self) -> Self {
        let terms = self.0.iter().enumerate();
        terms.fold(Self::zero(), |sum, (power, factor)| sum.plus(&other.shifted(power, *factor)))
    }

    /// Quotient and remainder; nothing for division by zero.
    fn divide(&self, divisor: &Self) -> Option<(Self, Self)> {
        let (degree, inverse) = (divisor.degree()?, invert(*divisor.0.last()?));
        let (mut quotient, mut remainder) = (Self::zero(), self.clone());
        while let (Some(top), Some(last)) = (remainder.degree(), remainder.0.last()) {
            let Some(shift) = top.checked_sub(degree) else { break };
            let factor = multiply(*last, inverse);
            quotient = quotient.plus(&Self::one().shifted(shift, factor));
            remainder = remainder.plus(&divisor.shifted(shift, factor));
        }
        Some((quotient, remainder))
    }
}
