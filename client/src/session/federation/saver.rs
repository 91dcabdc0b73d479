//! Writes the newest model state beside a federation's rounds: one write at a time, the newest
//! only, and not more often than a restart needs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use roundelay_protocol::lineage::State;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::checkpoint::{CheckpointError, FederationDir};

/// A stored model is at most this much behind: a restart fetches or derives what is missing.
const INTERVAL: Duration = Duration::from_secs(2);

type Writing = JoinHandle<Result<(), CheckpointError>>;

pub(super) struct Saver {
    dir: FederationDir,
    waiting: Option<Arc<State>>,
    under_way: Option<Writing>,
    last: Option<Instant>,
}

impl Saver {
    pub(super) fn new(dir: FederationDir) -> Self {
        Self { dir, waiting: None, under_way: None, last: None }
    }

    /// This state is the newest.
    pub(super) fn keep(&mut self, state: Arc<State>) {
        self.waiting = Some(state);
    }

    /// When [`write_if_due`](Self::write_if_due) has something to do.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        let waits = self.waiting.is_some() && self.under_way.is_none();
        waits.then(|| self.last.map_or_else(Instant::now, |at| at + INTERVAL))
    }

    /// Starts writing what waits, if it is time.
    pub(super) fn write_if_due(&mut self) {
        let due = self.last.is_none_or(|last| last.elapsed() >= INTERVAL);
        if self.under_way.is_some() || !due {
            return;
        }
        if let Some(state) = self.waiting.take() {
            let dir = self.dir.clone();
            self.under_way = Some(spawn_blocking(move || dir.save_state(&state.to_bytes())));
        }
    }

    /// Waits for the end of the write under way, for ever where there is none, and says what came
    /// of it. Nothing is lost if it is not waited for to the end.
    pub(super) async fn written(&mut self) -> Result<(), CheckpointError> {
        let Some(writing) = &mut self.under_way else { return std::future::pending().await };
        // One that panicked has left the old state.
        let written = writing.await.unwrap_or(Ok(()));
        (self.under_way, self.last) = (None, Some(Instant::now()));
        written
    }

    /// Waits for the write under way, then writes what waits: two writers would share one file.
    pub(super) async fn finish(&mut self) -> Result<(), CheckpointError> {
        let mut written = Ok(());
        if self.under_way.is_some() {
            written = self.written().await;
        }
        self.last = None;
        self.write_if_due();
        if self.under_way.is_some() {
            // A newer state takes the place of one that could not be written.
            written = self.written().await;
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::checkpoint::StateDir;
    use crate::engine::tests::world::task;
    use roundelay_protocol::ids::FederationId;

    #[tokio::test]
    async fn the_last_state_is_written_after_the_one_under_way() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::create(root.path()).unwrap().federation(FederationId([7; 16])).unwrap();
        let mut saver = Saver::new(dir.clone());
        let (go_on, waits) = mpsc::channel::<()>();
        let slow = dir.clone();
        saver.under_way = Some(spawn_blocking(move || {
            waits.recv().unwrap();
            slow.save_state(b"older")
        }));
        let state = Arc::new(State::initial(&task(false), None).unwrap());
        saver.keep(Arc::clone(&state));
        {
            let mut finishing = std::pin::pin!(saver.finish());
            let a_while = tokio::time::sleep(Duration::from_millis(50));
            tokio::select! {
                _ = &mut finishing => panic!("the write under way has not ended"),
                () = a_while => {}
            }
            assert_eq!(dir.state(1 << 20).unwrap(), None, "one writer at a time");
            go_on.send(()).unwrap();
            finishing.await.unwrap();
        }
        assert_eq!(dir.state(1 << 20).unwrap(), Some(state.to_bytes()));
    }
}
