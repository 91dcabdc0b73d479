//! One federation as it runs: carries out the effects of its engine in order, with durable files,
//! the gate, a trainer thread and the blocking pool.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roundelay_protocol::ids::{FederationId, RoundNumber};
use roundelay_protocol::lineage::State;
use roundelay_protocol::round::horizontal::client::{LocalFailure, Roots};
use roundelay_protocol::session::{RoundsEnd, VectorKind};
use roundelay_protocol::time::Time;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, spawn_blocking};

use super::link::Allowances;
use super::trainer::{TrainerThread, gone};
use crate::checkpoint::federation::HistoryFile;
use crate::checkpoint::privacy::Accounts;
use crate::checkpoint::{CheckpointError, FederationDir, at};
use crate::clock::Clock;
use crate::engine::work::{Derivation, MaskWork, TrainWork, WorkFailure};
use crate::engine::{Effect, Event, Federation, Input};
use crate::gate::{Gate, GateError};
use crate::identity::os_rng;
use crate::outbound::{
    FetchAggregate, FetchAttested, FetchState, MaskedVector, ModelState, RoundMessage,
    StateAttestation,
};

mod records;
mod saver;
mod vectors;

use records::Records;
use saver::Saver;
use vectors::Vectors;

/// Inputs that may wait.
const INBOX_MAX: usize = 256;
/// A masked vector that is durable, and what names it; or why it could not be stored.
type Stored = Result<(MaskedVector, Roots), CheckpointError>;
/// The last result of a federation that is over is waited for this long.
const FINISH_MAX: Duration = Duration::from_secs(60);

/// What a federation's task is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// There is a connection: join on it.
    Join,
    /// For the engine.
    Input(Input),
    /// There are no rounds for now.
    Pause(RoundsEnd),
    /// Take part in what waits for this client and in nothing else, and tell when that is done.
    Leave(oneshot::Sender<()>),
    /// End, and tell when everything is stored.
    Stop(oneshot::Sender<()>),
    /// The federation is over: apply what was published, then end and tell.
    Finish(Finishing),
    /// A masked vector is durable, or could not be stored.
    Stored(RoundNumber, Stored),
}

/// The end of a federation, as its task is told of it.
#[derive(Debug)]
pub(crate) struct Finishing {
    /// To be told once the last result was applied.
    pub(crate) done: oneshot::Sender<()>,
    /// All rounds of its task are done.
    pub(crate) finished: bool,
}

/// What a federation's task tells.
#[derive(Debug)]
pub(crate) enum Told {
    /// Of the engine.
    Event(Event),
    /// There are no rounds for now; a result that is being applied still is.
    Paused(RoundsEnd),
    /// Something could not be written that rounds can do without.
    Checkpoint(CheckpointError),
    /// Something could not be written without which nothing may be sent, or nothing will be that is
    /// written next: the client ends, so that nobody waits for it.
    Unwritable(CheckpointError),
    /// The model that it holds now.
    Model(Arc<State>),
}

impl Told {
    /// On a disk that is full, the next file won't be written either.
    fn not_written(error: CheckpointError) -> Self {
        match error {
            CheckpointError::DiskFull(_) => Self::Unwritable(error),
            _ => Self::Checkpoint(error),
        }
    }
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
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) trainer: TrainerThread,
    pub(crate) gate: Arc<Gate>,
    pub(crate) allowances: Arc<Allowances>,
    pub(crate) clock: Clock,
    pub(crate) on_told: OnTold,
}

/// Starts the task of a federation and gives its inbox.
pub(crate) fn start(parts: Parts) -> mpsc::Sender<Command> {
    let (inbox, commands) = mpsc::channel(INBOX_MAX);
    let (runner, effects) = Runner::new(parts, inbox.clone());
    tokio::spawn(runner.run(commands, effects));
    inbox
}

struct Runner {
    id: FederationId,
    engine: Federation,
    dir: FederationDir,
    history: Records,
    accounts: Arc<Accounts>,
    vectors: Vectors,
    saver: Saver,
    trainer: TrainerThread,
    gate: Arc<Gate>,
    allowances: Arc<Allowances>,
    clock: Clock,
    on_told: OnTold,
    inbox: mpsc::Sender<Command>,
    /// Uploads under way.
    uploads: BTreeMap<RoundNumber, AbortHandle>,
    /// The federation is over: whom to tell once the last result was applied, and by when.
    finishing: Option<(Finishing, Instant)>,
    /// Whom to tell once nobody waits for this client any more.
    leaving: Option<oneshot::Sender<()>>,
    deadline: Option<Time>,
    /// Something could not be written: what the engine knows is ahead of what is durable, so that
    /// nothing that rests on it may be said any more.
    is_broken: bool,
}

