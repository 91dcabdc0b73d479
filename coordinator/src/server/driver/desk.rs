//! Where uploads go: the accumulators of the rounds that take them, shared by the connections; and
//! whether a client was asked for a model state.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use roundelay_protocol::ids::{ClientId, ModelVersion, RoundNumber};

use crate::accumulator::Accumulator;

/// The rounds of one federation that take uploads: one, but for a moment between two.
#[derive(Debug, Default)]
pub(super) struct Desk {
    accumulators: Mutex<BTreeMap<RoundNumber, Arc<Accumulator>>>,
    wanted: Mutex<Option<Wanted>>,
}

/// A model state that a client was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) client: ClientId,
    pub(super) version: ModelVersion,
    /// Its most bytes.
    pub(super) bytes_max: u64,
}

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
        self.want(None);
    }

    /// Takes this state from now on, or none any more.
    pub(super) fn want(&self, wanted: Option<Wanted>) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = wanted;
    }

    /// The most bytes of a state that this client was asked for; told once.
    pub(super) fn takes_state(&self, client: ClientId, version: ModelVersion) -> Option<u64> {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = |wanted: &mut Wanted| wanted.client == client && wanted.version == version;
        wanted.take_if(asked).map(|wanted| wanted.bytes_max)
    }

    /// The accumulator of a round that takes uploads.
    pub(super) fn find(&self, round: RoundNumber) -> Option<Arc<Accumulator>> {
        self.lock().get(&round).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RoundNumber, Arc<Accumulator>>> {
        self.accumulators.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
