//! What goes wrong, and when: connections that break, processes that die and come back, clients
//! that stay away, disks that are full. Some of it at moments of its own, some of it right where
//! it hurts most: around the moment at which something becomes durable or leaves.

use rand::RngExt;
use rand::rngs::ChaCha12Rng;
use roundelay_protocol::time::{Millis, Time};
use serde::Serialize;

use crate::network::ClientNumber;

/// How much goes wrong, until it ends.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rates {
    /// Nothing goes wrong from here on.
    pub until: Time,
    /// Mean time between two broken connections of one client.
    pub cut_every_ms: Option<u64>,
    /// Mean time between two crashes of one client.
    pub crash_client_every_ms: Option<u64>,
    /// Mean time between two crashes of the coordinator.
    pub crash_coordinator_every_ms: Option<u64>,
    /// Mean time between two absences of one client.
    pub away_every_ms: Option<u64>,
    /// How often the coordinator dies around a batch that has something durable, in ten thousandths.
    pub strike_coordinator_permyriad: u32,
    /// How often a client dies around something durable, in ten thousandths.
    pub strike_client_permyriad: u32,
    /// How often a client's disk is full, in ten thousandths.
    pub disk_full_permyriad: u32,
}

/// Something that happens at a moment of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incident {
    /// The connection of a client breaks.
    Cut(ClientNumber),
    /// A client's process dies.
    CrashClient(ClientNumber),
    /// The coordinator's process dies.
    CrashCoordinator,
    /// A client's line is gone for a while.
    Away(ClientNumber, Millis),
}

/// Where a process dies around something durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strike {
    /// Nothing is durable, nothing has left.
    BeforeDurable,
    /// It is durable, nothing has left.
    AfterDurable,
    /// It is durable, and so many of the effects behind it were carried out.
    Among(usize),
}

impl Rates {
    /// Nothing goes wrong.
    pub const CALM: Self = Self {
        until: Time(0),
        cut_every_ms: None,
        crash_client_every_ms: None,
        crash_coordinator_every_ms: None,
        away_every_ms: None,
        strike_coordinator_permyriad: 0,
        strike_client_permyriad: 0,
        disk_full_permyriad: 0,
    };

    /// One seed in eight is calm; the others mix their faults.
    pub(crate) fn draw(rng: &mut ChaCha12Rng) -> Self {
        if rng.random_ratio(1, 8) {
            return Self::CALM;
        }
        let mut sometimes = |chance: f64, from: u64, to: u64| {
            let every = rng.random_range(from..to);
            rng.random_bool(chance).then_some(every)
        };
        Self {
            cut_every_ms: sometimes(0.7, 4_000, 40_000),
            crash_client_every_ms: sometimes(0.4, 10_000, 80_000),
            crash_coordinator_every_ms: sometimes(0.4, 5_000, 40_000),
            away_every_ms: sometimes(0.3, 10_000, 60_000),
            strike_coordinator_permyriad: [0, 100, 300, 800][rng.random_range(0..4)],
            strike_client_permyriad: [0, 0, 50, 200][rng.random_range(0..4)],
            disk_full_permyriad: [0, 0, 0, 100][rng.random_range(0..4)],
            until: Time(rng.random_range(5_000..40_000)),
        }
    }
}

/// The dice of one run.
#[derive(Debug)]
pub struct Faults {
    rates: Rates,
    rng: ChaCha12Rng,
}

impl Faults {
    /// Faults at these rates.
    #[must_use]
    pub fn new(rates: Rates, rng: ChaCha12Rng) -> Self {
        Self { rates, rng }
    }

    /// Everything that happens at a moment of its own, in no particular order.
    pub fn incidents(&mut self, clients: usize) -> Vec<(Time, Incident)> {
        let rates = self.rates;
        let mut incidents = Vec::new();
        for client in 0..clients {
            for at in self.moments(rates.cut_every_ms) {
                incidents.push((at, Incident::Cut(client)));
            }
            for at in self.moments(rates.crash_client_every_ms) {
                incidents.push((at, Incident::CrashClient(client)));
            }
            for at in self.moments(rates.away_every_ms) {
                let length = Millis(self.rng.random_range(1_000..40_000));
                incidents.push((at, Incident::Away(client, length)));
            }
        }
        for at in self.moments(rates.crash_coordinator_every_ms) {
            incidents.push((at, Incident::CrashCoordinator));
        }
        incidents
    }

