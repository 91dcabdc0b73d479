//! What an evaluation adds up to, on one client's held-out rows or over all survivors.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// Sums over evaluated rows; those of several clients add up.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Metrics {
    /// Rows evaluated.
    pub rows: u64,
    /// Rows whose most likely class is theirs.
    pub correct: u64,
    /// Sum of the rows' cross-entropy, in nats.
    pub loss_sum: f64,
}

impl Metrics {
    /// The share of rows classified correctly, 0 to 1; 0 without rows.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.rows.max(1) as f64
    }

    /// The mean cross-entropy of a row, in nats; 0 without rows.
    #[must_use]
    pub fn loss(&self) -> f64 {
        self.loss_sum / self.rows.max(1) as f64
    }
}

impl AddAssign for Metrics {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.correct += other.correct;
        self.loss_sum += other.loss_sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_add_up_and_are_divided_once() {
        let mut all = Metrics { rows: 3, correct: 3, loss_sum: 0.5 };
        all += Metrics { rows: 1, correct: 0, loss_sum: 1.5 };
        assert_eq!((all.accuracy(), all.loss()), (0.75, 0.5));
        assert_eq!((Metrics::default().accuracy(), Metrics::default().loss()), (0.0, 0.0));
    }
}
