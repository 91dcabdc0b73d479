//! A [`Trainer`] that works in a child process, so that the daemon links no libtorch, a crash of
//! native code ends one job and not the client, and a round can be stopped for sure.
//!
//! The child is started by the first job and lives until this value is dropped. When it ends on
//! its own the running job fails with [`TrainError::Crashed`], and the next job starts another one,
//! prepares it as before and makes sure that it sees the same data.

mod child;
mod memory;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use roundelay_protocol::ids::ModelVersion;
use roundelay_protocol::manifest::{Hyperparameters, Task};
use roundelay_protocol::statistics::{ColumnStatistics, Standardisation};

use super::job::{Reply, Request};
use super::{Control, DataSummary, Metrics, Options, TrainError, Trainer, Uninterrupted, Update};
use child::Child;

/// How long a cancelled job may go on before its process is killed, where nothing else is said.
pub const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// A trainer in a child process.
pub struct TrainerProcess {
    program: PathBuf,
    options: Options,
    cancel_timeout: Duration,
    stop: Arc<AtomicBool>,
    child: Option<Child>,
    prepared: Option<(Task, DataSummary)>,
    standardisation: Option<Standardisation>,
}

/// Stops whatever job a [`TrainerProcess`] runs, from any thread.
#[derive(Debug, Clone)]
pub struct Stopper(Arc<AtomicBool>);

impl Stopper {
    /// The running job and every later one end as [`TrainError::Cancelled`].
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl TrainerProcess {
    /// A trainer that starts `program`, a `roundelay-trainer`, with its first job.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>, options: Options) -> Self {
        Self {
            program: program.into(),
            options,
            cancel_timeout: CANCEL_TIMEOUT,
            stop: Arc::new(AtomicBool::new(false)),
            child: None,
            prepared: None,
            standardisation: None,
        }
    }

    /// A trainer that starts the `roundelay-trainer` beside the running program.
    ///
    /// # Errors
    /// [`TrainError::Installation`] where the system does not tell what program is running.
    pub fn beside_this_program(options: Options) -> Result<Self, TrainError> {
        let this = std::env::current_exe()
            .map_err(|error| TrainError::Installation(format!("current program: {error}")))?;
        Ok(Self::new(this.with_file_name("roundelay-trainer"), options))
    }

    /// How long a cancelled job may go on before its process is killed; 5 s unless set.
    #[must_use]
    pub fn cancel_timeout(mut self, timeout: Duration) -> Self {
        self.cancel_timeout = timeout;
        self
    }

