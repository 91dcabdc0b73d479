//! GF(2^16) modulo x^16 + x^12 + x^3 + x + 1, sixteen elements at a time, without tables and
//! without branches on values.

use zeroize::{Zeroize, ZeroizeOnDrop};

/// The modulus without its leading term.
const MODULUS: u16 = 0x100b;

/// All ones where the lowest bit is one, all zeros otherwise.
#[inline(always)]
fn mask(bit: u16) -> u16 {
    (bit & 1).wrapping_neg()
}

/// x · a.
#[inline(always)]
fn double(a: u16) -> u16 {
    (a << 1) ^ (mask(a >> 15) & MODULUS)
}

/// a · b by masked shift and add.
#[inline]
pub(super) fn multiply(a: u16, b: u16) -> u16 {
    let mut product = 0;
    for bit in (0..16).rev() {
        product = double(product) ^ (a & mask(b >> bit));
    }
    product
}

/// 1 / a as a^(2^16 − 2); zero for zero.
pub(super) fn invert(a: u16) -> u16 {
    let mut square = a;
    let mut inverse = 1;
    for _ in 1..16 {
        square = multiply(square, square);
        inverse = multiply(inverse, square);
    }
    inverse
}

/// Sixteen elements: a seed, a share of one, or one coefficient of its sixteen polynomials.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Row([u16; 16]);

impl Row {
    pub(super) const ZERO: Self = Self([0; 16]);

    pub(super) fn read(bytes: &[u8; 32]) -> Self {
        let mut row = Self::ZERO;
        for (element, pair) in row.0.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *element = u16::from_le_bytes(*pair);
        }
        row
    }

    pub(super) fn write(&self, bytes: &mut [u8; 32]) {
        for (pair, element) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            *pair = element.to_le_bytes();
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (a, b) in self.0.iter_mut().zip(other.0) {
            *a ^= b;
        }
    }

    /// Multiplies every element by one factor: [`multiply`] on all lanes at once.
    pub(super) fn scale(&mut self, factor: u16) {
        let mut products = Self::ZERO;
        for bit in (0..16).rev() {
            let mask = mask(factor >> bit);
            for (product, element) in products.0.iter_mut().zip(self.0) {
                *product = double(*product) ^ (element & mask);
            }
        }
        self.0 = products.0;
    }
}
