//! Where uploads go: the accumulators of the rounds that take them, shared by the connections; and
//! whether a client was asked for a model state.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use roundelay_protocol::ids::{ClientId, ModelVersion, RoundNumber};
use roundelay_protocol::lineage::Standing;
use roundelay_protocol::manifest::Task;
use tokio::sync::watch;

use crate::accumulator::Accumulator;
use crate::accumulator::budget::Charge;

/// The rounds of one federation that take uploads: one, but for a moment between two.
#[derive(Debug, Default)]
pub(super) struct Desk {
    rounds: Mutex<BTreeMap<RoundNumber, Open>>,
    wanted: Mutex<Option<Wanted>>,
}

/// A round that takes uploads.
#[derive(Debug)]
struct Open {
    accumulator: Arc<Accumulator>,
    /// Dropped when the round takes no uploads any more, which wakes those that wait for bytes.
    _closed: watch::Sender<()>,
    closes: Closes,
    /// What the round keeps of its preparation, in the budget of memory.
    _preparation: Charge,
}

/// Where an upload sees that its round takes no more.
#[derive(Debug, Clone)]
pub(super) struct Closes(watch::Receiver<()>);

impl Closes {
    /// Returns when the round takes no more uploads.
    pub(super) async fn closed(&mut self) {
        // Nothing is ever sent: what it waits for is that the sender goes.
        while self.0.changed().await.is_ok() {}
    }
}

/// A model state that a client was asked for.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// The run of the federation's task that asks.
    pub(super) run: u64,
    pub(super) client: ClientId,
    pub(super) standing: Standing,
    pub(super) task: Arc<Task>,
    /// Its most bytes.
    pub(super) bytes_max: u64,
}

impl Desk {
    /// Takes uploads of a round from now on.
    pub(super) fn open(
        &self,
        round: RoundNumber,
        accumulator: Arc<Accumulator>,
        preparation: Charge,
    ) {
        let (closed, closes) = watch::channel(());
        let closes = Closes(closes);
        let open = Open { accumulator, _closed: closed, closes, _preparation: preparation };
        withdraw(self.lock().insert(round, open));
    }

    /// Takes no uploads of a round any more: those under way end at once. The accumulator goes to
    /// whoever seals it.
    pub(super) fn close(&self, round: RoundNumber) -> Option<Arc<Accumulator>> {
        self.lock().remove(&round).map(|open| open.accumulator)
    }

    /// As [`close`](Self::close), where the round has no more use for what came in: that goes, and
    /// its memory with it.
    pub(super) fn give_up(&self, round: RoundNumber) {
        withdraw(self.lock().remove(&round));
    }

    /// Takes no uploads at all any more, and gives up what came in.
    pub(super) fn clear(&self) {
        withdraw(std::mem::take(&mut *self.lock()).into_values());
        self.want(None);
    }

    /// Takes this state from now on, or none any more.
    pub(super) fn want(&self, wanted: Option<Wanted>) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = wanted;
    }

    /// What this client was asked for, if it is a state of this version; told once.
    pub(super) fn takes_state(&self, client: ClientId, version: ModelVersion) -> Option<Wanted> {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.take_if(|wanted| wanted.client == client && wanted.standing.model_version == version)
    }

    /// The accumulator of a round that takes uploads.
    pub(super) fn find(&self, round: RoundNumber) -> Option<Arc<Accumulator>> {
        self.lock().get(&round).map(|open| Arc::clone(&open.accumulator))
    }

    /// Where an upload of a round goes, and where it sees that the round takes no more.
    pub(super) fn upload(&self, round: RoundNumber) -> Option<(Arc<Accumulator>, Closes)> {
        self.lock().get(&round).map(|open| (Arc::clone(&open.accumulator), open.closes.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RoundNumber, Open>> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets go of what rounds have taken in. An upload may be writing to its spool at this moment, so
/// this happens beside whoever asks for it.
fn withdraw(rounds: impl IntoIterator<Item = Open>) {
    for Open { accumulator, .. } in rounds {
        tokio::task::spawn_blocking(move || accumulator.withdraw());
    }
}
