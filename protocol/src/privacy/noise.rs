//! Random integers from a seed: uniform, Poisson, Skellam and rounded Gaussian ones.
//!
//! The bits are an AES-256-CTR keystream. What follows them is floating-point arithmetic, so the
//! distributions are not exact: uniform numbers are odd multiples of 2^-53, a density is computed to a
//! relative error of about 1e-13 (Loader 2000), and what is rarer than about 2^-53 is never drawn.
//! What is drawn are integers without gaps, so the gaps between floating-point numbers that break
//! naive samplers (Mironov 2012) have no place here; the error is not part of δ.

use roundelay_crypto::mask::{MaskKey, Masks, Ring, Sign};
use roundelay_crypto::secret::{Secret, Seed};

/// Bytes of the keystream that are computed at a time.
const BUFFER: usize = 4 * 1024;

/// Bits from a seed. One seed serves one purpose.
pub(crate) struct Bits {
    keystream: Masks,
    buffer: Secret<[u8; BUFFER]>,
    used: usize,
    offset: u64,
}

impl Bits {
    pub(crate) fn new(seed: Seed) -> Self {
        let keystream = Masks::new(&[MaskKey { seed, sign: Sign::Plus }]);
        Self { keystream, buffer: Secret::fill_with(|_| {}), used: BUFFER, offset: 0 }
    }

    fn word(&mut self) -> u64 {
        if self.used == BUFFER {
            let (keystream, offset) = (&self.keystream, self.offset);
            self.buffer = Secret::fill_with(|bytes| keystream.add(bytes, Ring::Z64, offset));
            self.offset += BUFFER as u64;
            self.used = 0;
        }
        let word = self.buffer.expose().get(self.used..).and_then(|rest| rest.first_chunk());
        self.used += 8;
        word.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// Uniform in (0, 1): 52 bits and a half, which is never rounded up to 1.
    pub(crate) fn unit(&mut self) -> f64 {
        ((self.word() >> 12) as f64 + 0.5) / 4_503_599_627_370_496.0
    }

    /// The lower or the upper neighbour of a real number, so that the mean is the number.
    pub(crate) fn round(&mut self, value: f64) -> f64 {
        let floor = value.floor();
        if self.unit() < value - floor { floor + 1.0 } else { floor }
    }

    /// A Gaussian number of deviation 1 (Marsaglia's polar method).
    pub(crate) fn gaussian(&mut self) -> f64 {
        loop {
            let (x, y) = (2.0 * self.unit() - 1.0, 2.0 * self.unit() - 1.0);
            let square = x * x + y * y;
            if square < 1.0 {
                return x * (-2.0 * square.ln() / square).sqrt();
            }
        }
    }
}

/// The difference of two Poisson variables: mean 0, and the variance that it is made for.
pub(crate) struct Skellam(Poisson);

impl Skellam {
    /// For a variance of at most [`VARIANCE_MAX`].
    pub(crate) fn new(variance: f64) -> Self {
        Self(Poisson::new(variance / 2.0))
    }

    pub(crate) fn draw(&self, bits: &mut Bits) -> i64 {
        whole(self.0.draw(bits) - self.0.draw(bits))
    }
}

/// Up to here every integer that is drawn is an exact `f64`.
pub(crate) const VARIANCE_MAX: f64 = 1_125_899_906_842_624.0;

/// An integer below 2^53 in magnitude.
#[expect(clippy::cast_possible_truncation, reason = "a whole number far below 2^63")]
pub(crate) fn whole(value: f64) -> i64 {
    value as i64
}

/// Poisson variables of one mean.
struct Poisson {
    mean: f64,
    /// e^-mean, for small means.
    none: f64,
    a: f64,
    b: f64,
    inverse_alpha: f64,
    accepted: f64,
}

/// Below this mean uniform numbers are multiplied, from it on candidates are rejected.
const SMALL_MEAN: f64 = 10.0;

impl Poisson {
    fn new(mean: f64) -> Self {
        let b = 0.931 + 2.53 * mean.sqrt();
        Self {
            mean,
            none: (-mean).exp(),
            a: -0.059 + 0.024_83 * b,
            b,
            inverse_alpha: 1.1239 + 1.1328 / (b - 3.4),
            accepted: 0.9277 - 3.6224 / (b - 2.0),
        }
    }

    fn draw(&self, bits: &mut Bits) -> f64 {
        if self.mean < SMALL_MEAN { self.multiply(bits) } else { self.reject(bits) }
    }

    /// Knuth's method: how many uniform numbers can be multiplied before the product falls below
    /// e^-mean.
    fn multiply(&self, bits: &mut Bits) -> f64 {
        let (mut product, mut count) = (bits.unit(), 0.0);
        while product > self.none {
            product *= bits.unit();
            count += 1.0;
        }
        count
    }

    /// Transformed rejection with squeeze: PTRS (Hörmann 1993).
    fn reject(&self, bits: &mut Bits) -> f64 {
        loop {
            let (u, v) = (bits.unit() - 0.5, bits.unit());
            let distance = 0.5 - u.abs();
            let count = ((2.0 * self.a / distance + self.b) * u + self.mean + 0.43).floor();
            if distance >= 0.07 && v <= self.accepted {
                return count;
            }
            if count < 0.0 || (distance < 0.013 && v > distance) {
                continue;
            }
            let hat = v * self.inverse_alpha / (self.a / (distance * distance) + self.b);
            if hat.ln() <= self.log_probability(count) {
                return count;
            }
        }
    }

    /// ln of mean^k·e^-mean/k!, without the cancellation of its large terms (Loader 2000).
    fn log_probability(&self, count: f64) -> f64 {
        if count < 16.0 {
            let mut factorial = 1.0;
            let mut factor = 2.0;
            while factor <= count {
                factorial *= factor;
                factor += 1.0;
            }
            return count * self.mean.ln() - self.mean - f64::ln(factorial);
        }
        let root = 0.5 * (std::f64::consts::TAU * count).ln();
        -deviance(count, self.mean) - stirling_error(count) - root
    }
}

/// x·ln(x/mean) + mean − x, also where x is close to the mean.
fn deviance(x: f64, mean: f64) -> f64 {
    let (difference, sum) = (x - mean, x + mean);
    if difference.abs() >= 0.1 * sum {
        return x * (x / mean).ln() - difference;
    }
    let ratio = difference / sum;
    let mut total = difference * ratio;
    let mut term = 2.0 * x * ratio;
    let mut divisor = 3.0;
    loop {
        term *= ratio * ratio;
        let next = total + term / divisor;
        if next.to_bits() == total.to_bits() {
            return total;
        }
        (total, divisor) = (next, divisor + 2.0);
    }
}

/// ln(n!) less Stirling's approximation of it, for n of at least 16.
fn stirling_error(n: f64) -> f64 {
    let square = n * n;
    let tail = 1.0 / 1260.0 - (1.0 / 1680.0 - 1.0 / (1188.0 * square)) / square;
    (1.0 / 12.0 - (1.0 / 360.0 - tail / square) / square) / n
}

#[cfg(test)]
mod tests;