    /// Moments at random until the faults end.
    fn moments(&mut self, every_ms: Option<u64>) -> Vec<Time> {
        let Some(every_ms) = every_ms else { return Vec::new() };
        let mut moments = Vec::new();
        let mut at = Time(0);
        loop {
            at = at + Millis(self.rng.random_range(1..=2 * every_ms));
            if at >= self.rates.until {
                return moments;
            }
            moments.push(at);
        }
    }

    /// Whether the coordinator dies around a batch that persists something, and where.
    pub fn strikes_coordinator(&mut self, now: Time, effects: usize) -> Option<Strike> {
        self.strikes(now, self.rates.strike_coordinator_permyriad, effects)
    }

    /// Whether a client dies around a record, and where.
    pub fn strikes_client(&mut self, now: Time) -> Option<Strike> {
        self.strikes(now, self.rates.strike_client_permyriad, 0)
    }

    /// Whether a client's disk has no room for a record.
    pub fn fills_disk(&mut self, now: Time) -> bool {
        self.hits(now, self.rates.disk_full_permyriad)
    }

    /// How long a process is down.
    pub fn downtime(&mut self) -> Millis {
        Millis(match self.rng.random_range(0..4) {
            0 => self.rng.random_range(5_000..20_000),
            _ => self.rng.random_range(50..2_000),
        })
    }

    fn strikes(&mut self, now: Time, permyriad: u32, effects: usize) -> Option<Strike> {
        if !self.hits(now, permyriad) {
            return None;
        }
        Some(match self.rng.random_range(0..3) {
            0 => Strike::BeforeDurable,
            1 => Strike::AfterDurable,
            _ => Strike::Among(self.rng.random_range(0..=effects)),
        })
    }

    fn hits(&mut self, now: Time, permyriad: u32) -> bool {
        permyriad > 0 && now < self.rates.until && self.rng.random_ratio(permyriad, 10_000)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn rough() -> Rates {
        Rates {
            until: Time(60_000),
            cut_every_ms: Some(5_000),
            crash_coordinator_every_ms: Some(10_000),
            strike_coordinator_permyriad: 5_000,
            ..Rates::CALM
        }
    }

    #[test]
    fn incidents_end_when_the_faults_end() {
        let mut faults = Faults::new(rough(), ChaCha12Rng::seed_from_u64(1));
        let incidents = faults.incidents(4);
        assert!(incidents.iter().all(|(at, _)| *at < Time(60_000)));
        let cuts = incidents.iter().filter(|(_, it)| matches!(it, Incident::Cut(_))).count();
        assert!((20..100).contains(&cuts), "{cuts}");
        assert!(incidents.iter().any(|(_, incident)| *incident == Incident::CrashCoordinator));
        assert!(Faults::new(Rates::CALM, ChaCha12Rng::seed_from_u64(1)).incidents(4).is_empty());
    }

    #[test]
    fn a_strike_falls_on_every_side_of_what_is_durable_and_never_after_the_end() {
        let mut faults = Faults::new(rough(), ChaCha12Rng::seed_from_u64(1));
        let strikes: Vec<_> =
            (0..200).filter_map(|_| faults.strikes_coordinator(Time(5), 3)).collect();
        assert!((60..140).contains(&strikes.len()), "{}", strikes.len());
        for side in [Strike::BeforeDurable, Strike::AfterDurable, Strike::Among(3)] {
            assert!(strikes.contains(&side), "{side:?}");
        }
        assert!((0..200).all(|_| faults.strikes_coordinator(Time(60_000), 3).is_none()));
        assert!((0..200).all(|_| faults.strikes_client(Time(5)).is_none()));
    }
}
