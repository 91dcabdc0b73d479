//! What happened how often in a run: shows that a thousand seeds try what they are meant to try.

use std::collections::BTreeMap;

use roundelay_coordinator::engine::Fact;
use roundelay_protocol::error::AbortReason;
use roundelay_protocol::round::horizontal::coordinator::{Outcome, Record};
use serde::Serialize;

use super::Observed;

/// Counts of one run, or of many.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Rounds that published a sum.
    pub published: u64,
    /// Clients that dropped out of published sums.
    pub dropouts: u64,
    /// Rounds that ended without a result, by the reason.
    pub aborted: BTreeMap<String, u64>,
    /// Deaths of the coordinator's process.
    pub coordinator_crashes: u64,
    /// Deaths of clients' processes.
    pub client_crashes: u64,
    /// Connections that clients lost.
    pub connections_lost: u64,
    /// Coordinators that came back with an older backup of their store.
    pub restored: u64,
    /// Models that clients gave back to their coordinator.
    pub recovered: u64,
}

impl Tally {
    pub(super) fn take(&mut self, observed: &Observed<'_>) {
        match observed {
            Observed::CoordinatorDied => self.coordinator_crashes += 1,
            Observed::Restored => self.restored += 1,
            Observed::Durable(Fact::Recovered(_)) => self.recovered += 1,
            Observed::ClientDied(_) => self.client_crashes += 1,
            Observed::Connection(_, "loses its connection") => self.connections_lost += 1,
            Observed::Durable(Fact::Record(_, record)) => {
                if let Record::Finished(outcome) = &**record {
                    self.ended(outcome);
                }
            }
            Observed::Durable(Fact::Round(summary)) if summary.ended_ms.is_some() => {
                self.dropouts += u64::from(summary.dropouts);
            }
            _ => {}
        }
    }

    fn ended(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Published(_) => self.published += 1,
            Outcome::Aborted(reason) => {
                *self.aborted.entry(name(reason)).or_default() += 1;
            }
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.published += other.published;
        self.dropouts += other.dropouts;
        for (reason, count) in &other.aborted {
            *self.aborted.entry(reason.clone()).or_default() += count;
        }
        self.coordinator_crashes += other.coordinator_crashes;
        self.client_crashes += other.client_crashes;
        self.connections_lost += other.connections_lost;
        self.restored += other.restored;
        self.recovered += other.recovered;
    }
}

fn name(reason: &AbortReason) -> String {
    match reason {
        AbortReason::TooFewClients { stage, .. } => format!("too few clients in {stage:?}"),
        reason => format!("{reason:?}"),
    }
}
