//! The thread that a trainer lives on: jobs in, results out, one at a time, each to be cancelled.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use roundelay_protocol::ids::RoundNumber;
use roundelay_protocol::manifest::Task;
use roundelay_protocol::model::ModelSpec;
use tokio::sync::oneshot;

use crate::engine::work::{Contribution, TrainWork, WorkFailure};
use crate::train::{Control, DataSummary, TrainError, Trainer};

/// Told how far a job is: rows done, rows in all.
pub(crate) type OnProgress = Arc<dyn Fn(RoundNumber, u64, u64) + Send + Sync>;

/// What a trainer says before round 1.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) data: DataSummary,
    /// The initial parameters, where they come with a module and not from the task.
    pub(crate) module: Option<Vec<f32>>,
}

type Reply<T, E> = oneshot::Sender<Result<T, E>>;

enum Job {
    Prepare(Box<Task>, Reply<Prepared, TrainError>),
    Train(Box<TrainWork>, Arc<AtomicBool>, Reply<Contribution, WorkFailure>),
}

/// A trainer on a thread of its own. Dropping it cancels the running job and ends the thread.
pub(crate) struct TrainerThread {
    jobs: mpsc::Sender<Job>,
    running: Option<(RoundNumber, Arc<AtomicBool>)>,
}

impl TrainerThread {
    /// Starts the thread.
    pub(crate) fn start(
        trainer: Box<dyn Trainer>,
        on_progress: OnProgress,
    ) -> std::io::Result<Self> {
        let (jobs, waiting) = mpsc::channel();
        let name = "trainer".to_owned();
        thread::Builder::new().name(name).spawn(move || serve(trainer, &waiting, &on_progress))?;
        Ok(Self { jobs, running: None })
    }

    /// Reads and checks the data.
    pub(crate) async fn prepare(&self, task: &Task) -> Result<Prepared, TrainError> {
        let (reply, result) = oneshot::channel();
        let _ = self.jobs.send(Job::Prepare(Box::new(task.clone()), reply));
        result.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Starts the local work of a round; the receiver gets its result.
    pub(crate) fn train(
        &mut self,
        work: Box<TrainWork>,
    ) -> oneshot::Receiver<Result<Contribution, WorkFailure>> {
        let (reply, result) = oneshot::channel();
        let cancelled = Arc::new(AtomicBool::new(false));
        self.running = Some((work.round, Arc::clone(&cancelled)));
        let _ = self.jobs.send(Job::Train(work, cancelled, reply));
        result
    }

    /// The work of a round is of no use any more.
    pub(crate) fn cancel(&self, round: RoundNumber) {
        if let Some((running, cancelled)) = &self.running
            && *running == round
        {
            cancelled.store(true, Ordering::Relaxed);
        }
    }
}

impl Drop for TrainerThread {
    fn drop(&mut self) {
        if let Some((_, cancelled)) = &self.running {
            cancelled.store(true, Ordering::Relaxed);
        }
    }
}

/// What a job fails with whose thread is gone: a panic in the tenant's own trainer.
pub(crate) fn gone() -> TrainError {
    TrainError::Internal("the trainer panicked; its own message stands above".to_owned())
}

fn serve(mut trainer: Box<dyn Trainer>, jobs: &mpsc::Receiver<Job>, on_progress: &OnProgress) {
    // A receiver that is gone has lost interest in the result.
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Prepare(task, reply) => {
                let _ = reply.send(prepare(&mut *trainer, &task));
            }
            Job::Train(work, cancelled, reply) => {
                let round = work.round;
                let control = Watch { round, cancelled, on_progress, told: Cell::new(None) };
                let _ = reply.send(work.run(&mut *trainer, &control));
            }
        }
    }
}

fn prepare(trainer: &mut dyn Trainer, task: &Task) -> Result<Prepared, TrainError> {
    let data = trainer.prepare(task)?;
    if data.schema != task.schema.digest() {
        return Err(TrainError::Task("the trainer checked its data against another schema".into()));
    }
    let module = match task.model {
        ModelSpec::TorchScript { .. } => Some(trainer.initial()?),
        _ => None,
    };
    Ok(Prepared { data, module })
}

/// Progress is told so often at most.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

struct Watch<'a> {
    round: RoundNumber,
    cancelled: Arc<AtomicBool>,
    on_progress: &'a OnProgress,
    told: Cell<Option<Instant>>,
}

impl Control for Watch<'_> {
    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    fn progress(&self, done: u64, total: u64) {
        let due = self.told.get().is_none_or(|told| told.elapsed() >= PROGRESS_INTERVAL);
        if due || done == total {
            self.told.set(Some(Instant::now()));
            (self.on_progress)(self.round, done, total);
        }
    }
}
