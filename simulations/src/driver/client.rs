//! The driver of one client: its files, and its process while it runs. It carries out what the
//! engine says in order; a record is durable before anything later leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::RngExt;
use rand::rngs::ChaCha12Rng;
use roundelay_client::engine::work::{Derivation, MaskWork, Masked, TrainWork};
use roundelay_client::engine::{Effect, Federation, Input};
use roundelay_client::train::Uninterrupted;
use roundelay_protocol::ids::RoundNumber;
use roundelay_protocol::lineage::State;
use roundelay_protocol::round::horizontal::client::Record;
use roundelay_protocol::session::{ToClient, ToCoordinator, VectorKind};
use roundelay_protocol::time::{Millis, Time};

use super::{Died, Turn};
use crate::bug::Bug;
use crate::faults::Strike;
use crate::network::{ClientNumber, ConnectionId, Side};
use crate::packet::{Packet, Piece};
use crate::population::Population;
use crate::scenario::Scenario;
use crate::store::Files;
use crate::watch::Observed;

/// A client whose connection broke or was refused tries again after this long, and up to twice it.
const RETRY_MS: u64 = 300;
/// The same, where the coordinator turned it away.
const TURNED_AWAY_MS: u64 = 2_000;
/// The last result of a federation that is over is waited for this long.
const FINISH_MAX: Millis = Millis(60_000);
/// Pieces in which a vector leaves.
const PIECES: usize = 3;

/// What a client wrote down for later.
#[derive(Debug)]
pub enum Due {
    /// Try to connect.
    Dial,
    /// The engine's deadline.
    Deadline(Time),
    /// Local work is done.
    Trained(Box<TrainWork>),
    /// A contribution is masked.
    Masked(Box<MaskWork>),
    /// A state is derived.
    Derived(Box<Derivation>),
    /// The newest state is to be written.
    Save,
    /// The last result of a federation that is over is not waited for any longer.
    Finish,
    /// A record that a planted mistake held back is durable.
    Journaled(Box<Record>),
}

/// A client: its files, and its process while it runs.
pub struct Client {
    number: ClientNumber,
    population: Arc<Population>,
    work_ms: u64,
    bug: Option<Bug>,
    files: Files,
    rng: ChaCha12Rng,
    life: Option<Life>,
    lives: u64,
    /// Its line is gone until then.
    away_until: Time,
}

/// What dies with the process.
struct Life {
    federation: Federation,
    connection: Option<ConnectionId>,
    joined: bool,
    /// The coordinator has said that the federation is over: the last result is waited for until
    /// then.
    finishing: Option<Time>,
    /// It was applied, or did not come: this client takes no further part until it starts again.
    stopped: bool,
    /// A state that is not written yet.
    unsaved: Option<Arc<State>>,
    /// Masked vectors of rounds that are not over. After a restart their keys are gone.
    vectors: BTreeMap<RoundNumber, Masked>,
    uploaded: BTreeSet<RoundNumber>,
    cancelled: BTreeSet<RoundNumber>,
    expected: BTreeSet<Expected>,
    /// Records that were appended and are not durable yet.
    appended: Vec<Record>,
    deadline: Option<Time>,
}

/// [`VectorKind`] in an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Expected {
    Aggregate(u64),
    State(u64),
}

impl Expected {
    fn of(kind: VectorKind) -> Option<Self> {
        match kind {
            VectorKind::Aggregate(round) => Some(Self::Aggregate(round.0)),
            VectorKind::State(version) => Some(Self::State(version.0)),
            VectorKind::MaskedInput(_) | VectorKind::Manifest(_) => None,
        }
    }
}

impl Client {
    /// A client that has pinned the manifest and does not run.
    #[must_use]
    pub fn new(number: ClientNumber, population: Arc<Population>, scenario: &Scenario) -> Self {
        Self {
            number,
            population,
            work_ms: scenario.work_ms[number],
            bug: scenario.bug,
            files: Files::default(),
            rng: scenario.rng(&format!("client {number}")),
            life: None,
            lives: 0,
            away_until: Time(0),
        }
    }

