//! How long to wait before dialling again: doubling, capped, with jitter, so that many clients that
//! lost one coordinator do not come back in one wave (Brooker 2015, "Exponential Backoff And Jitter").
//!
//! Where nobody answers, trying again costs nobody anything, and the cap is low: a coordinator that
//! is back has its clients back within seconds, however long it was away. Where it answers and does
//! not take this client in, as under load, each try costs it, and the cap is high. The two are counted
//! apart, so that a client that waited for a coordinator to come back is not the last in the crowd.

use std::time::Duration;

use rand::{Rng, RngExt};

/// The first wait is at most this long.
const FIRST: Duration = Duration::from_millis(200);
/// No wait is longer than this where nobody answers; a dial itself takes its handshake's deadline.
const LONGEST_UNANSWERED: Duration = Duration::from_secs(2);
/// No wait is longer than this where the coordinator answers.
const LONGEST_ANSWERED: Duration = Duration::from_secs(15);

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// There was silence.
    Unanswered,
    /// The coordinator, or what is there in its place, answered.
    Answered,
}

/// Waits between attempts.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    unanswered: u32,
    answered: u32,
}

impl Backoff {
    /// The wait before the next attempt: between half of the current bound and all of it.
    pub fn next(&mut self, failure: Failure, rng: &mut impl Rng) -> Duration {
        let (attempts, longest) = match failure {
            Failure::Unanswered => (&mut self.unanswered, LONGEST_UNANSWERED),
            Failure::Answered => (&mut self.answered, LONGEST_ANSWERED),
        };
        let bound = FIRST.saturating_mul(1 << (*attempts).min(16)).min(longest);
        *attempts = attempts.saturating_add(1);
        bound.mul_f64(rng.random_range(0.5..=1.0))
    }

    /// Attempts since the last success.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.unanswered.saturating_add(self.answered)
    }

    /// An attempt succeeded.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    use super::*;

    /// Waits that follow each other keep to these bounds, in milliseconds; the last one goes on.
    fn keeps_to(backoff: &mut Backoff, failure: Failure, bounds_ms: &[u64]) {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for attempt in 0..40 {
            let bound_ms = *bounds_ms.get(attempt).or(bounds_ms.last()).unwrap();
            let (bound, wait) = (Duration::from_millis(bound_ms), backoff.next(failure, &mut rng));
            assert!(wait >= bound / 2 && wait <= bound, "{attempt}: {wait:?}");
        }
    }

    #[test]
    fn waits_double_up_to_the_longest_and_start_again_after_a_success() {
        let mut backoff = Backoff::default();
        let bounds = [200, 400, 800, 1_600, 3_200, 6_400, 12_800, 15_000];
        keeps_to(&mut backoff, Failure::Answered, &bounds);
        backoff.reset();
        assert_eq!(backoff.attempts(), 0);
        keeps_to(&mut backoff, Failure::Answered, &bounds);
    }

    #[test]
    fn no_client_waits_for_more_than_two_seconds_for_one_who_does_not_answer() {
        keeps_to(&mut Backoff::default(), Failure::Unanswered, &[200, 400, 800, 1_600, 2_000]);
    }

    #[test]
    fn who_waited_long_for_an_answer_begins_with_a_short_wait_when_it_is_turned_away() {
        let mut backoff = Backoff::default();
        keeps_to(&mut backoff, Failure::Unanswered, &[200, 400, 800, 1_600, 2_000]);
        keeps_to(
            &mut backoff,
            Failure::Answered,
            &[200, 400, 800, 1_600, 3_200, 6_400, 12_800, 15_000],
        );
        assert_eq!(backoff.attempts(), 80);
    }

    #[test]
    fn two_clients_do_not_wait_equally_long() {
        let wait = |seed| {
            let mut backoff = Backoff { answered: 5, ..Backoff::default() };
            backoff.next(Failure::Answered, &mut ChaCha8Rng::seed_from_u64(seed))
        };
        let mut waits: Vec<_> = (0..20).map(wait).collect();
        waits.sort();
        waits.dedup();
        assert_eq!(waits.len(), 20);
    }
}
