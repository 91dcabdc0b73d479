//! What must hold in every run, whatever goes wrong: one file per property, each with the place in
//! the design or the paper that asks for it. An invariant sees what leaves and what becomes
//! durable, never the inside of a machine.

use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::ModelVersion;
use roundelay_protocol::lineage::State;

use crate::population::Population;
use crate::watch::Observed;

mod clean_end;
mod durable_first;
mod liveness;
mod nobody_blamed;
mod one_set;
mod one_signature;
mod quorum_first;
mod rounds_rise;
mod same_bytes;
mod same_state;
mod shown;
mod sum_exact;

pub use shown::{Round, Shown};

/// What every invariant may look up.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The clients, and what each puts in.
    pub population: &'a Population,
    /// The plans and sets of rounds, as they were shown first.
    pub shown: &'a Shown,
}

/// A property of every run.
pub trait Invariant {
    /// Its name in reports.
    fn name(&self) -> &'static str;

    /// Something happened.
    ///
    /// # Errors
    /// What does not hold any more.
    fn observe(&mut self, scene: &Scene<'_>, seen: &Observed<'_>) -> Result<(), String>;

    /// The run is over.
    ///
    /// # Errors
    /// What does not hold.
    fn end(&mut self, _scene: &Scene<'_>, _end: &End) -> Result<(), String> {
        Ok(())
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// What became of the federation.
    pub ending: Ending,
    /// The newest version and its state hash, as the coordinator has them durable.
    pub newest: Option<(ModelVersion, Digest)>,
    /// What each client holds; none where it is down or catches up.
    pub held: Vec<Option<Held>>,
    /// Whether nothing went wrong, and nobody was slow enough to miss a deadline.
    pub is_calm: bool,
}

/// What became of a federation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Every round of its task is done.
    Finished,
    /// The engine says that it does not go on by itself, and why.
    Stalled(String),
    /// Neither, long after the last fault; how it stands.
    Unfinished(String),
}

/// A model state that a client holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The version.
    pub version: ModelVersion,
    /// Its hash.
    pub state: Digest,
}

impl Held {
    /// The state's version and hash.
    #[must_use]
    pub fn of(state: &State) -> Self {
        Self { version: state.version(), state: state.hash() }
    }
}

/// Every invariant, fresh.
#[must_use]
pub fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::<sum_exact::SumExact>::default(),
        Box::<one_set::OneSet>::default(),
        Box::<one_signature::OneSignature>::default(),
        Box::<quorum_first::QuorumFirst>::default(),
        Box::<clean_end::CleanEnd>::default(),
        Box::<rounds_rise::RoundsRise>::default(),
        Box::<same_state::SameState>::default(),
        Box::<same_bytes::SameBytes>::default(),
        Box::<durable_first::DurableFirst>::default(),
        Box::<nobody_blamed::NobodyBlamed>::default(),
        Box::<liveness::Liveness>::default(),
    ]
}

/// An error with its words, where something does not hold.
pub(crate) fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}