impl Runner {
    /// The task of a federation before its first step, and what it is to carry out first.
    fn new(parts: Parts, inbox: mpsc::Sender<Command>) -> (Self, Vec<Effect>) {
        let runner = Self {
            id: parts.engine.id(),
            engine: parts.engine,
            history: Records::new(parts.history),
            accounts: parts.accounts,
            vectors: Vectors::new(parts.dir.clone()),
            saver: Saver::new(parts.dir.clone()),
            dir: parts.dir,
            trainer: parts.trainer,
            gate: parts.gate,
            allowances: parts.allowances,
            clock: parts.clock,
            on_told: parts.on_told,
            inbox,
            uploads: BTreeMap::new(),
            finishing: None,
            leaving: None,
            deadline: None,
            is_broken: false,
        };
        (runner, parts.effects)
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>, effects: Vec<Effect>) {
        self.carry_out(effects).await;
        loop {
            if self.is_broken {
                return self.wait_for_the_end(commands).await;
            }
            let wakes_at = self.wakes_at();
            let command = tokio::select! {
                command = commands.recv() => command,
                written = self.saver.written() => {
                    self.tell_if_failed(written);
                    continue;
                }
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
                Some(Command::Pause(end)) => {
                    self.input(Input::Ended).await;
                    self.tell(Told::Paused(end));
                }
                Some(Command::Stored(round, stored)) => self.stored(round, stored).await,
                Some(Command::Finish(finishing)) => {
                    self.finishing = Some((finishing, Instant::now() + FINISH_MAX));
                    self.input(Input::Ended).await;
                }
                Some(Command::Leave(left)) => {
                    self.leaving = Some(left);
                    self.input(Input::Leaving).await;
                }
                Some(Command::Stop(done)) => return self.stop(done).await,
                None => return,
            }
            self.tell_if_left();
            if let Some(done) = self.has_finished() {
                return self.stop(done).await;
            }
        }
    }

    /// Does nothing any more: the driver was told, and ends this.
    async fn wait_for_the_end(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut unfinished = Vec::new();
        while let Some(command) = commands.recv().await {
            match command {
                Command::Stop(done) => return self.stop(done).await,
                Command::Finish(finishing) => unfinished.push(finishing),
                // Nothing waits for it any more: the sender is dropped.
                Command::Leave(_) => {}
                Command::Join | Command::Input(_) | Command::Pause(_) | Command::Stored(..) => {}
            }
        }
    }

    /// Whom to tell that the last result was applied, once that is so.
    fn has_finished(&mut self) -> Option<oneshot::Sender<()>> {
        let idle = self.engine.is_idle();
        let ended = self.finishing.take_if(|(_, until)| idle || *until <= Instant::now());
        let (Finishing { done, finished }, _) = ended?;
        if finished && self.engine.holds_the_end() {
            let kept = self.dir.keep_finished(self.engine.manifest());
            self.tell_if_failed(kept);
        }
        Some(done)
    }

    fn tell_if_left(&mut self) {
        if let Some(left) = self.leaving.take_if(|_| self.engine.has_left()) {
            // A driver that is gone does not wait.
            let _ = left.send(());
        }
    }

    fn wakes_at(&self) -> Option<Instant> {
        let deadline = self.deadline.map(|at| self.clock.instant(at));
        let finish = self.finishing.as_ref().map(|(_, until)| *until);
        [deadline, self.saver.wakes_at(), finish].into_iter().flatten().min()
    }

    async fn wake(&mut self) {
        self.saver.write_if_due();
        if self.deadline.is_some_and(|at| self.clock.now() >= at) {
            self.deadline = None;
            self.input(Input::Deadline).await;
        }
    }

