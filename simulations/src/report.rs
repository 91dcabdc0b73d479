//! What a run has come to, and what many runs have.

use std::collections::BTreeMap;
use std::fmt;

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
    /// `finished`, `stalled`, `unfinished`, or `panicked`.
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
    /// A machine or a driver panicked: what was counted is lost.
    pub(crate) fn panicked(scenario: &Scenario, words: &str) -> Self {
        let what = words.to_owned();
        Self {
            seed: scenario.seed,
            clients: scenario.clients,
            ending: "panicked",
            violation: Some(Violation { invariant: "no_panic", at_ms: 0, what }),
            tally: Tally::default(),
            virtual_ms: 0,
            events: 0,
            log: Digest([0; 32]),
        }
    }

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

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, ending, virtual_ms, events, log, .. } = self;
        write!(
            f,
            "seed {seed}: {ending} after {virtual_ms} virtual ms, {events} events, log {log}"
        )?;
        match &self.violation {
            Some(violation) => write!(f, "\nviolates {violation}"),
            None => Ok(()),
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

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seeds, finished, stalled, tally, virtual_ms, events, .. } = self;
        let Tally { published, dropouts, coordinator_crashes, client_crashes, .. } = tally;
        writeln!(f, "{seeds} seeds: {finished} finished, {stalled} stand still by the set rule")?;
        writeln!(f, "{published} sums published, {dropouts} dropouts")?;
        for (reason, count) in &tally.aborted {
            writeln!(f, "{count} rounds aborted: {reason}")?;
        }
        let lost = tally.connections_lost;
        writeln!(
            f,
            "{coordinator_crashes} crashes of the coordinator, {client_crashes} of clients, \
             {lost} connections lost"
        )?;
        write!(f, "{events} events in {} virtual minutes", virtual_ms / 60_000)?;
        self.violations
            .iter()
            .try_for_each(|(seed, violation)| write!(f, "\nseed {seed} violates {violation}"))
    }
}
