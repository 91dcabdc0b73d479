//! What one run is about, drawn from its seed: how many clients, what they learn, how good their
//! lines are, and how much goes wrong. A scenario is plain data; the same one runs the same way.

use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};
use roundelay_protocol::manifest::CoordinatorTrust;
use roundelay_protocol::round::horizontal::coordinator::Timing;
use roundelay_protocol::time::{Millis, Time};
use serde::Serialize;

use crate::bug::Bug;
use crate::faults::Rates;
use crate::network::Line;

/// One federation and its weather.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scenario {
    /// Everything random in the run comes from it.
    pub seed: u64,
    /// Clients of the manifest.
    pub clients: usize,
    /// Train rounds of the task.
    pub rounds: u32,
    /// Bits of the ring of the update: 16 or 32.
    pub ring_bits: u8,
    /// Whether columns are standardised by a statistics round first.
    pub standardise: bool,
    /// Honest clients in a published sum at least.
    pub clients_min: u16,
    /// Whether released sets are unions of fixed groups.
    pub whole_groups: bool,
    /// The share of the active roster that may drop, in thousandths.
    pub dropout_permille: u16,
    /// One line for each client.
    pub lines: Vec<Line>,
    /// When the process of each client starts.
    pub starts_ms: Vec<u64>,
    /// Whether every message goes through the codec and back.
    pub encodes: bool,
    /// How long local work of each client takes, at least; up to twice as long.
    pub work_ms: Vec<u64>,
    /// Mail that comes within this time is one batch of the coordinator.
    pub batch_ms: u64,
    /// What goes wrong, and until when.
    pub rates: Rates,
    /// Whether the coordinator is restored once from a backup that is older than what its clients
    /// hold; then nothing else goes wrong.
    pub restores: bool,
    /// A mistake planted in the drivers, to see whether it is found.
    pub bug: Option<Bug>,
}

/// What a caller may fix instead of leaving it to the seed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Choices {
    /// Clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clients: Option<usize>,
    /// Train rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounds: Option<u32>,
    /// The coordinator is restored once from an older backup, and nothing else goes wrong.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub restores: bool,
    /// A planted mistake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bug: Option<Bug>,
}

/// How long the stages of a round may take in a simulation. Short against the faults, so that
/// stages do end without some of their clients.
pub const TIMING: Timing = Timing {
    advertise_keys: Millis(5_000),
    share_keys: Millis(5_000),
    masked_input: Millis(15_000),
    consistency_check: Millis(8_000),
    unmasking: Millis(20_000),
    grace: Millis(2_000),
};

/// A client keeps the keys of a round for this long without a word of the coordinator.
pub const PATIENCE: Millis = Millis(60_000);

/// A federation that has not come to its end this long after the last fault never will.
pub const RECOVERY: Millis = Millis(600_000);

impl Scenario {
    /// The scenario of a seed.
    #[must_use]
    pub fn draw(seed: u64, choices: &Choices) -> Self {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        // The work of a round grows with the square of its cohort.
        let clients = [3, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 5, 6][rng.random_range(0..14)];
        let rounds = if rng.random_bool(0.85) { 1 } else { 2 };
        let ring_bits = if rng.random_bool(0.5) { 16 } else { 32 };
        let standardise = rng.random_bool(0.25);
        let clients_min = if rng.random_bool(0.5) { 2 } else { 3 };
        let whole_groups = rng.random_bool(0.2);
        let dropout_permille = rng.random_range(0..=500);
        let drawn = Rates::draw(&mut rng);
        let rates = if choices.restores { Rates::CALM } else { drawn };
        let batch_ms = if rng.random_bool(0.5) { 0 } else { rng.random_range(1..=40) };
        let encodes = rng.random_ratio(1, 16);
        let late = rng.random_bool(0.2);
        let clients = choices.clients.unwrap_or(clients);
        // A sparse graph is safe with fewer dropouts, and so many clients need levels.
        let sparse = clients > CoordinatorTrust::Malicious.cohort_max();
        let (ring_bits, dropout_permille) =
            if sparse { (32, dropout_permille / 5) } else { (ring_bits, dropout_permille) };
        Self {
            seed,
            clients,
            rounds: choices.rounds.unwrap_or(rounds),
            ring_bits,
            standardise,
            clients_min,
            whole_groups,
            dropout_permille,
            lines: (0..clients).map(|_| line(&mut rng, sparse)).collect(),
            starts_ms: (0..clients).map(|_| starts_ms(&mut rng, late)).collect(),
            encodes,
            work_ms: (0..clients).map(|_| work_ms(&mut rng)).collect(),
            batch_ms,
            rates,
            restores: choices.restores,
            bug: choices.bug,
        }
    }

    /// Everything that happens after this moment is the federation's own doing.
    #[must_use]
    pub fn heals_at(&self) -> Time {
        self.rates.until
    }

    /// Whether nothing goes wrong, and nobody is slow enough to miss a deadline.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        let quick = self.work_ms.iter().all(|work_ms| 2 * work_ms + 2_000 < TIMING.masked_input.0);
        self.rates == Rates::CALM && quick && self.bug.is_none() && !self.restores
    }

    /// A generator for one purpose; purposes do not disturb each other.
    #[must_use]
    pub fn rng(&self, purpose: &str) -> ChaCha12Rng {
        let parts: [&[u8]; 2] = [&self.seed.to_le_bytes(), purpose.as_bytes()];
        ChaCha12Rng::from_seed(
            roundelay_crypto::digest::Digest::of("roundelay/simulation", &parts).0,
        )
    }
}

/// A line of 50 kB/s takes too long for the boxes and adverts of a `large` cohort.
fn line(rng: &mut ChaCha12Rng, large: bool) -> Line {
    let far = rng.random_bool(0.2);
    let slowest = if large { 1_000 } else { 50 };
    Line {
        latency_ms: if far { rng.random_range(100..400) } else { rng.random_range(1..60) },
        jitter_ms: if far { rng.random_range(0..800) } else { rng.random_range(0..60) },
        bytes_per_ms: [slowest, 1_000, 10_000][rng.random_range(0..3)],
        detection_ms: rng.random_range(0..4_000),
    }
}

/// In one scenario of five a third of the clients come late.
fn starts_ms(rng: &mut ChaCha12Rng, late: bool) -> u64 {
    if late && rng.random_ratio(1, 3) { rng.random_range(500..20_000) } else { 0 }
}

/// One client in eight is slow: it misses the deadline of MaskedInput now and then.
fn work_ms(rng: &mut ChaCha12Rng) -> u64 {
    if rng.random_ratio(1, 8) {
        rng.random_range(5_000..9_000)
    } else {
        rng.random_range(10..2_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_one_scenario_and_choices_overrule_it() {
        let free = Choices::default();
        assert_eq!(Scenario::draw(5, &free), Scenario::draw(5, &free));
        assert_ne!(Scenario::draw(5, &free), Scenario::draw(6, &free));
        let fixed = Choices { clients: Some(10), rounds: Some(7), ..free };
        let scenario = Scenario::draw(5, &fixed);
        assert_eq!((scenario.clients, scenario.rounds), (10, 7));
        assert_eq!((scenario.lines.len(), scenario.work_ms.len()), (10, 10));
    }

    #[test]
    fn generators_of_one_purpose_agree_and_those_of_two_do_not() {
        let scenario = Scenario::draw(1, &Choices::default());
        let draw = |purpose| scenario.rng(purpose).random::<u64>();
        assert_eq!(draw("faults"), draw("faults"));
        assert_ne!(draw("faults"), draw("network"));
    }
}