    async fn join(&mut self) {
        // The records that a join rests on, such as a state that was taken over, are durable.
        if let Err(error) = self.history.sync().await {
            return self.break_off(error);
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
                self.break_off(error);
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
        // Every record of the engine was appended: what it remembers is what the file says.
        if let Err(error) = self.history.compact(|| self.engine.memory()).await {
            self.tell(Told::Checkpoint(error));
        }
    }

    /// `Err`: a record could not be made durable.
    async fn effect(&mut self, effect: Effect) -> Result<(), CheckpointError> {
        match effect {
            Effect::Persist(record) => self.history.append(&record)?,
            Effect::Charge => self.save_accounts().await?,
            Effect::Send { round, message } => {
                if message.waits_for_records() {
                    self.history.sync().await?;
                }
                let federation = self.id;
                self.send(&RoundMessage { federation, round, message }).await;
            }
            Effect::Upload(round) => {
                self.history.sync().await?;
                self.upload(round);
            }
            Effect::Train(work) => self.train(work),
            Effect::Cancel(round) => self.trainer.cancel(round),
            Effect::Mask(work) => self.mask(work),
            Effect::Forget(round) => self.forget(round),
            Effect::Expect { kind, bytes_max } => self.allowances.allow(self.id, kind, bytes_max),
            Effect::Fetch(kind) => self.fetch(kind).await,
            Effect::Attest { standing, signature } => {
                let federation = self.id;
                self.send(&StateAttestation { federation, standing, signature }).await;
            }
            Effect::FetchAttested => self.send(&FetchAttested { federation: self.id }).await,
            Effect::GiveState(state) => self.give(&state),
            Effect::Derive(derivation) => self.derive(derivation),
            Effect::Save(state) => {
                self.tell(Told::Model(Arc::clone(&state)));
                self.saver.keep(state);
                self.saver.write_if_due();
            }
            Effect::SetDeadline(deadline) => self.deadline = deadline,
            Effect::Tell(event) => self.tell(Told::Event(event)),
        }
        Ok(())
    }

    async fn save_accounts(&self) -> Result<(), CheckpointError> {
        let accounts = Arc::clone(&self.accounts);
        let saved = spawn_blocking(move || accounts.save()).await;
        // It panicked, or the runtime shuts down: nobody knows what is durable.
        saved.unwrap_or_else(|error| Err(at(self.accounts.path(), std::io::Error::other(error))))
    }

    fn tell(&self, told: Told) {
        (self.on_told)(self.id, told);
    }

    fn break_off(&mut self, error: CheckpointError) {
        self.is_broken = true;
        self.tell(Told::Unwritable(error));
    }

    async fn send<T: crate::outbound::Outbound>(&self, message: &T) {
        match self.gate.send(message).await {
            // The coordinator asks again on the next connection.
            Ok(()) | Err(GateError::NotConnected | GateError::Lost(_)) => {}
            // Nothing can leave any more.
            Err(GateError::Checkpoint(error)) => self.tell(Told::Unwritable(error)),
            Err(error @ GateError::TooLarge(_)) => tracing::error!(%error),
        }
    }

    async fn fetch(&self, kind: VectorKind) {
        let federation = self.id;
        if self.allowances.is_arriving(federation, kind) {
            // A long one over a slow line: twice it would take twice as long.
            return self.allowances.withdraw(federation, kind);
        }
        match kind {
            VectorKind::Aggregate(round) => self.send(&FetchAggregate { federation, round }).await,
            VectorKind::State(version) => self.send(&FetchState { federation, version }).await,
            VectorKind::MaskedInput(_) | VectorKind::Manifest(_) => {}
        }
    }

    /// Beside everything else: a model may be long.
    fn give(&self, state: &Arc<State>) {
        let (gate, on_told, id) = (Arc::clone(&self.gate), Arc::clone(&self.on_told), self.id);
        let state = ModelState { federation: id, state: Arc::clone(state) };
        tokio::spawn(async move {
            if let Err(GateError::Checkpoint(error)) = gate.send(&state).await {
                on_told(id, Told::not_written(error));
            }
        });
    }

    fn derive(&self, derivation: Box<Derivation>) {
        let inbox = self.inbox.clone();
        if derivation.is_short() {
            let derived = Command::Input(Input::Derived(derivation.run()));
            tokio::spawn(async move { inbox.send(derived).await });
            return;
        }
        spawn_blocking(move || {
            let derived = Input::Derived(derivation.run());
            let _ = inbox.blocking_send(Command::Input(derived));
        });
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
            let masked = work.run();
            let stored = dir.store_masked(&masked).map(|vector| (vector, masked.roots()));
            let _ = inbox.blocking_send(Command::Stored(round, stored));
        });
    }

    async fn stored(&mut self, round: RoundNumber, stored: Stored) {
        let result = match stored {
            Ok((vector, roots)) => {
                self.vectors.stored(round, vector, self.engine.is_alive(round));
                Ok(roots)
            }
            Err(error) => {
                self.tell(Told::not_written(error));
                Err(LocalFailure::TrainingFailed)
            }
        };
        self.input(Input::Masked { round, result }).await;
    }

    fn upload(&mut self, round: RoundNumber) {
        let Some(vector) = self.vectors.of(round) else { return };
        let (gate, on_told, id) = (Arc::clone(&self.gate), Arc::clone(&self.on_told), self.id);
        let upload = tokio::spawn(async move {
            if let Err(GateError::Checkpoint(error)) = gate.send(&vector).await {
                on_told(id, Told::not_written(error));
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
        self.vectors.forget(round);
    }

    fn tell_if_failed(&self, stored: Result<(), CheckpointError>) {
        if let Err(error) = stored {
            self.tell(Told::not_written(error));
        }
    }

    /// What is durable stays; keys of rounds go with this task.
    async fn stop(&mut self, done: oneshot::Sender<()>) {
        let stored = [self.history.sync().await, self.saver.finish().await];
        if !self.is_broken {
            stored.into_iter().for_each(|stored| self.tell_if_failed(stored));
        }
        self.uploads.values().for_each(AbortHandle::abort);
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

#[cfg(test)]
mod tests;