    /// Which life it is in.
    #[must_use]
    pub fn life(&self) -> Option<u64> {
        self.life.is_some().then_some(self.lives)
    }

    /// The version that it holds and the hash of its state; none while it is down or catches up.
    #[must_use]
    pub fn holds(&self) -> Option<Arc<State>> {
        self.life.as_ref().and_then(|life| life.federation.state())
    }

    /// Whether it has heard that the federation is over, and takes no further part.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.life.as_ref().is_some_and(|life| life.stopped)
    }

    /// The process starts, and goes on from its files.
    pub fn start(&mut self, turn: &mut Turn<'_>) {
        if self.life.is_some() {
            return;
        }
        if self.bug == Some(Bug::LostHistory) {
            let kept = self.files.history.len().saturating_sub(2);
            self.files.history.truncate(kept);
        }
        self.lives += 1;
        turn.watch.see(turn.now, &Observed::ClientStarted(self.number));
        let task = self.population.task();
        let stored = self.files.state.as_deref();
        let stored = stored.and_then(|bytes| State::from_bytes(task, bytes).ok().map(Arc::new));
        let (setup, schema) = (self.population.setup(self.number), task.schema.digest());
        let initial = Arc::clone(self.population.initial());
        let (federation, effects) =
            Federation::new(setup, schema, &self.files.history, stored, initial);
        self.life = Some(Life {
            federation,
            connection: None,
            joined: false,
            finishing: None,
            stopped: false,
            unsaved: None,
            vectors: BTreeMap::new(),
            uploaded: BTreeSet::new(),
            cancelled: BTreeSet::new(),
            expected: BTreeSet::new(),
            appended: Vec::new(),
            deadline: None,
        });
        self.carry_out(effects, turn);
        self.dial_after(0, turn);
    }

    /// The process dies, and with it all that is not in its files.
    pub fn die(&mut self, turn: &mut Turn<'_>) {
        if let Some(life) = self.life.take() {
            // What was appended may have reached the disk, from the first record on.
            let kept = self.rng.random_range(0..=life.appended.len());
            self.keep(life.appended.into_iter().take(kept), turn);
            turn.network.close(turn.now, self.number, Side::Client);
            turn.watch.see(turn.now, &Observed::ClientDied(self.number));
            let downtime = turn.faults.downtime();
            turn.after(downtime, super::Due::StartClient(self.number));
        }
    }

    /// The line is gone for a while.
    pub fn stay_away(&mut self, length: Millis, turn: &mut Turn<'_>) {
        self.away_until = turn.now + length;
        turn.network.cut(turn.now, self.number);
    }

    /// A dialled connection stands: the client asks to take part.
    pub fn connected(&mut self, connection: ConnectionId, turn: &mut Turn<'_>) {
        let Some(life) = &mut self.life else {
            return turn.network.close(turn.now, self.number, Side::Client);
        };
        (life.connection, life.joined) = (Some(connection), false);
        turn.watch.see(turn.now, &Observed::Connection(self.number, "connects"));
        if self.sync(turn).is_err() {
            return self.die(turn);
        }
        if let Some(life) = &self.life {
            let join = life.federation.join();
            self.send(Packet::Up(ToCoordinator::Join(join)), turn);
        }
    }

    /// Nobody answered.
    pub fn unreachable(&mut self, turn: &mut Turn<'_>) {
        self.dial_after(RETRY_MS, turn);
    }

    /// Its connection is gone.
    pub fn lost(&mut self, connection: ConnectionId, turn: &mut Turn<'_>) {
        let Some(life) = &mut self.life else { return };
        if life.connection == Some(connection) {
            (life.connection, life.joined) = (None, false);
            turn.watch.see(turn.now, &Observed::Connection(self.number, "loses its connection"));
            self.dial_after(RETRY_MS, turn);
        }
    }

    fn dial_after(&mut self, wait_ms: u64, turn: &mut Turn<'_>) {
        let wait = Millis(wait_ms + self.rng.random_range(0..=wait_ms));
        let at = (turn.now + wait).max(self.away_until);
        turn.agenda.put(at, super::Due::Client(self.number, self.lives, Due::Dial));
    }

    /// A packet of the coordinator.
    pub fn receive(&mut self, connection: ConnectionId, packet: Packet, turn: &mut Turn<'_>) {
        let Some(life) = &mut self.life else { return };
        if life.connection != Some(connection) || life.stopped {
            return;
        }
        turn.watch.see(turn.now, &Observed::Heard(self.number, &packet));
        let input = match packet {
            Packet::Down(ToClient::Joined { standing, .. }) => {
                life.joined = true;
                Input::Joined(standing)
            }
            Packet::Down(ToClient::Attested { attested, .. }) => Input::Attested(attested),
            Packet::Down(ToClient::GiveState { standing, .. }) => Input::StateAsked(standing),
            Packet::Down(ToClient::Round { round, message, .. }) => {
                Input::Message { round, message }
            }
            Packet::Down(ToClient::FederationEnded { .. }) => {
                let until = turn.now + FINISH_MAX;
                life.finishing = Some(until);
                turn.agenda.put(until, super::Due::Client(self.number, self.lives, Due::Finish));
                Input::Ended
            }
            Packet::Down(ToClient::Refused(refused)) => {
                return self.turned_away(&refused.code, turn);
            }
            Packet::Vector(kind, words) => {
                let expected = Expected::of(kind);
                match (kind, expected.is_some_and(|one| life.expected.remove(&one))) {
                    (VectorKind::Aggregate(round), true) => {
                        Input::Aggregate { round, bytes: words.to_vec() }
                    }
                    (VectorKind::State(version), true) => {
                        Input::State { version, bytes: words.to_vec() }
                    }
                    _ => return,
                }
            }
            _ => return,
        };
        self.input(input, turn);
    }

    fn turned_away(&mut self, code: &str, turn: &mut Turn<'_>) {
        let Some(life) = &mut self.life else { return };
        (life.connection, life.joined) = (None, false);
        turn.watch.see(turn.now, &Observed::TurnedAway(self.number, code));
        turn.network.close(turn.now, self.number, Side::Client);
        self.dial_after(TURNED_AWAY_MS, turn);
    }

    /// Something that was written down in this life is due.
    pub fn due(&mut self, due: Due, turn: &mut Turn<'_>) {
        let Some(life) = self.life.as_mut().filter(|life| !life.stopped) else { return };
        match due {
            Due::Dial if life.connection.is_none() => turn.network.dial(turn.now, self.number),
            Due::Dial => {}
            Due::Deadline(at) if life.deadline == Some(at) => {
                life.deadline = None;
                self.input(Input::Deadline, turn);
            }
            Due::Deadline(_) => {}
            Due::Trained(work) => self.trained(&work, turn),
            Due::Masked(work) => self.masked(*work, turn),
            Due::Derived(derivation) => self.input(Input::Derived(derivation.run()), turn),
            Due::Save => self.save(),
            Due::Finish => self.stop(turn),
            Due::Journaled(record) => self.files.history.push(*record),
        }
    }

    fn trained(&mut self, work: &TrainWork, turn: &mut Turn<'_>) {
        let Some(life) = &mut self.life else { return };
        if !life.cancelled.remove(&work.round) {
            let mut trainer = self.population.trainer(self.number);
            let result = work.run(&mut trainer, &Uninterrupted);
            self.input(Input::Trained { round: work.round, result }, turn);
        }
    }

    /// The vector is durable before the engine hears of it.
    fn masked(&mut self, work: MaskWork, turn: &mut Turn<'_>) {
        let masked = work.run();
        let (round, roots) = (masked.round(), masked.roots());
        if turn.faults.strikes_client(turn.now).is_some() {
            return self.die(turn);
        }
        if let Some(life) = &mut self.life {
            life.vectors.insert(round, masked);
            self.input(Input::Masked { round, result: Ok(roots) }, turn);
        }
    }

    fn input(&mut self, input: Input, turn: &mut Turn<'_>) {
        let Some(life) = &mut self.life else { return };
        let mut effects = Vec::new();
        life.federation.handle(turn.now, input, &mut self.rng, &mut effects);
        self.carry_out(effects, turn);
        let finished =
            |life: &Life| life.finishing.is_some() && !life.stopped && life.federation.is_idle();
        if self.life.as_ref().is_some_and(finished) {
            self.stop(turn);
        }
    }

    /// What is durable stays; keys of rounds go.
    fn stop(&mut self, turn: &mut Turn<'_>) {
        if self.sync(turn).is_err() {
            return self.die(turn);
        }
        self.save();
        if let Some(life) = &mut self.life {
            life.stopped = true;
            turn.watch.see(turn.now, &Observed::Connection(self.number, "takes no further part"));
        }
    }

    fn save(&mut self) {
        let unsaved = self.life.as_mut().and_then(|life| life.unsaved.take());
        self.files.state = unsaved.map(|state| state.to_bytes()).or(self.files.state.take());
    }

    fn carry_out(&mut self, effects: Vec<Effect>, turn: &mut Turn<'_>) {
        for effect in effects {
            match self.effect(effect, turn) {
                Ok(Next::GoOn) => {}
                // What is left of the effects is not carried out.
                Ok(Next::DiskFull) => return self.input(Input::PersistFailed, turn),
                Err(Died) => return self.die(turn),
            }
        }
    }

    fn effect(&mut self, effect: Effect, turn: &mut Turn<'_>) -> Result<Next, Died> {
        match &effect {
            Effect::Upload(_) => self.sync(turn)?,
            Effect::Send { message, .. } if message.waits_for_records() => self.sync(turn)?,
            _ => {}
        }
        let life = self.life.as_mut().ok_or(Died)?;
        match effect {
            Effect::Persist(record) => return Ok(self.append(record, turn)),
            Effect::Send { round, message } => {
                let federation = life.federation.id();
                if life.joined {
                    let client = self.number;
                    turn.watch.see(turn.now, &Observed::Said { client, round, message: &message });
                    let said = ToCoordinator::Round { federation, round, message };
                    self.send(Packet::Up(said), turn);
                }
            }
            Effect::Attest { standing, signature } => {
                let federation = life.federation.id();
                self.say(ToCoordinator::Attest { federation, standing, signature }, turn);
            }
            Effect::FetchAttested => {
                let federation = life.federation.id();
                self.say(ToCoordinator::FetchAttested { federation }, turn);
            }
            Effect::GiveState(state) => {
                let kind = VectorKind::State(state.version());
                self.send(Packet::Vector(kind, state.to_bytes().into()), turn);
            }
            Effect::Train(work) => {
                life.cancelled.remove(&work.round);
                let wait = Millis(self.work_ms + self.rng.random_range(0..=self.work_ms));
                self.later(wait, Due::Trained(work), turn);
            }
            // Scenarios promise no privacy.
            Effect::Charge => {}
            Effect::Cancel(round) => drop(life.cancelled.insert(round)),
            Effect::Mask(work) => self.later(Millis(3), Due::Masked(work), turn),
            Effect::Upload(round) => self.upload(round, turn),
            Effect::Forget(round) => drop(life.vectors.remove(&round)),
            Effect::Expect { kind, .. } => life.expected.extend(Expected::of(kind)),
            Effect::Fetch(kind) => self.fetch(kind, turn),
            Effect::Derive(derivation) => self.later(Millis(5), Due::Derived(derivation), turn),
            Effect::Save(state) => {
                life.unsaved = Some(state);
                let wait = Millis(self.rng.random_range(0..300));
                self.later(wait, Due::Save, turn);
            }
            Effect::SetDeadline(at) => {
                life.deadline = at;
                if let Some(at) = at {
                    let due = Due::Deadline(at);
                    turn.agenda.put(at, super::Due::Client(self.number, self.lives, due));
                }
            }
            Effect::Tell(event) => {
                turn.watch.see(turn.now, &Observed::Tells(self.number, &event));
            }
        }
        Ok(Next::GoOn)
    }

    fn append(&mut self, record: Record, turn: &mut Turn<'_>) -> Next {
        if turn.faults.fills_disk(turn.now) {
            return Next::DiskFull;
        }
        if self.bug == Some(Bug::LateJournal) {
            self.later(Millis(400), Due::Journaled(Box::new(record)), turn);
        } else if let Some(life) = &mut self.life {
            life.appended.push(record);
        }
        Next::GoOn
    }

    /// Makes durable what was appended, if anything was.
    fn sync(&mut self, turn: &mut Turn<'_>) -> Result<(), Died> {
        let life = self.life.as_mut().ok_or(Died)?;
        if life.appended.is_empty() {
            return Ok(());
        }
        let strike = turn.faults.strikes_client(turn.now);
        if strike == Some(Strike::BeforeDurable) {
            return Err(Died);
        }
        let records = std::mem::take(&mut life.appended);
        self.keep(records, turn);
        if strike.is_some() { Err(Died) } else { Ok(()) }
    }

    fn keep(&mut self, records: impl IntoIterator<Item = Record>, turn: &mut Turn<'_>) {
        for record in records {
            turn.watch.see(turn.now, &Observed::Remembered(self.number, &record));
            self.files.history.push(record);
        }
    }

    fn later(&mut self, wait: Millis, due: Due, turn: &mut Turn<'_>) {
        turn.after(wait, super::Due::Client(self.number, self.lives, due));
    }

    fn upload(&mut self, round: RoundNumber, turn: &mut Turn<'_>) {
        let Some(life) = &mut self.life else { return };
        let (true, Some(connection), Some(masked)) =
            (life.joined, life.connection, life.vectors.get(&round))
        else {
            return;
        };
        let mut words = masked.words().to_vec();
        let again = !life.uploaded.insert(round);
        if again && self.bug == Some(Bug::ChangedUpload) {
            words.iter_mut().for_each(|byte| *byte = byte.wrapping_add(1));
        }
        let client = self.number;
        turn.watch.see(turn.now, &Observed::Uploads { client, round, words: &words });
        let (stream, bytes_total) = (turn.open_stream(), words.len() as u64);
        let piece_bytes = words.len().div_ceil(PIECES).max(1);
        let pieces = words.chunks(piece_bytes);
        let last = pieces.len().saturating_sub(1);
        for (number, words) in pieces.enumerate() {
            let (words, is_last) = (words.to_vec(), number == last);
            let piece = Piece { stream, round, bytes_total, words, is_last };
            turn.send((client, connection, Side::Coordinator), Packet::Piece(piece));
        }
    }

    fn fetch(&mut self, kind: VectorKind, turn: &mut Turn<'_>) {
        let federation = self.population.terms().federation();
        let packet = match kind {
            VectorKind::Aggregate(round) => ToCoordinator::FetchAggregate { federation, round },
            VectorKind::State(version) => ToCoordinator::FetchState { federation, version },
            VectorKind::MaskedInput(_) | VectorKind::Manifest(_) => return,
        };
        self.send(Packet::Up(packet), turn);
    }

    /// On a connection over which this client has joined.
    fn say(&self, message: ToCoordinator, turn: &mut Turn<'_>) {
        if self.life.as_ref().is_some_and(|life| life.joined) {
            self.send(Packet::Up(message), turn);
        }
    }

    fn send(&self, packet: Packet, turn: &mut Turn<'_>) {
        if let Some(connection) = self.life.as_ref().and_then(|life| life.connection) {
            turn.send((self.number, connection, Side::Coordinator), packet);
        }
    }
}

/// Whether the effects of a call go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    GoOn,
    DiskFull,
}
