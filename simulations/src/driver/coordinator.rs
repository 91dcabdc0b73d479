//! The coordinator's driver: mail in, one transaction for all that it leads to, then messages and
//! work. A batch is whatever mail has come since the last one.
//!
//! ```text
//! packets ──mail──▶ Engine ──Effect──▶ Rows (one transaction) ─▶ packets
//! pieces ─▶ Accumulator                  └─▶ jobs, whose results are mail again
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use roundelay_coordinator::accumulator::{Accumulator, Shape};
use roundelay_coordinator::engine::audit::{State, Status};
use roundelay_coordinator::engine::federation::Progress;
use roundelay_coordinator::engine::scheduler::Pace;
use roundelay_coordinator::engine::{self, Applied, Effect, Engine, Event, Fact};
use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::Signature;
use roundelay_protocol::error::Fault;
use roundelay_protocol::ids::{ClientId, RoundNumber};
use roundelay_protocol::lineage::{self, Standing};
use roundelay_protocol::message::{self, FromClient};
use roundelay_protocol::session::{Join, Refused, ToClient, ToCoordinator, VectorKind};
use roundelay_protocol::time::{Millis, Time};
use roundelay_protocol::transcript::NO_TRANSCRIPT;

use self::jobs::{Done, Job};
use self::uploads::Uploads;
use super::{Died, Turn};
use crate::bug::Bug;
use crate::faults::Strike;
use crate::network::{ClientNumber, ConnectionId, Side};
use crate::packet::Packet;
use crate::population::Population;
use crate::scenario::{Scenario, TIMING};
use crate::store::{Rows, Stored};
use crate::watch::Observed;

mod backup;
mod jobs;
mod post;
mod uploads;

/// Facts that no message waits for are durable after this long at the latest.
const LINGER: Millis = Millis(20);
/// Older states of the store that a planted mistake may go back to.
const SNAPSHOTS_MAX: usize = 10;

/// When rounds are planned in a simulation.
fn pace() -> Pace {
    Pace { assembly: Millis(500), retry: Millis(200), retry_max: Millis(5_000), ..Pace::default() }
}

/// What the coordinator wrote down for later.
#[derive(Debug)]
pub enum Due {
    /// Take the mail that has come.
    Mail,
    /// Make durable what no message waited for.
    Flush,
    /// The engine's alarm.
    Alarm(Time),
    /// A job is done.
    Job(RoundNumber, Box<Job>),
}

/// What the engine is told in the next batch.
enum Mail {
    Arrived { client: ClientId, connection: ConnectionId, join: Box<Join> },
    Gone { client: ClientId, connection: ConnectionId },
    Said { client: ClientId, connection: ConnectionId, round: RoundNumber, message: FromClient },
    Fetch { client: ClientId, connection: ConnectionId, kind: VectorKind },
    Attests { client: ClientId, connection: ConnectionId, standing: Standing, signature: Signature },
    AsksAttested { client: ClientId, connection: ConnectionId },
    Given { client: ClientId, connection: ConnectionId, state: Arc<[u8]> },
    Uploaded { client: ClientId, round: RoundNumber, root: Digest, to: Arc<Accumulator> },
    Refused { client: ClientId, round: RoundNumber, fault: Fault, to: Arc<Accumulator> },
    Done(RoundNumber, Done),
    Start,
}

/// The coordinator: its store, and its process while it runs.
pub struct Coordinator {
    population: Arc<Population>,
    batch_ms: u64,
    bug: Option<Bug>,
    rows: Rows,
    older: Vec<Rows>,
    /// The store as it was once, where this run restores it.
    backup: Option<Rows>,
    restored: bool,
    restores: bool,
    life: Option<Life>,
    lives: u64,
}

/// What dies with the process.
struct Life {
    engine: Engine,
    mail: Vec<Mail>,
    /// The connection over which each client has joined.
    seats: BTreeMap<ClientId, ConnectionId>,
    uploads: Uploads,
    facts: Vec<Fact>,
    results: BTreeMap<RoundNumber, Stored>,
    works: BTreeMap<RoundNumber, Work>,
    /// The newest state.
    model: Arc<lineage::State>,
    /// The state that a client was asked for.
    asked: Option<Standing>,
    alarm: Option<Time>,
}

