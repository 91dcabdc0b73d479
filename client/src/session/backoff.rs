//! How long to wait before dialling again: doubling, capped, with full jitter, so that many clients
//! that lost one coordinator do not come back in one wave (Brooker 2015, "Exponential Backoff And
//! Jitter").

use std::time::Duration;

use rand::{Rng, RngExt};

/// The first wait is at most this long.
const FIRST: Duration = Duration::from_millis(200);
/// No wait is longer than this.
const LONGEST: Duration = Duration::from_secs(15);

/// Waits between attempts.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The wait before the next attempt: between half of the current bound and all of it.
    pub fn next(&mut self, rng: &mut impl Rng) -> Duration {
        let bound = FIRST.saturating_mul(1 << self.attempts.min(16)).min(LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        bound.mul_f64(rng.random_range(0.5..=1.0))
    }

    /// Attempts since the last success.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// An attempt succeeded.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_again_after_a_success() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut backoff = Backoff::default();
        for attempt in 0..40 {
            let bound = FIRST.saturating_mul(1 << attempt.min(16)).min(LONGEST);
            let wait = backoff.next(&mut rng);
            assert!(wait >= bound / 2 && wait <= bound, "{attempt}: {wait:?}");
        }
        backoff.reset();
        assert!(backoff.next(&mut rng) <= FIRST);
    }

    #[test]
    fn two_clients_do_not_wait_equally_long() {
        let mut waits: Vec<_> = (0..20)
            .map(|seed| Backoff { attempts: 5 }.next(&mut ChaCha8Rng::seed_from_u64(seed)))
            .collect();
        waits.sort();
        waits.dedup();
        assert_eq!(waits.len(), 20);
    }
}
