//! Where uploads go: the accumulators of the rounds that take them, shared by the connections.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use roundelay_protocol::ids::RoundNumber;

use crate::accumulator::Accumulator;

/// The rounds of one federation that take uploads: one, but for a moment between two.
#[derive(Debug, Default)]
pub(super) struct Desk(Mutex<BTreeMap<RoundNumber, Arc<Accumulator>>>);

impl Desk {
    /// Takes uploads of a round from now on.
    pub(super) fn open(&self, round: RoundNumber, accumulator: Arc<Accumulator>) {
        self.lock().insert(round, accumulator);
    }

    /// Takes no uploads of a round any more. Those under way end with their next piece.
    pub(super) fn close(&self, round: RoundNumber) -> Option<Arc<Accumulator>> {
        self.lock().remove(&round)
    }

    /// Takes no uploads at all any more.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    /// The accumulator of a round that takes uploads.
    pub(super) fn find(&self, round: RoundNumber) -> Option<Arc<Accumulator>> {
        self.lock().get(&round).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RoundNumber, Arc<Accumulator>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
