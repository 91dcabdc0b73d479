//! One federation as it runs: carries out the effects of its engine in order, with durable files,
//! the gate, a trainer thread and the blocking pool.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roundelay_protocol::ids::{FederationId, RoundNumber};
use roundelay_protocol::lineage::State;
use roundelay_protocol::round::horizontal::client::LocalFailure;
use roundelay_protocol::session::VectorKind;
use roundelay_protocol::time::Time;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, spawn_blocking};

use super::link::Allowances;
use super::trainer::{TrainerThread, gone};
use crate::checkpoint::federation::HistoryFile;
use crate::checkpoint::{CheckpointError, FederationDir};
use crate::clock::Clock;
use crate::engine::work::{MaskWork, TrainWork, WorkFailure};
use crate::engine::{Effect, Event, Federation, Input};
use crate::gate::{Gate, GateError};
use crate::identity::os_rng;
use crate::outbound::{FetchAggregate, FetchState, MaskedVector, RoundMessage};

/// Inputs that may wait.
const INBOX_MAX: usize = 256;
/// A stored model is at most this much behind: a restart fetches or derives what is missing.
const SAVE_INTERVAL: Duration = Duration::from_secs(2);
/// The last result of a federation that is over is waited for this long.
const FINISH_MAX: Duration = Duration::from_secs(60);

/// What a federation's task is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// There is a connection: join on it.
    Join,
    /// For the engine.
    Input(Input),
    /// End, and tell when everything is stored.
    Stop(oneshot::Sender<()>),
    /// The federation is over: apply what was published, then end and tell.
    Finish(oneshot::Sender<()>),
    /// A masked vector is durable, or could not be stored.
    Stored(RoundNumber, Result<MaskedVector, CheckpointError>),
    /// The state was written, or not.
    Saved(Result<(), CheckpointError>),
}

/// What a federation's task tells.
#[derive(Debug)]
pub(crate) enum Told {
    /// Of the engine.
    Event(Event),
    /// Something could not be written.
    Checkpoint(CheckpointError),
    /// The model that it holds now.
    Model(Arc<State>),
}

/// Takes what a federation tells.
pub(crate) type OnTold = Arc<dyn Fn(FederationId, Told) + Send + Sync>;

/// What a federation's task works with.
pub(crate) struct Parts {
    pub(crate) engine: Federation,
    /// To be carried out first.
    pub(crate) effects: Vec<Effect>,
    pub(crate) dir: FederationDir,
    pub(crate) history: HistoryFile,
    pub(crate) trainer: TrainerThread,
    pub(crate) gate: Arc<Gate>,
    pub(crate) allowances: Arc<Allowances>,
    pub(crate) clock: Clock,
    pub(crate) on_told: OnTold,
}

/// Starts the task of a federation and gives its inbox.
pub(crate) fn start(parts: Parts) -> mpsc::Sender<Command> {
    let (inbox, commands) = mpsc::channel(INBOX_MAX);
    let runner = Runner {
        id: parts.engine.id(),
        engine: parts.engine,
        dir: parts.dir,
        history: Some(parts.history),
        trainer: parts.trainer,
        gate: parts.gate,
        allowances: parts.allowances,
        clock: parts.clock,
        on_told: parts.on_told,
        inbox: inbox.clone(),
        masked: BTreeMap::new(),
        uploads: BTreeMap::new(),
        finishing: None,
        deadline: None,
        saving: Saving::default(),
    };
    tokio::spawn(runner.run(commands, parts.effects));
    inbox
}

struct Runner {
    id: FederationId,
    engine: Federation,
    dir: FederationDir,
    /// Away while it is synced.
    history: Option<HistoryFile>,
    trainer: TrainerThread,
    gate: Arc<Gate>,
    allowances: Arc<Allowances>,
    clock: Clock,
    on_told: OnTold,
    inbox: mpsc::Sender<Command>,
    /// Durable vectors of the rounds that may still ask for them.
    masked: BTreeMap<RoundNumber, MaskedVector>,
    /// Uploads under way.
    uploads: BTreeMap<RoundNumber, AbortHandle>,
    /// The federation is over: whom to tell once the last result was applied, and by when.
    finishing: Option<(oneshot::Sender<()>, Instant)>,
    deadline: Option<Time>,
    saving: Saving,
}

/// The state that waits to be written.
#[derive(Default)]
struct Saving {
    waiting: Option<Arc<State>>,
    under_way: bool,
    last: Option<Instant>,
}