/// What a round has come to.
#[derive(Default)]
struct Work {
    sum: Option<Digest>,
    aggregate: Option<Arc<[u8]>>,
    next_model: Option<Arc<lineage::State>>,
}

impl Coordinator {
    /// A coordinator with an empty store that does not run.
    #[must_use]
    pub fn new(population: Arc<Population>, scenario: &Scenario) -> Self {
        Self {
            population,
            batch_ms: scenario.batch_ms,
            bug: scenario.bug,
            rows: Rows::default(),
            older: Vec::new(),
            backup: None,
            restored: false,
            restores: scenario.restores,
            life: None,
            lives: 0,
        }
    }

    /// Which life it is in: what was written down in another one is of no use.
    #[must_use]
    pub fn life(&self) -> Option<u64> {
        self.life.is_some().then_some(self.lives)
    }

    /// How the federation stands; none while the process is down.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        self.life.as_ref().map(|life| life.engine.status())
    }

    /// Whether every round of the task is done, durably.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.rows.state == State::Finished
    }

    /// What the engine has made durable about the newest model.
    #[must_use]
    pub fn progress(&self) -> Option<&Progress> {
        self.rows.progress.as_ref()
    }

    /// The process starts, and goes on from what is durable.
    pub fn start(&mut self, turn: &mut Turn<'_>) {
        if self.life.is_some() {
            return;
        }
        if let Some(backup) = self.backup.take_if(|_| self.restored) {
            self.rows = backup;
        } else if self.bug == Some(Bug::OldSnapshot) && !self.older.is_empty() {
            self.rows = self.older.swap_remove(0);
            self.older.clear();
        }
        self.lives += 1;
        turn.network.listen();
        turn.watch.see(turn.now, &Observed::CoordinatorStarted);
        let initial = self.population.initial();
        let model = self.newest().unwrap_or_else(|| Arc::clone(initial));
        let manifest = self.population.terms().manifest().clone();
        let setup = engine::Setup::new(manifest, pace(), TIMING);
        let first = || Progress::new(setup.terms.hash(), initial.hash(), NO_TRANSCRIPT);
        let progress = self.rows.progress.clone().unwrap_or_else(first);
        let (state, interrupted) = (self.rows.state, self.rows.interrupted());
        let mut effects = Vec::new();
        let engine = Engine::resume(setup, state, progress, interrupted, turn.now, &mut effects);
        self.life = Some(Life {
            engine,
            mail: Vec::new(),
            seats: BTreeMap::new(),
            uploads: Uploads::default(),
            facts: Vec::new(),
            results: BTreeMap::new(),
            works: BTreeMap::new(),
            model,
            asked: None,
            alarm: None,
        });
        self.carry_out(effects, turn);
    }

    /// The newest state that a round has made.
    fn newest(&self) -> Option<Arc<lineage::State>> {
        let (_, blob) = self.rows.models.values().next_back()?;
        let bytes = self.rows.blob(blob)?;
        lineage::State::from_bytes(self.population.task(), &bytes).ok().map(Arc::new)
    }

    /// The process dies, and with it all that is not durable.
    pub fn die(&mut self, turn: &mut Turn<'_>) {
        if self.life.take().is_some() {
            turn.network.fall_silent(turn.now);
            turn.watch.see(turn.now, &Observed::CoordinatorDied);
            let downtime = turn.faults.downtime();
            turn.after(downtime, super::Due::StartCoordinator);
        }
    }

    /// The operator starts the federation if it does not run: at first, where a crash came before
    /// that was durable, and after it stalled.
    pub fn operate(&mut self, turn: &mut Turn<'_>) {
        let state = self.status().map(|status| status.state);
        if matches!(state, Some(State::Stopped | State::Stalled)) {
            self.post(Mail::Start, turn);
        }
    }

    /// A packet of a client.
    pub fn receive(
        &mut self,
        (client, connection): (ClientNumber, ConnectionId),
        packet: Packet,
        turn: &mut Turn<'_>,
    ) {
        let Some(life) = &mut self.life else { return };
        let client = self.population.residents()[client].id;
        let mail = match packet {
            Packet::Up(ToCoordinator::Join(join)) => {
                Mail::Arrived { client, connection, join: Box::new(join) }
            }
            Packet::Up(ToCoordinator::Round { round, message, .. }) => {
                Mail::Said { client, connection, round, message }
            }
            Packet::Up(ToCoordinator::FetchAggregate { round, .. }) => {
                Mail::Fetch { client, connection, kind: VectorKind::Aggregate(round) }
            }
            Packet::Up(ToCoordinator::FetchState { version, .. }) => {
                Mail::Fetch { client, connection, kind: VectorKind::State(version) }
            }
            Packet::Up(ToCoordinator::Attest { standing, signature, .. }) => {
                Mail::Attests { client, connection, standing, signature }
            }
            Packet::Up(ToCoordinator::FetchAttested { .. }) => {
                Mail::AsksAttested { client, connection }
            }
            Packet::Vector(VectorKind::State(_), state) => {
                Mail::Given { client, connection, state }
            }
            Packet::Piece(piece) => match life.uploads.take((client, connection), piece) {
                Some(mail) => mail,
                None => return,
            },
            _ => return,
        };
        self.post(mail, turn);
    }

    /// The connection of a client is gone.
    pub fn lose(
        &mut self,
        (client, connection): (ClientNumber, ConnectionId),
        turn: &mut Turn<'_>,
    ) {
        let client = self.population.residents()[client].id;
        if let Some(life) = &mut self.life {
            life.uploads.drop_connection(connection);
        }
        self.post(Mail::Gone { client, connection }, turn);
    }

    fn post(&mut self, mail: Mail, turn: &mut Turn<'_>) {
        let Some(life) = &mut self.life else { return };
        life.mail.push(mail);
        if life.mail.len() == 1 {
            turn.after(Millis(self.batch_ms), super::Due::Coordinator(self.lives, Due::Mail));
        }
    }

    /// Something that was written down in this life is due.
    pub fn due(&mut self, due: Due, turn: &mut Turn<'_>) {
        let Some(life) = &mut self.life else { return };
        let mut effects = Vec::new();
        match due {
            Due::Mail => {
                for mail in std::mem::take(&mut life.mail) {
                    self.open(mail, &mut effects, turn);
                }
            }
            Due::Alarm(at) if life.alarm == Some(at) => {
                life.alarm = None;
                life.engine.handle(turn.now, Event::Timer, &mut effects);
            }
            Due::Alarm(_) => return,
            Due::Flush => return self.flush(turn),
            Due::Job(round, job) => {
                let done = self.run(round, *job, turn);
                return self.post(Mail::Done(round, done), turn);
            }
        }
        self.carry_out(effects, turn);
    }

    fn open(&mut self, mail: Mail, effects: &mut Vec<Effect>, turn: &mut Turn<'_>) {
        let Some(life) = &mut self.life else { return };
        let event = match mail {
            Mail::Arrived { client, connection, join } => {
                return self.arrive(client, connection, join, effects, turn);
            }
            Mail::Gone { client, connection } => {
                if life.seats.get(&client) != Some(&connection) {
                    return;
                }
                life.seats.remove(&client);
                Event::Left(client)
            }
            Mail::Said { client, connection, round, message } => {
                if life.seats.get(&client) != Some(&connection) {
                    return;
                }
                Event::Message { client, round, message }
            }
            Mail::Attests { client, connection, standing, signature } => {
                if life.seats.get(&client) != Some(&connection) {
                    return;
                }
                Event::Attests { client, standing, signature }
            }
            Mail::AsksAttested { client, connection } => {
                if life.seats.get(&client) != Some(&connection) {
                    return;
                }
                Event::AsksAttested(client)
            }
            Mail::Given { client, connection, state } => {
                if life.seats.get(&client) != Some(&connection) {
                    return;
                }
                Event::StateGiven { client, standardised: self.given(&state) }
            }
            Mail::Fetch { client, connection, kind } => {
                return self.fetch(client, connection, kind, turn);
            }
            Mail::Uploaded { client, round, root, to } if life.uploads.takes(round, &to) => {
                Event::Uploaded { client, round, root }
            }
            Mail::Refused { client, round, fault, to } if life.uploads.takes(round, &to) => {
                Event::UploadRefused { client, round, fault }
            }
            Mail::Uploaded { .. } | Mail::Refused { .. } => return,
            Mail::Done(round, done) => match self.done(round, done) {
                Some(event) => event,
                None => return,
            },
            Mail::Start => Event::Start,
        };
        if let Some(life) = &mut self.life {
            life.engine.handle(turn.now, event, effects);
        }
    }

    fn arrive(
        &mut self,
        client: ClientId,
        connection: ConnectionId,
        join: Box<Join>,
        effects: &mut Vec<Effect>,
        turn: &mut Turn<'_>,
    ) {
        let Some((life, number)) = self.life.as_mut().zip(self.population.number(client)) else {
            return;
        };
        let tenant = self.population.residents()[number].tenant.clone();
        let before = effects.len();
        life.engine.handle(turn.now, Event::Joined { client, tenant, join }, effects);
        for effect in &effects[before..] {
            match effect {
                Effect::Admit { .. } => drop(life.seats.insert(client, connection)),
                Effect::Refuse { refused, .. } => {
                    let packet = Packet::Down(ToClient::Refused(refused.clone()));
                    turn.send((number, connection, Side::Client), packet);
                }
                _ => {}
            }
        }
    }

    fn done(&mut self, round: RoundNumber, done: Done) -> Option<Event> {
        let life = self.life.as_mut()?;
        let Some(work) = life.works.get_mut(&round) else {
            // The round was aborted meanwhile.
            if let Done::Stored(sum) = done {
                self.rows.delete(&sum);
            }
            return None;
        };
        Some(match done {
            Done::Stored(sum) => {
                work.sum = Some(sum);
                Event::SumStored { round, sum }
            }
            Done::Unmasked(outcome, aggregate) => {
                work.aggregate = Some(aggregate);
                Event::Unmasked { round, outcome }
            }
            Done::Applied { state, stored, metrics } => {
                life.results.insert(round, stored);
                let applied = Applied { state: state.hash(), metrics };
                work.next_model = Some(state);
                Event::Applied { round, applied }
            }
            Done::Failed(reason) => Event::WorkFailed(round, reason),
        })
    }

    /// Carries out the effects of a batch: what has to be durable first, then all else in order.
    fn carry_out(&mut self, effects: Vec<Effect>, turn: &mut Turn<'_>) {
        if self.try_carry_out(effects, turn).is_err() {
            self.die(turn);
        }
    }

    fn try_carry_out(&mut self, effects: Vec<Effect>, turn: &mut Turn<'_>) -> Result<(), Died> {
        let life = self.life.as_mut().ok_or(Died)?;
        let (mut rest, known) = (Vec::new(), life.facts.len());
        for effect in effects {
            match effect {
                Effect::Persist(fact) | Effect::Keep(fact) => life.facts.push(fact),
                Effect::Audit(_) => {}
                effect => rest.push(effect),
            }
        }
        let leaves = rest.iter().any(Effect::leaves);
        let strike = if leaves && !life.facts.is_empty() {
            turn.faults.strikes_coordinator(turn.now, rest.len())
        } else {
            None
        };
        if strike == Some(Strike::BeforeDurable) {
            return Err(Died);
        }
        if leaves {
            self.flush(turn);
        } else if known == 0 && !life.facts.is_empty() {
            turn.after(LINGER, super::Due::Coordinator(self.lives, Due::Flush));
        }
        for (carried, effect) in rest.into_iter().enumerate() {
            match strike {
                Some(Strike::AfterDurable) => return Err(Died),
                Some(Strike::Among(fatal)) if carried == fatal => return Err(Died),
                _ => self.effect(effect, turn),
            }
        }
        Ok(())
    }

    fn flush(&mut self, turn: &mut Turn<'_>) {
        let Some(life) = &mut self.life else { return };
        let mut facts = std::mem::take(&mut life.facts);
        if self.bug == Some(Bug::SkippedPersist) {
            facts.retain(|fact| !is_survivor_set(fact));
        }
        facts.iter().for_each(|fact| turn.watch.see(turn.now, &Observed::Durable(fact)));
        if self.bug == Some(Bug::OldSnapshot) {
            self.older.push(self.rows.clone());
            self.older.drain(..self.older.len().saturating_sub(SNAPSHOTS_MAX));
        }
        self.rows.transact(facts, &life.results);
        self.back_up();
    }

    fn effect(&mut self, effect: Effect, turn: &mut Turn<'_>) {
        let Some(life) = &mut self.life else { return };
        match effect {
            Effect::Admit { client, standing } => {
                let federation = self.population.terms().federation();
                self.say(client, ToClient::Joined { federation, standing }, turn);
            }
            Effect::Attested { to, attested } => {
                let federation = self.population.terms().federation();
                for client in to {
                    let attested = attested.clone();
                    self.say(client, ToClient::Attested { federation, attested }, turn);
                }
            }
            Effect::AskState { client, standing } => {
                life.asked = Some(standing);
                let federation = self.population.terms().federation();
                self.say(client, ToClient::GiveState { federation, standing }, turn);
            }
            Effect::End { client, end } => {
                let federation = self.population.terms().federation();
                self.say(client, ToClient::FederationEnded { federation, end }, turn);
            }
            Effect::Disconnect(client) => {
                if let (Some(_), Some(number)) =
                    (life.seats.remove(&client), self.population.number(client))
                {
                    turn.network.close(turn.now, number, Side::Coordinator);
                }
            }
            Effect::Send { to, round, message } => self.send(&to, round, &message, turn),
            Effect::ResendBoxes { to, round } => {
                if let Some(boxes) = self.rows.boxes(round, to) {
                    let message = message::ToClient::Boxes(Arc::new(boxes));
                    self.send(&[to], round, &message, turn);
                }
            }
            Effect::Push { to, round, .. } => self.push(&to, round, turn),
            Effect::Expelled { round, client, fault } => {
                turn.watch.see(turn.now, &Observed::Expelled { round, client, fault: &fault });
            }
            Effect::Lost { round, error } => {
                turn.watch.see(turn.now, &Observed::Unreadable { round, error: &error });
            }
            Effect::WakeAt(at) => {
                life.alarm = at;
                if let Some(at) = at {
                    let at = at.max(turn.now);
                    life.alarm = Some(at);
                    turn.agenda.put(at, super::Due::Coordinator(self.lives, Due::Alarm(at)));
                }
            }
            effect => self.work(effect, turn),
        }
    }

    fn work(&mut self, effect: Effect, turn: &mut Turn<'_>) {
        let Some(life) = &mut self.life else { return };
        match effect {
            Effect::OpenUploads { round, layout, active } => {
                let accumulator = Accumulator::new(Shape::all(&layout), active);
                life.uploads.open(round, accumulator);
            }
            Effect::Discard { round, client } => life.uploads.discard(round, client),
            Effect::Settle { round, client } => life.uploads.settle(round, client),
            Effect::StoreSum { round, clients } => {
                if let Some(accumulator) = life.uploads.close(round) {
                    life.works.entry(round).or_default();
                    self.later(round, Job::StoreSum(accumulator, clients), turn);
                }
            }
            Effect::Unmask { round, plan } => {
                life.works.entry(round).or_default().sum = Some(plan.sum);
                self.later(round, Job::Unmask(Box::new(plan)), turn);
            }
            Effect::Apply { round, plan, survivors, .. } => {
                let aggregate = life.works.entry(round).or_default().aggregate.clone();
                let aggregate = aggregate.unwrap_or_default();
                self.later(round, Job::Apply { plan, aggregate, survivors }, turn);
            }
            Effect::Close(round) => self.close(round),
            _ => {}
        }
    }

    fn later(&mut self, round: RoundNumber, job: Job, turn: &mut Turn<'_>) {
        let due = Due::Job(round, Box::new(job));
        turn.after(Millis(2 + self.batch_ms), super::Due::Coordinator(self.lives, due));
    }

    fn close(&mut self, round: RoundNumber) {
        let Some(life) = &mut self.life else { return };
        life.uploads.close(round);
        let Some(work) = life.works.remove(&round) else { return };
        if let Some(model) = work.next_model {
            life.model = model;
        }
        if let Some(sum) = work.sum {
            self.rows.delete(&sum);
        }
    }
}

fn is_survivor_set(fact: &Fact) -> bool {
    use roundelay_protocol::round::horizontal::coordinator::Record;
    matches!(fact, Fact::Record(_, record) if matches!(**record, Record::Survivors { .. }))
}