    /// A handle that stops the running job from another thread.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.stop))
    }

    /// The child's process id while there is one.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Runs one job on a child that is ready for it.
    fn job(&mut self, request: &Request, control: &dyn Control) -> Result<Reply, TrainError> {
        self.ready()?;
        self.run(request, control)
    }

    /// Runs one job on the child there is. A child that ended or had to be killed is forgotten.
    fn run(&mut self, request: &Request, control: &dyn Control) -> Result<Reply, TrainError> {
        let Some(child) = &mut self.child else {
            return Err(TrainError::Internal("no trainer process".to_owned()));
        };
        let stopped = || control.cancelled() || self.stop.load(Ordering::Relaxed);
        let progress = |done, total| control.progress(done, total);
        let outcome = child.run(request, &stopped, &progress, self.cancel_timeout);
        if child.ended() {
            self.child = None;
        }
        outcome
    }

    /// Makes sure that there is a child, prepared like the last one.
    fn ready(&mut self) -> Result<(), TrainError> {
        if self.child.as_mut().is_some_and(Child::is_alive) {
            return Ok(());
        }
        self.child = Some(Child::start(&self.program)?);
        let open = Request::Open(Box::new(self.options.clone()));
        match self.run(&open, &Uninterrupted)? {
            Reply::Opened { release } if release == super::job::RELEASE => {}
            Reply::Opened { release } => {
                self.child = None;
                let (program, own) = (self.program.display(), super::job::RELEASE);
                return Err(TrainError::Installation(format!(
                    "{program} is of release {release}, this client of {own}; install both from one"
                )));
            }
            other => return Err(unexpected(&other)),
        }
        self.restore()
    }

    /// Takes a fresh child to where the last one was.
    fn restore(&mut self) -> Result<(), TrainError> {
        if let Some((task, before)) = self.prepared.clone() {
            let summary = self.prepare_child(&task)?;
            if summary != before {
                self.child = None;
                return Err(TrainError::DataChanged);
            }
        }
        match self.standardisation.clone() {
            Some(by) => self.standardise_child(&by),
            None => Ok(()),
        }
    }

    fn prepare_child(&mut self, task: &Task) -> Result<DataSummary, TrainError> {
        match self.run(&Request::Prepare(Box::new(task.clone())), &Uninterrupted)? {
            Reply::Prepared(summary) => Ok(summary),
            other => Err(unexpected(&other)),
        }
    }

    fn standardise_child(&mut self, by: &Standardisation) -> Result<(), TrainError> {
        match self.run(&Request::Standardise(by.clone()), &Uninterrupted)? {
            Reply::Standardised => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Puts a model where the child reads it.
    fn hand_over(&mut self, model: &[f32]) -> Result<u64, TrainError> {
        self.ready()?;
        let child = self.child.as_ref().ok_or(TrainError::Cancelled)?;
        child.vectors().write(model).map_err(shared_memory)
    }

    /// Takes what the child left.
    fn take_over(&self, parameters: u64) -> Result<Vec<f32>, TrainError> {
        let mut values = Vec::new();
        let child = self.child.as_ref().ok_or(TrainError::Cancelled)?;
        child.vectors().read(parameters, &mut values).map_err(shared_memory)?;
        Ok(values)
    }
}

impl Trainer for TrainerProcess {
    fn prepare(&mut self, task: &Task) -> Result<DataSummary, TrainError> {
        self.prepared = None;
        self.standardisation = None;
        self.ready()?;
        let summary = self.prepare_child(task)?;
        self.prepared = Some((task.clone(), summary.clone()));
        Ok(summary)
    }

    fn statistics(&mut self) -> Result<Vec<ColumnStatistics>, TrainError> {
        match self.job(&Request::Statistics, &Uninterrupted)? {
            Reply::Statistics(columns) => Ok(columns),
            other => Err(unexpected(&other)),
        }
    }

    fn standardise(&mut self, by: &Standardisation) -> Result<(), TrainError> {
        self.ready()?;
        self.standardise_child(by)?;
        self.standardisation = Some(by.clone());
        Ok(())
    }

    fn initial(&mut self) -> Result<Vec<f32>, TrainError> {
        match self.job(&Request::Initial, &Uninterrupted)? {
            Reply::Initial { parameters } => self.take_over(parameters),
            other => Err(unexpected(&other)),
        }
    }

    fn train(
        &mut self,
        model: &[f32],
        hyperparameters: &Hyperparameters,
        version: ModelVersion,
        control: &dyn Control,
    ) -> Result<Update, TrainError> {
        let parameters = self.hand_over(model)?;
        let hyperparameters = *hyperparameters;
        match self.job(&Request::Train { parameters, hyperparameters, version }, control)? {
            Reply::Trained { parameters, rows, loss } if parameters == model.len() as u64 => {
                Ok(Update { delta: self.take_over(parameters)?, rows, loss })
            }
            other => Err(unexpected(&other)),
        }
    }

    fn evaluate(&mut self, model: &[f32]) -> Result<Metrics, TrainError> {
        let parameters = self.hand_over(model)?;
        match self.job(&Request::Evaluate { parameters }, &Uninterrupted)? {
            Reply::Evaluated(metrics) => Ok(metrics),
            other => Err(unexpected(&other)),
        }
    }
}

fn unexpected(reply: &Reply) -> TrainError {
    TrainError::Internal(format!("the trainer process answered something else: {reply:?}"))
}

fn shared_memory(error: std::io::Error) -> TrainError {
    TrainError::Internal(format!("the memory shared with the trainer process: {error}"))
}
