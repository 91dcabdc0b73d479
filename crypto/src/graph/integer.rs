//! Natural numbers of any size, as far as the tails of `sparse` need them: products with and
//! quotients by small factors, sums, comparisons.

use std::cmp::Ordering;

/// A natural number in limbs of 32 bits, lowest first, without zeros on top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Natural(Vec<u32>);

impl Natural {
    pub(super) fn one() -> Self {
        Self(vec![1])
    }

    pub(super) fn zero() -> Self {
        Self(Vec::new())
    }

    /// The number of ways to choose `chosen` of `all`; none where there are fewer.
    pub(super) fn binomial(all: u32, chosen: u32) -> Self {
        if chosen > all {
            return Self::zero();
        }
        let mut ways = Self::one();
        for done in 0..chosen {
            // After this step it is the number of ways to choose `done` + 1: no remainder.
            ways.multiply(all - done);
            ways.divide(done + 1);
        }
        ways
    }

    pub(super) fn multiply(&mut self, factor: u32) {
        let mut carry = 0;
        for limb in &mut self.0 {
            let product = u64::from(*limb) * u64::from(factor) + carry;
            *limb = low(product);
            carry = product >> 32;
        }
        self.push(carry);
        self.trim();
    }

    /// The quotient, rounded down where there is a remainder.
    pub(super) fn divide(&mut self, divisor: u32) {
        let mut rest = 0;
        for limb in self.0.iter_mut().rev() {
            let part = rest << 32 | u64::from(*limb);
            *limb = low(part / u64::from(divisor));
            rest = part % u64::from(divisor);
        }
        self.trim();
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        let mut carry = 0;
        let others = other.0.iter().copied().chain(std::iter::repeat(0));
        for (limb, other) in self.0.iter_mut().zip(others) {
            let sum = u64::from(*limb) + u64::from(other) + carry;
            *limb = low(sum);
            carry = sum >> 32;
        }
        self.push(carry);
    }

    /// Times 2^`bits`.
    pub(super) fn double(&mut self, bits: u32) {
        self.multiply(1 << (bits % 32));
        if !self.0.is_empty() {
            let limbs = usize::try_from(bits / 32).unwrap_or(0);
            self.0.splice(0..0, std::iter::repeat_n(0, limbs));
        }
    }

    /// The quotient by 2^`bits`, rounded down.
    pub(super) fn halve(&mut self, bits: u32) {
        let limbs = usize::try_from(bits / 32).unwrap_or(0);
        self.0.drain(..limbs.min(self.0.len()));
        self.divide(1 << (bits % 32));
    }

    fn push(&mut self, carry: u64) {
        if carry > 0 {
            self.0.push(low(carry));
        }
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }
}

impl PartialOrd for Natural {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Natural {
    fn cmp(&self, other: &Self) -> Ordering {
        let lengths = self.0.len().cmp(&other.0.len());
        lengths.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }
}

/// The lower limb.
#[expect(clippy::cast_possible_truncation, reason = "the upper limb is the carry")]
fn low(double: u64) -> u32 {
    double as u32
}

#[cfg(test)]
mod tests;
