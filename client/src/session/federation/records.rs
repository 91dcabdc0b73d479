//! The history as a federation's task keeps it: away while it is synced, and missed where it does
//! not come back, so that nothing is sent whose record could not be made durable.

use std::io;
use std::path::PathBuf;

use roundelay_protocol::round::horizontal::client::Record;
use tokio::task::spawn_blocking;

use crate::checkpoint::federation::HistoryFile;
use crate::checkpoint::{CheckpointError, at};

pub(super) struct Records {
    /// None while it is synced, and for good once a record could not be kept: what the engine knows
    /// is then ahead of what a restart would find.
    file: Option<HistoryFile>,
    path: PathBuf,
}

impl Records {
    pub(super) fn new(file: HistoryFile) -> Self {
        Self { path: file.path().to_owned(), file: Some(file) }
    }

    /// Appends a record, which is durable after the next [`sync`](Self::sync).
    pub(super) fn append(&mut self, record: &Record) -> Result<(), CheckpointError> {
        let Some(file) = &mut self.file else { return Err(self.lost()) };
        let appended = file.append(record);
        if appended.is_err() {
            self.file = None;
        }
        appended
    }

    /// Makes every record durable. `Err`: what they cover must not be sent.
    pub(super) async fn sync(&mut self) -> Result<(), CheckpointError> {
        let Some(mut file) = self.file.take() else { return Err(self.lost()) };
        if !file.is_dirty() {
            self.file = Some(file);
            return Ok(());
        }
        let synced = spawn_blocking(move || {
            let synced = file.sync();
            (file, synced)
        });
        // It panicked, or the runtime shuts down: nobody knows what is durable.
        let Ok((file, synced)) = synced.await else { return Err(self.lost()) };
        self.file = synced.is_ok().then_some(file);
        synced
    }

    /// Puts these records, which say the same, in place of all where those have become many. `Err`:
    /// they stay as they are, or nothing is recorded any more.
    pub(super) async fn compact(
        &mut self,
        records: impl FnOnce() -> Vec<Record>,
    ) -> Result<(), CheckpointError> {
        let Some(file) = self.file.take_if(|file| file.has_grown()) else { return Ok(()) };
        let records = records();
        let compacted = spawn_blocking(move || file.compacted(&records));
        let Ok((file, compacted)) = compacted.await else { return Err(self.lost()) };
        self.file = file;
        compacted
    }

    fn lost(&self) -> CheckpointError {
        let words = "writing the history was broken off; no more rounds until this is restarted";
        at(&self.path, io::Error::other(words))
    }
}

#[cfg(test)]
mod tests {
    use roundelay_protocol::ids::{FederationId, RoundNumber};
    use roundelay_protocol::round::horizontal::client::Event;

    use super::*;
    use crate::checkpoint::StateDir;

    #[tokio::test]
    async fn without_its_history_a_task_neither_records_nor_believes_anything_durable() {
        let root = tempfile::tempdir().unwrap();
        let federation = FederationId([7; 16]);
        let dir = StateDir::create(root.path()).unwrap().federation(federation).unwrap();
        let mut records = Records::new(dir.history().unwrap().0);
        let record = Record { federation, round: RoundNumber(1), event: Event::Advertised };
        records.append(&record).unwrap();
        records.sync().await.unwrap();
        records.sync().await.unwrap();
        records.file = None;
        assert!(records.append(&record).is_err());
        assert!(records.sync().await.is_err());
        assert_eq!(dir.history().unwrap().1, [record]);
    }
}
