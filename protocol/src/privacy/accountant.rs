//! The accountant: Rényi differential privacy over a fixed grid of orders (Mironov 2017), which adds
//! up over rounds, and its conversion to (ε, δ).
//!
//! The orders and the conversion are those of Google's dp-accounting: its `RdpAccountant` gives the
//! same ε within 1 %, which a frozen grid holds (`tests/vectors/privacy`). Logarithms differ in their
//! last bits between platforms, and with them two accountants by less than [`SLACK`].

use serde::{Deserialize, Serialize};

/// How far ε may lie above a budget and still count as within it: two sides compute it on different
/// machines.
pub const SLACK: f64 = 1e-9;

/// The orders α at which divergences are kept: 1.1 to 10.9 in tenths, 11 to 63, 128, 256, 512, 1024.
pub fn orders() -> impl Iterator<Item = f64> {
    let tenths = (1..100).map(|tenths| 1.0 + f64::from(tenths) / 10.0);
    let whole = (11..64).chain([128, 256, 512, 1024]).map(f64::from);
    tenths.chain(whole)
}

/// Number of [`orders`].
const ORDERS: usize = 156;

/// Rényi divergences at each of the [`orders`], in nats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curve(Vec<f64>);

impl Default for Curve {
    /// Nothing released yet.
    fn default() -> Self {
        Self(vec![0.0; ORDERS])
    }
}

impl Curve {
    fn at_orders(divergence: impl Fn(f64) -> f64) -> Self {
        Self(orders().map(divergence).collect())
    }

    /// Of Gaussian noise whose deviation is `z` times the L2 sensitivity: α/(2z²) (Mironov 2017,
    /// proposition 7).
    #[must_use]
    pub fn gaussian(z: f64) -> Self {
        Self::at_orders(|order| order / (2.0 * z * z))
    }

    /// Of Skellam noise of variance μ in each integer coordinate, for contributions that differ by
    /// at most Δ2 in L2 norm and Δ1 in L1 norm (Agarwal, Kairouz, Liu 2021, theorem 3.5):
    ///
    /// ε(α) ≤ α·Δ2²/(2μ) + min( ((2α − 1)·Δ2² + 6·Δ1)/(4μ²), 3·Δ1/(2μ) )
    ///
    /// The theorem is for whole orders: a divergence never falls with its order, so that of the next
    /// whole one bounds it. Skellam variables add up to Skellam variables, so it holds for the sum of
    /// the noise of many clients.
    #[must_use]
    pub fn skellam(l1: f64, l2: f64, variance: f64) -> Self {
        let squared = l2 * l2;
        Self::at_orders(|order| {
            let order = order.ceil();
            let near = ((2.0 * order - 1.0) * squared + 6.0 * l1) / (4.0 * variance * variance);
            let far = 3.0 * l1 / (2.0 * variance);
            order * squared / (2.0 * variance) + near.min(far)
        })
    }

    /// The same release so many times.
    #[must_use]
    pub fn times(&self, count: u64) -> Self {
        Self(self.0.iter().map(|divergence| divergence * count as f64).collect())
    }

    /// Two releases over the same data: their divergences add up.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(one, other)| one + other).collect())
    }

    /// The least ε that the curve proves for a δ (Canonne, Kamath, Steinke 2020, proposition 12),
    /// over all orders. Infinite where no order proves any.
    #[must_use]
    pub fn epsilon(&self, delta: f64) -> f64 {
        let proved = orders().zip(&self.0).map(|(order, divergence)| {
            if delta * delta + (-divergence).exp_m1() > 0.0 {
                return 0.0;
            }
            let gap = (-1.0 / order).ln_1p() - (delta * order).ln() / (order - 1.0);
            (divergence + gap).max(0.0)
        });
        proved.fold(f64::INFINITY, f64::min)
    }

    /// How many releases of a kind a budget pays on top of this, at most `most`.
    #[must_use]
    pub fn affordable(&self, release: &Self, epsilon: f64, delta: f64, most: u64) -> u64 {
        let pays = |count: u64| within(self.and(&release.times(count)).epsilon(delta), epsilon);
        let (mut paid, mut refused) = (0, most.saturating_add(1));
        while refused - paid > 1 {
            let middle = paid + (refused - paid) / 2;
            if pays(middle) { paid = middle } else { refused = middle }
        }
        paid
    }
}

/// Whether a budget covers what was spent, up to [`SLACK`].
#[must_use]
pub fn within(spent: f64, budget: f64) -> bool {
    spent <= budget * (1.0 + SLACK)
}

#[cfg(test)]
mod tests;
