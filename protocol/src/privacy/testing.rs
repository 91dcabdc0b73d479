//! One small promise, for the tests of this crate and of those that depend on it.

use super::{Mechanism, Privacy};

/// Distributed noise as large as one client's contribution, updates of norm 1 at most, and a budget of
/// ε = 8 at δ = 10^-6.
#[must_use]
pub fn privacy() -> Privacy {
    Privacy {
        mechanism: Mechanism::Distributed,
        epsilon: 8.0,
        delta: 1e-6,
        noise_multiplier: 1.0,
        l2_clip: 1.0,
    }
}