impl Runner {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>, effects: Vec<Effect>) {
        self.carry_out(effects).await;
        loop {
            let wakes_at = self.wakes_at();
            let command = tokio::select! {
                command = commands.recv() => command,
                () = sleep_until(wakes_at) => {
                    self.wake().await;
                    if let Some(done) = self.has_finished() {
                        return self.stop(done).await;
                    }
                    continue;
                }
            };
            match command {
                Some(Command::Join) => self.join().await,
                Some(Command::Input(input)) => self.input(input).await,
                Some(Command::Stored(round, stored)) => self.stored(round, stored).await,
                Some(Command::Saved(saved)) => self.saved(saved),
                Some(Command::Finish(done)) => {
                    self.finishing = Some((done, Instant::now() + FINISH_MAX));
                    self.input(Input::Ended).await;
                }
                Some(Command::Stop(done)) => return self.stop(done).await,
                None => return,
            }
            if let Some(done) = self.has_finished() {
                return self.stop(done).await;
            }
        }
    }

    /// Whom to tell that the last result was applied, once that is so.
    fn has_finished(&mut self) -> Option<oneshot::Sender<()>> {
        let idle = self.engine.is_idle();
        let finished = self.finishing.take_if(|(_, until)| idle || *until <= Instant::now());
        finished.map(|(done, _)| done)
    }

    fn wakes_at(&self) -> Option<Instant> {
        let deadline = self.deadline.map(|at| self.clock.instant(at));
        let save = self.saving.waiting.as_ref().filter(|_| !self.saving.under_way);
        let save =
            save.map(|_| self.saving.last.map_or_else(Instant::now, |at| at + SAVE_INTERVAL));
        let finish = self.finishing.as_ref().map(|(_, until)| *until);
        [deadline, save, finish].into_iter().flatten().min()
    }

    async fn wake(&mut self) {
        self.save_if_due();
        if self.deadline.is_some_and(|at| self.clock.now() >= at) {
            self.deadline = None;
            self.input(Input::Deadline).await;
        }
    }

    async fn join(&mut self) {
        // The records that a join rests on, such as a state that was taken over, are durable.
        if let Err(error) = self.sync_history().await {
            return self.tell(Told::Checkpoint(error));
        }
        let join = self.engine.join();
        self.send(&join).await;
    }

    async fn input(&mut self, input: Input) {
        let mut effects = Vec::new();
        self.engine.handle(self.clock.now(), input, &mut os_rng(), &mut effects);
        self.carry_out(effects).await;
    }

    async fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            if let Err(error) = self.effect(effect).await {
                self.tell(Told::Checkpoint(error));
                let mut effects = Vec::new();
                let (now, input) = (self.clock.now(), Input::PersistFailed);
                self.engine.handle(now, input, &mut os_rng(), &mut effects);
                for effect in effects {
                    // Nothing of this persists: machines are dropped and work is cancelled.
                    let _ = self.effect(effect).await;
                }
                return;
            }
        }
    }

    /// `Err`: a record could not be made durable.
    async fn effect(&mut self, effect: Effect) -> Result<(), CheckpointError> {
        match effect {
            Effect::Persist(record) => {
                if let Some(history) = &mut self.history {
                    history.append(&record)?;
                }
            }
            Effect::Send { round, message } => {
                self.sync_history().await?;
                let federation = self.id;
                self.send(&RoundMessage { federation, round, message }).await;
            }
            Effect::Upload(round) => {
                self.sync_history().await?;
                self.upload(round);
            }
            Effect::Train(work) => self.train(work),
            Effect::Cancel(round) => self.trainer.cancel(round),
            Effect::Mask(work) => self.mask(work),
            Effect::Forget(round) => self.forget(round),
            Effect::Expect { kind, bytes_max } => self.allowances.allow(self.id, kind, bytes_max),
            Effect::Fetch(kind) => self.fetch(kind).await,
            Effect::Derive(derivation) => {
                let inbox = self.inbox.clone();
                spawn_blocking(move || {
                    let derived = Input::Derived(derivation.run());
                    let _ = inbox.blocking_send(Command::Input(derived));
                });
            }
            Effect::Save(state) => {
                self.tell(Told::Model(Arc::clone(&state)));
                self.saving.waiting = Some(state);
                self.save_if_due();
            }
            Effect::SetDeadline(deadline) => self.deadline = deadline,
            Effect::Tell(event) => self.tell(Told::Event(event)),
        }
        Ok(())
    }

    fn tell(&self, told: Told) {
        (self.on_told)(self.id, told);
    }

    async fn sync_history(&mut self) -> Result<(), CheckpointError> {
        let Some(mut history) = self.history.take() else { return Ok(()) };
        if !history.is_dirty() {
            self.history = Some(history);
            return Ok(());
        }
        let synced = spawn_blocking(move || {
            let synced = history.sync();
            (history, synced)
        });
        // The closure does not panic; were the runtime shutting down, nothing is sent any more.
        let Ok((history, synced)) = synced.await else { return Ok(()) };
        self.history = Some(history);
        synced
    }

    async fn send<T: crate::outbound::Outbound>(&self, message: &T) {
        match self.gate.send(message).await {
            // The coordinator asks again on the next connection.
            Ok(()) | Err(GateError::NotConnected | GateError::Lost(_)) => {}
            Err(GateError::Checkpoint(error)) => self.tell(Told::Checkpoint(error)),
            Err(error @ GateError::TooLarge(_)) => tracing::error!(%error),
        }
    }

    async fn fetch(&self, kind: VectorKind) {
        let federation = self.id;
        match kind {
            VectorKind::Aggregate(round) => self.send(&FetchAggregate { federation, round }).await,
            VectorKind::State(version) => self.send(&FetchState { federation, version }).await,
            VectorKind::MaskedInput(_) | VectorKind::Manifest(_) => {}
        }
    }

    fn train(&mut self, work: Box<TrainWork>) {
        let round = work.round;
        let (result, inbox) = (self.trainer.train(work), self.inbox.clone());
        tokio::spawn(async move {
            let result = result.await.unwrap_or_else(|_| Err(WorkFailure::Train(gone())));
            let _ = inbox.send(Command::Input(Input::Trained { round, result })).await;
        });
    }

    fn mask(&self, work: Box<MaskWork>) {
        let (dir, inbox, round) = (self.dir.clone(), self.inbox.clone(), work.round);
        spawn_blocking(move || {
            let stored = dir.store_masked(&work.run());
            let _ = inbox.blocking_send(Command::Stored(round, stored));
        });
    }

    async fn stored(&mut self, round: RoundNumber, stored: Result<MaskedVector, CheckpointError>) {
        let result = match stored {
            Ok(vector) => {
                let root = vector.root();
                self.masked.insert(round, vector);
                Ok(root)
            }
            Err(error) => {
                self.tell(Told::Checkpoint(error));
                Err(LocalFailure::TrainingFailed)
            }
        };
        self.input(Input::Masked { round, result }).await;
    }

    fn upload(&mut self, round: RoundNumber) {
        let Some(vector) = self.masked.get(&round).cloned() else { return };
        let (gate, on_told, id) = (Arc::clone(&self.gate), Arc::clone(&self.on_told), self.id);
        let upload = tokio::spawn(async move {
            if let Err(GateError::Checkpoint(error)) = gate.send(&vector).await {
                on_told(id, Told::Checkpoint(error));
            }
        });
        // A second request takes the place of the first.
        if let Some(before) = self.uploads.insert(round, upload.abort_handle()) {
            before.abort();
        }
    }

    fn forget(&mut self, round: RoundNumber) {
        if let Some(upload) = self.uploads.remove(&round) {
            upload.abort();
        }
        self.allowances.withdraw(self.id, VectorKind::Aggregate(round));
        if self.masked.remove(&round).is_some() {
            let dir = self.dir.clone();
            spawn_blocking(move || dir.forget_masked(round));
        }
    }

    fn save_if_due(&mut self) {
        let due = self.saving.last.is_none_or(|last| last.elapsed() >= SAVE_INTERVAL);
        if self.saving.under_way || !due {
            return;
        }
        if let Some(state) = self.saving.waiting.take() {
            self.saving.under_way = true;
            let (dir, inbox) = (self.dir.clone(), self.inbox.clone());
            spawn_blocking(move || {
                let saved = dir.save_state(&state.to_bytes());
                let _ = inbox.blocking_send(Command::Saved(saved));
            });
        }
    }

    fn saved(&mut self, saved: Result<(), CheckpointError>) {
        self.saving.under_way = false;
        self.saving.last = Some(Instant::now());
        if let Err(error) = saved {
            self.tell(Told::Checkpoint(error));
        }
    }

    /// What is durable stays; keys of rounds go with this task.
    async fn stop(&mut self, done: oneshot::Sender<()>) {
        let _ = self.sync_history().await;
        self.uploads.values().for_each(AbortHandle::abort);
        if let Some(state) = self.saving.waiting.take() {
            let dir = self.dir.clone();
            let saved = spawn_blocking(move || dir.save_state(&state.to_bytes())).await;
            if let Ok(Err(error)) = saved {
                self.tell(Told::Checkpoint(error));
            }
        }
        // Nobody waits any more where the driver is gone.
        let _ = done.send(());
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
