//! What a run has come to, and what many runs have.

use std::collections::BTreeMap;

use roundelay_crypto::digest::Digest;
use roundelay_protocol::time::Time;
use serde::{Serialize, Serializer};

use crate::invariants::{End, Ending};
use crate::scenario::Scenario;
use crate::watch::{Tally, Violation, Watch};

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Clients.
    pub clients: usize,
    /// `finished`, `stalled` or `unfinished`.
    pub ending: &'static str,
    /// What does not hold, if anything does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub violation: Option<Violation>,
    /// What happened how often.
    pub tally: Tally,
    /// Length of the run in virtual milliseconds.
    pub virtual_ms: u64,
    /// Events in the log.
    pub events: u64,
    /// Hash over the log: the same for every run of the same scenario.
    #[serde(serialize_with = "as_text")]
    pub log: Digest,
}

impl Report {
    pub(crate) fn new(scenario: &Scenario, now: Time, end: &End, watch: &Watch) -> Self {
        Self {
            seed: scenario.seed,
            clients: scenario.clients,
            ending: match end.ending {
                Ending::Finished => "finished",
                Ending::Stalled(_) => "stalled",
                Ending::Unfinished(_) => "unfinished",
            },
            violation: watch.violation().cloned(),
            tally: watch.tally().clone(),
            virtual_ms: now.0,
            events: watch.log().count(),
            log: watch.log().hash(),
        }
    }
}

fn as_text<S: Serializer>(digest: &Digest, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(digest)
}

/// Many runs together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Runs.
    pub seeds: u64,
    /// Federations that did every round of their task.
    pub finished: u64,
    /// Federations that the set rule leaves standing.
    pub stalled: u64,
    /// Runs in which something does not hold, by seed.
    pub violations: BTreeMap<u64, String>,
    /// What happened how often in all of them.
    pub tally: Tally,
    /// Virtual time of all of them together, in milliseconds.
    pub virtual_ms: u64,
    /// Events of all of them together.
    pub events: u64,
    /// The hashes of all logs together, in whatever order they came.
    #[serde(serialize_with = "as_text")]
    pub log: Digest,
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            seeds: 0,
            finished: 0,
            stalled: 0,
            violations: BTreeMap::new(),
            tally: Tally::default(),
            virtual_ms: 0,
            events: 0,
            log: Digest([0; 32]),
        }
    }
}

impl Summary {
    /// Adds a run.
    pub fn add(&mut self, report: &Report) {
        self.seeds += 1;
        match report.ending {
            "finished" => self.finished += 1,
            "stalled" => self.stalled += 1,
            _ => {}
        }
        self.violations
            .extend(report.violation.as_ref().map(|found| (report.seed, found.to_string())));
        self.tally.add(&report.tally);
        self.virtual_ms += report.virtual_ms;
        self.events += report.events;
        self.log.0.iter_mut().zip(report.log.0).for_each(|(sum, byte)| *sum ^= byte);
    }
}
