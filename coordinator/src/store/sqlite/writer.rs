//! The one thread that writes. Batches that arrive while it waits for the disk are committed
//! together with one fsync; each is a savepoint of its own, so one that is refused takes no other
//! with it.

use std::io;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::Fail;
use crate::store::StoreError;
use roundelay_program::failpoint;

/// Batches that wait before a caller has to.
const QUEUE_BATCHES: usize = 256;
/// Batches in one transaction.
const GROUP_BATCHES: usize = 64;

/// The writer's end that callers hold. Dropping it commits what is queued and ends the thread.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Batch>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(connection: Connection, path: &Path) -> io::Result<Self> {
        let (queue, batches) = mpsc::channel(QUEUE_BATCHES);
        let path = path.to_owned();
        let thread = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || Committer { connection, path }.run(batches))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Runs `work` in the next transaction and returns when that is durable. `work` must touch
    /// nothing but the connection: what it did is undone when it fails.
    pub(super) async fn run<T, F>(&self, name: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Fail> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let task = Task { name, work: Some(work), value: None, reply };
        let queue = self.queue.as_ref().ok_or(StoreError::Closed)?;
        queue.send(Box::new(task)).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported to its callers as `Closed`.
            drop(thread.join());
        }
    }
}

/// A batch in the queue, whatever it returns.
trait Batch: Send {
    fn name(&self) -> &'static str;
    fn apply(&mut self, connection: &Connection) -> Result<(), Fail>;
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>);
}

struct Task<T, F> {
    name: &'static str,
    work: Option<F>,
    value: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Batch for Task<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> Result<T, Fail> + Send,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn apply(&mut self, connection: &Connection) -> Result<(), Fail> {
        if let Some(work) = self.work.take() {
            self.value = Some(work(connection)?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Self { value, reply, .. } = *self;
        // The caller may have gone away: the batch is durable all the same.
        drop(reply.send(outcome.and_then(|()| value.ok_or(StoreError::Closed))));
    }
}

struct Committer {
    connection: Connection,
    path: PathBuf,
}

impl Committer {
    fn run(self, mut batches: mpsc::Receiver<Box<dyn Batch>>) {
        while let Some(first) = batches.blocking_recv() {
            let mut group = vec![first];
            while group.len() < GROUP_BATCHES
                && let Ok(next) = batches.try_recv()
            {
                group.push(next);
            }
            self.commit(group);
        }
    }

    /// One transaction for the group. Each batch gets its own outcome, or all of them that of
    /// the commit.
    fn commit(&self, mut group: Vec<Box<dyn Batch>>) {
        for batch in &group {
            failpoint!("store", batch.name(), "before");
        }
        let names: Vec<_> = group.iter().map(|batch| batch.name()).collect();
        let outcomes = self.transaction(&mut group);
        if outcomes.is_ok() {
            for name in &names {
                failpoint!("store", name, "after");
            }
        }
        match outcomes {
            Ok(outcomes) => {
                for (batch, outcome) in group.into_iter().zip(outcomes) {
                    batch.answer(outcome);
                }
            }
            Err(error) => {
                // Everyone who waits is told, and says what it meant for them.
                tracing::debug!(%error, ?names, "a transaction of the store failed");
                // Nothing of the group may stay, or the next group would commit it.
                drop(self.connection.execute_batch("ROLLBACK"));
                group.into_iter().for_each(|batch| batch.answer(Err(error.clone())));
            }
        }
    }

    fn transaction(
        &self,
        group: &mut [Box<dyn Batch>],
    ) -> Result<Vec<Result<(), StoreError>>, StoreError> {
        self.execute("BEGIN IMMEDIATE")?;
        let mut outcomes = Vec::with_capacity(group.len());
        for batch in group {
            outcomes.push(self.savepoint(&mut **batch)?);
        }
        failpoint!("store.commit.before");
        self.execute("COMMIT")?;
        failpoint!("store.commit.after");
        Ok(outcomes)
    }

    /// Applies one batch, or undoes it alone. The outer error means that the whole transaction
    /// is lost, which SQLite does when the disk is full or fails.
    fn savepoint(&self, batch: &mut dyn Batch) -> Result<Result<(), StoreError>, StoreError> {
        self.execute("SAVEPOINT batch")?;
        let outcome = batch.apply(&self.connection).map_err(|fail| self.named(fail));
        if let Err(error) = &outcome {
            if self.connection.is_autocommit() {
                return Err(error.clone());
            }
            self.execute("ROLLBACK TO batch")?;
        }
        self.execute("RELEASE batch")?;
        Ok(outcome)
    }

    fn execute(&self, sql: &'static str) -> Result<(), StoreError> {
        let statement = self.connection.prepare_cached(sql);
        statement
            .and_then(|mut statement| statement.execute([]))
            .map(|_| ())
            .map_err(|error| self.named(error.into()))
    }

    fn named(&self, fail: Fail) -> StoreError {
        fail.at("writing to the store", &self.path)
    }
}
