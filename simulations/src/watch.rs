//! Who looks on: every event of a run goes into its log and past every invariant.

use std::fmt;
use std::sync::Arc;

use roundelay_client::engine::Event;
use roundelay_coordinator::engine::Fact;
use roundelay_crypto::digest::Digest;
use roundelay_protocol::error::Fault;
use roundelay_protocol::ids::{ClientId, RoundNumber};
use roundelay_protocol::message::{FromClient, ToClient};
use roundelay_protocol::round::horizontal::client;
use roundelay_protocol::round::horizontal::coordinator::RestoreError;
use roundelay_protocol::time::Time;
use serde::Serialize;

use crate::invariants::{End, Invariant, Scene, Shown, all};
use crate::network::ClientNumber;
use crate::packet::{Packet, WireError};
use crate::population::Population;

mod lines;
mod tally;

pub use tally::Tally;

/// Something that happened. Messages are seen where they leave, facts where they become durable.
#[derive(Debug)]
pub enum Observed<'a> {
    /// The coordinator's process started.
    CoordinatorStarted,
    /// The coordinator's process died.
    CoordinatorDied,
    /// The coordinator dies, and comes back with an older backup of its store.
    Restored,
    /// A client's process started.
    ClientStarted(ClientNumber),
    /// A client's process died.
    ClientDied(ClientNumber),
    /// A client's connection came or went, as the client sees it.
    Connection(ClientNumber, &'static str),
    /// A fact became durable at the coordinator.
    Durable(&'a Fact),
    /// The coordinator sends a message of a round.
    Told {
        /// To this client.
        client: ClientId,
        /// The round.
        round: RoundNumber,
        /// What it says.
        message: &'a ToClient,
    },
    /// The coordinator took the masks off a sum.
    Unmasked {
        /// The round.
        round: RoundNumber,
        /// What came out.
        words: &'a [u8],
    },
    /// The coordinator expelled a client.
    Expelled {
        /// The round.
        round: RoundNumber,
        /// The client.
        client: ClientId,
        /// For this.
        fault: &'a Fault,
    },
    /// The coordinator can't read the records of a round.
    Unreadable {
        /// The round.
        round: RoundNumber,
        /// Why.
        error: &'a RestoreError,
    },
    /// A record became durable at a client.
    Remembered(ClientNumber, &'a client::Record),
    /// A client sends a message of a round.
    Said {
        /// The client.
        client: ClientNumber,
        /// The round.
        round: RoundNumber,
        /// What it says.
        message: &'a FromClient,
    },
    /// A client begins to send its masked vector.
    Uploads {
        /// The client.
        client: ClientNumber,
        /// The round.
        round: RoundNumber,
        /// The whole vector.
        words: &'a [u8],
    },
    /// A packet reached a client.
    Heard(ClientNumber, &'a Packet),
    /// A client tells its tenant something.
    Tells(ClientNumber, &'a Event),
    /// The coordinator turned a client away.
    TurnedAway(ClientNumber, &'a str),
    /// A packet did not survive the codec.
    Garbled(&'a WireError),
    /// Nothing goes wrong from here on.
    Healed,
}

/// What a coordinator holds to by its store alone: with an older one it can't know what it has said.
/// It is the clients who then keep it from doing harm, and what they do is looked at on.
const OF_ONE_STORE: [&str; 3] = ["rounds_rise", "one_set", "clean_end"];

/// A property that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The invariant.
    pub invariant: &'static str,
    /// When, in virtual milliseconds.
    pub at_ms: u64,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} ms: {}", self.invariant, self.at_ms, self.what)
    }
}

/// Who reads the lines of a log while they are written.
pub type OnLine = Box<dyn FnMut(&str)>;

/// The log of a run: a hash over all its lines, which go to whoever wants to read them.
pub struct Log {
    hash: Digest,
    count: u64,
    on_line: Option<OnLine>,
}

impl Log {
    fn new(on_line: Option<OnLine>) -> Self {
        Self { hash: Digest([0; 32]), count: 0, on_line }
    }

    fn write(&mut self, line: &str) {
        self.hash = Digest::of("roundelay/simulation/log", &[&self.hash.0, line.as_bytes()]);
        self.count += 1;
        if let Some(on_line) = &mut self.on_line {
            on_line(line);
        }
    }

    /// Hash over all lines so far.
    #[must_use]
    pub fn hash(&self) -> Digest {
        self.hash
    }

    /// Lines so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }
}

/// The log and the invariants of one run.
pub struct Watch {
    population: Arc<Population>,
    shown: Shown,
    log: Log,
    invariants: Vec<Box<dyn Invariant>>,
    violation: Option<Violation>,
    tally: Tally,
}

impl Watch {
    /// Looks on with every invariant there is; `on_line` reads the log while it is written.
    #[must_use]
    pub fn new(population: Arc<Population>, on_line: Option<OnLine>) -> Self {
        let (log, invariants) = (Log::new(on_line), all());
        let shown = Shown::default();
        Self { population, shown, log, invariants, violation: None, tally: Tally::default() }
    }

    /// Something happened.
    pub fn see(&mut self, now: Time, observed: &Observed<'_>) {
        let line = lines::line(&self.population, observed);
        self.log.write(&format!("{:>8} {line}", now.0));
        self.tally.take(observed);
        self.shown.take(observed);
        if matches!(observed, Observed::Restored) {
            self.invariants.retain(|invariant| !OF_ONE_STORE.contains(&invariant.name()));
        }
        let scene = Scene { population: &self.population, shown: &self.shown };
        for invariant in &mut self.invariants {
            let seen = invariant.observe(&scene, observed);
            Self::judge(&mut self.violation, &mut self.log, now, invariant.name(), seen);
        }
    }

    /// The run is over.
    pub fn end(&mut self, now: Time, end: &End) {
        let scene = Scene { population: &self.population, shown: &self.shown };
        for invariant in &mut self.invariants {
            let seen = invariant.end(&scene, end);
            Self::judge(&mut self.violation, &mut self.log, now, invariant.name(), seen);
        }
    }

    /// The first violation counts: whatever comes after may follow from it.
    fn judge(
        violation: &mut Option<Violation>,
        log: &mut Log,
        now: Time,
        invariant: &'static str,
        seen: Result<(), String>,
    ) {
        if let Err(what) = seen
            && violation.is_none()
        {
            let found = Violation { invariant, at_ms: now.0, what };
            log.write(&format!("{:>8} VIOLATION of {}: {}", now.0, found.invariant, found.what));
            *violation = Some(found);
        }
    }

    /// The first property that did not hold.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// What happened how often.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The log so far.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }
}
