//! A whole federation in virtual time: the engine, a disk that survives it, and clients.
//!
//! Effects are carried out as the driver does: what a call persists is durable at once and as a
//! whole, then messages leave. The world may end between the two, or before, at any call.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rand::rngs::ChaCha20Rng;
use rand::{RngExt, SeedableRng};
use roundelay_crypto::mask::MaskKey;
use roundelay_protocol::lineage::State as ModelState;
use roundelay_protocol::round::horizontal::client::Standing;
use roundelay_protocol::round::horizontal::coordinator::stored_boxes;
use roundelay_protocol::time::Millis;
use roundelay_protocol::transcript::{NO_TRANSCRIPT, aggregate_digest};

use super::super::rounds::{Interrupted, RoundState};
use super::super::*;
use crate::accumulator::{Accumulator, Shape, Undo, unmask};
use crate::testing::{Change, Out, TestClient, amendment, keys, manifest, timing};

/// What survives the coordinator.
#[derive(Clone, Default)]
pub(super) struct Disk {
    pub(super) records: BTreeMap<RoundNumber, Vec<Record>>,
    pub(super) rounds: BTreeMap<RoundNumber, RoundSummary>,
    pub(super) progress: Option<Progress>,
    pub(super) models: BTreeMap<ModelVersion, NewModel>,
    pub(super) evaluated: BTreeMap<ModelVersion, Metrics>,
    pub(super) audit: Vec<Entry>,
    pub(super) recovered: Vec<Standing>,
    pub(super) state: Option<State>,
    aggregates: BTreeMap<RoundNumber, Arc<Vec<u8>>>,
    /// Masked sums, and model states, by their hashes.
    sums: BTreeMap<Digest, Vec<u8>>,
    pub(super) states: BTreeMap<Digest, Vec<u8>>,
}

/// Where the coordinator dies: at its call number `call`, before or after that is durable.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crash {
    pub(super) call: usize,
    pub(super) durable: bool,
}

enum Delivery {
    ToClient { client: usize, connection: u64, message: ToCl },
    FromClient { client: usize, connection: u64, out: Out },
    Attests { client: usize, connection: u64 },
    Work { life: u64, event: Event },
    Alarm { life: u64, at: Time },
    Join { client: usize },
    Revive,
}

enum ToCl {
    Round(RoundNumber, ToClient),
    Aggregate(RoundNumber, Arc<Vec<u8>>),
}

pub(super) struct World {
    pub(super) now: Time,
    pub(super) engine: Option<Engine>,
    pub(super) disk: Disk,
    pub(super) clients: Vec<TestClient>,
    /// Refusals that clients were given.
    pub(super) refused: Vec<(usize, String)>,
    /// Clients that were told of the end.
    pub(super) ended: BTreeSet<usize>,
    pub(super) expelled: Vec<(usize, Fault)>,
    /// Signatures under states that were given to clients.
    pub(super) attested: Vec<(Vec<ClientId>, Attested)>,
    /// Clients that were asked for a state.
    pub(super) asked: Vec<(usize, Standing)>,
    /// Clients that give another state than the one that they are asked for.
    pub(super) forged: BTreeSet<usize>,
    /// Whether clients keep to themselves what they have derived.
    pub(super) silent: bool,
    /// Rounds whose records made none.
    pub(super) lost: Vec<RoundNumber>,
    /// Vectors that are in a sum for good.
    pub(super) settled: Vec<(RoundNumber, ClientId)>,
    /// How long clients train.
    pub(super) training: Millis,
    pub(super) crash: Option<Crash>,
    pub(super) calls: usize,
    setup: Setup,
    /// What was in force before, oldest first.
    superseded: Vec<Setup>,
    connections: Vec<Option<u64>>,
    next_connection: u64,
    life: u64,
    queue: BTreeMap<(Time, u64), Delivery>,
    posted: u64,
    rng: ChaCha20Rng,
    accumulators: BTreeMap<RoundNumber, Arc<Accumulator>>,
    aggregates: BTreeMap<RoundNumber, Arc<Vec<u8>>>,
    /// What happens to clients, each once.
    pub(super) script: Vec<Incident>,
}

/// Something that happens to a client when it is about to send something in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Incident {
    pub(super) client: usize,
    pub(super) round: RoundNumber,
    pub(super) at: At,
    pub(super) what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    Advert,
    Shares,
    Upload,
    Commit,
    Signature,
    Reveal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// The connection breaks and is back after so many milliseconds; keys are kept.
    Disconnect(u64),
    /// The process dies and is back after so many milliseconds; keys are lost.
    Restart(u64),
    /// The process dies for good.
    Die,
    /// The upload is cut short by so many bytes and said to be whole.
    Short(usize),
}

impl World {
    pub(super) fn new(clients: usize, rounds: u32, standardise: bool, seed: u64) -> Self {
        let keys = keys(clients);
        let setup = Setup::new(manifest(&keys, rounds, standardise), Pace::default(), timing());
        let clients: Vec<_> = keys
            .iter()
            .zip(seed..)
            .map(|(key, seed)| TestClient::new(&setup.terms, key, seed))
            .collect();
        let mut world = Self {
            now: Time(1_000_000),
            engine: None,
            disk: Disk { state: Some(State::Running), ..Disk::default() },
            connections: vec![None; clients.len()],
            refused: Vec::new(),
            ended: BTreeSet::new(),
            expelled: Vec::new(),
            attested: Vec::new(),
            asked: Vec::new(),
            forged: BTreeSet::new(),
            silent: false,
            lost: Vec::new(),
            settled: Vec::new(),
            training: Millis(0),
            crash: None,
            calls: 0,
            setup,
            superseded: Vec::new(),
            next_connection: 0,
            life: 0,
            queue: BTreeMap::new(),
            posted: 0,
            rng: ChaCha20Rng::seed_from_u64(seed),
            accumulators: BTreeMap::new(),
            aggregates: BTreeMap::new(),
            script: Vec::new(),
            clients,
        };
        let first = world.clients[0].state.to_bytes();
        world.disk.states.insert(world.clients[0].state.hash(), first);
        world
    }

    pub(super) fn pace(&mut self, change: impl FnOnce(&mut Pace)) {
        change(&mut self.setup.pace);
    }

    /// Everyone joins, and time passes until nothing moves any more or the time is over.
    pub(super) fn run(&mut self) {
        self.revive();
        (0..self.clients.len()).for_each(|client| self.post(Millis(1), Delivery::Join { client }));
        self.go_on();
    }

    pub(super) fn go_on(&mut self) {
        let end = self.now + Millis(3_600_000);
        while let Some(((time, _), delivery)) = self.queue.pop_first() {
            assert!(time <= end, "an hour of virtual time has passed and something still moves");
            self.now = self.now.max(time);
            self.deliver(delivery);
        }
    }

    /// Everyone joins, and things move until this holds.
    pub(super) fn run_until(&mut self, holds: impl Fn(&Self) -> bool) {
        self.revive();
        (0..self.clients.len()).for_each(|client| self.post(Millis(1), Delivery::Join { client }));
        self.go_on_until(holds);
    }

    /// Things move until this holds.
    pub(super) fn go_on_until(&mut self, holds: impl Fn(&Self) -> bool) {
        while !holds(self) {
            let ((time, _), delivery) = self.queue.pop_first().expect("it holds at some time");
            self.now = self.now.max(time);
            self.deliver(delivery);
        }
    }

    /// These clients do not come by themselves.
    pub(super) fn keep_away(&mut self, clients: &[usize]) {
        let stays = |delivery: &Delivery| matches!(delivery, Delivery::Join { client } if clients.contains(client));
        self.queue.retain(|_, delivery| !stays(delivery));
    }

    pub(super) fn terms(&self) -> &Terms {
        &self.setup.terms
    }

    /// The members agree on more rounds.
    pub(super) fn amend(&mut self, rounds: u32) {
        let mut manifest = self.setup.terms.manifest().clone();
        manifest.predecessor = Some(manifest.hash());
        manifest.version += 1;
        manifest.task.rounds = rounds;
        self.set_manifest(manifest);
        self.tell(Event::Amended(Box::new(self.setup.clone())));
    }

    /// The members agree on others.
    pub(super) fn change(&mut self, change: Change) {
        let mut all = keys(self.clients.len() + 1);
        let spare = all.pop().unwrap();
        let (manifest, _) = amendment(self.setup.terms.manifest(), &all, &spare, change);
        self.set_manifest(manifest);
        if change != Change::Leave {
            let mut newcomer = TestClient::new(&self.setup.terms, &spare, 99);
            newcomer.pin(&all);
            self.clients.push(newcomer);
            self.connections.push(None);
        }
        self.tell(Event::Amended(Box::new(self.setup.clone())));
    }

    /// The first client that the manifest names gives its place to a newcomer, in another tenant's
    /// name all the while.
    pub(super) fn replace_first(&mut self) {
        let mut manifest = self.setup.terms.manifest().clone();
        let newcomer = keys(self.clients.len() + 1).pop().unwrap();
        let first = manifest.members.iter_mut().find(|member| {
            let first = member.clients.first().unwrap().fingerprint();
            self.clients.iter().take(4).any(|client| client.id == ClientId(first))
        });
        first.unwrap().clients = vec![newcomer.public()];
        (manifest.version, manifest.predecessor) = (manifest.version + 1, Some(manifest.hash()));
        self.set_manifest(manifest);
        self.clients.push(TestClient::new(&self.setup.terms, &newcomer, 98));
        self.connections.push(None);
        self.tell(Event::Amended(Box::new(self.setup.clone())));
    }

    fn set_manifest(&mut self, manifest: Manifest) {
        let setup = Setup::new(manifest, self.setup.pace, self.setup.timing);
        self.superseded.push(std::mem::replace(&mut self.setup, setup));
    }

    /// Clients with a connection.
    pub(super) fn connected(&self) -> usize {
        self.connections.iter().flatten().count()
    }

    pub(super) fn status(&self) -> audit::Status {
        self.engine.as_ref().unwrap().status()
    }

    pub(super) fn progress(&self) -> &Progress {
        self.disk.progress.as_ref().unwrap()
    }

    /// Rounds by how they ended, in order.
    pub(super) fn outcomes(&self) -> Vec<RoundState> {
        self.disk.rounds.values().map(|round| round.state.clone()).collect()
    }

    pub(super) fn tell(&mut self, event: Event) {
        let mut effects = Vec::new();
        if let Some(engine) = &mut self.engine {
            engine.handle(self.now, event, &mut effects);
        }
        self.carry_out(effects);
    }

    fn post(&mut self, delay: Millis, delivery: Delivery) {
        self.posted += 1;
        self.queue.insert((self.now + delay, self.posted), delivery);
    }

    fn latency(&mut self) -> Millis {
        Millis(self.rng.random_range(1..=20))
    }

    fn revive(&mut self) {
        let newest = self.setup.clone();
        let first =
            || Progress::new(newest.terms.hash(), self.clients[0].standing().state, NO_TRANSCRIPT);
        let progress = self.disk.progress.clone().unwrap_or_else(first);
        let is_driven = |setup: &&Setup| setup.terms.hash() == progress.manifest;
        let setup = self.superseded.iter().find(is_driven).unwrap_or(&newest).clone();
        let is_amended = setup.terms.hash() != newest.terms.hash();
        let running = self.disk.rounds.values().filter(|round| round.state == RoundState::Running);
        let interrupted = running
            .map(|round| Interrupted {
                round: round.round,
                began: Time(round.began_ms),
                cohort: round.cohort,
                records: self.disk.records.get(&round.round).cloned().unwrap_or_default(),
            })
            .collect();
        let mut effects = Vec::new();
        let state = self.disk.state.unwrap();
        let engine = Engine::resume(setup, state, progress, interrupted, self.now, &mut effects);
        self.engine = Some(engine);
        self.carry_out(effects);
        if is_amended {
            self.tell(Event::Amended(Box::new(newest)));
        }
    }

    /// The coordinator dies; clients notice and come back when it does.
    pub(super) fn kill(&mut self, away: Millis) {
        self.engine = None;
        self.life += 1;
        self.accumulators.clear();
        self.aggregates.clear();
        let connected: Vec<_> =
            (0..self.clients.len()).filter(|client| self.connections[*client].is_some()).collect();
        self.connections.fill(None);
        self.post(away, Delivery::Revive);
        for client in connected {
            let delay = Millis(away.0 + self.latency().0);
            self.post(delay, Delivery::Join { client });
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Revive => self.revive(),
            Delivery::Join { client } => self.join(client),
            Delivery::Work { life, event } if life == self.life => self.tell(event),
            Delivery::Alarm { life, at } if life == self.life && at <= self.now => {
                self.tell(Event::Timer);
            }
            Delivery::Work { .. } | Delivery::Alarm { .. } => {}
            Delivery::ToClient { client, connection, message } => {
                if self.connections[client] == Some(connection) {
                    self.client_hears(client, connection, message);
                }
            }
            Delivery::Attests { client, connection } => {
                if self.connections[client] == Some(connection) {
                    self.client_attests(client);
                }
            }
            Delivery::FromClient { client, connection, out } => {
                if self.connections[client] == Some(connection) {
                    self.client_said(client, out);
                }
            }
        }
    }

    fn join(&mut self, client: usize) {
        if self.engine.is_none() {
            return self.post(Millis(50), Delivery::Join { client });
        }
        if self.connections[client].is_some() {
            return;
        }
        self.next_connection += 1;
        self.connections[client] = Some(self.next_connection);
        let who = &self.clients[client];
        let (id, tenant, join) = (who.id, who.tenant.clone(), Box::new(who.join()));
        self.tell(Event::Joined { client: id, tenant, join });
    }

    fn client_hears(&mut self, client: usize, connection: u64, message: ToCl) {
        let (now, who) = (self.now, &mut self.clients[client]);
        let derived = who.derived();
        let outs = match message {
            ToCl::Round(round, message) => who.take(now, round, message),
            ToCl::Aggregate(round, bytes) => who.aggregate(now, round, &bytes),
        };
        if who.derived() != derived && !self.silent {
            let delay = self.latency();
            self.post(delay, Delivery::Attests { client, connection });
        }
        self.client_acts(client, outs);
    }

    /// A client says that it has derived the state at which it stands.
    pub(super) fn client_attests(&mut self, client: usize) {
        let who = &self.clients[client];
        let (client, standing) = (who.id, who.derived().unwrap());
        let signature = who.attestation().unwrap();
        self.tell(Event::Attests { client, standing, signature });
    }

    fn client_acts(&mut self, client: usize, outs: Vec<Out>) {
        let mut outs = VecDeque::from(outs);
        while let Some(out) = outs.pop_front() {
            let out = match self.incident(client, &out) {
                Some(What::Short(by)) => match out {
                    Out::Upload(round, mut bytes) => {
                        bytes.truncate(bytes.len() - by);
                        Out::Upload(round, bytes)
                    }
                    out => out,
                },
                Some(What::Disconnect(away)) => {
                    self.lose(client, Some(away));
                    return;
                }
                Some(What::Restart(away)) => {
                    self.clients[client].restart();
                    self.lose(client, Some(away));
                    return;
                }
                Some(What::Die) => {
                    self.lose(client, None);
                    return;
                }
                None => out,
            };
            if let Some(connection) = self.connections[client] {
                let trains = if matches!(out, Out::Upload(..)) { self.training } else { Millis(0) };
                let delay = Millis(self.latency().0 + trains.0);
                self.post(delay, Delivery::FromClient { client, connection, out });
            }
        }
    }

    fn incident(&mut self, client: usize, out: &Out) -> Option<What> {
        let (round, at) = match out {
            Out::Upload(round, _) => (*round, At::Upload),
            Out::Send(round, FromClient::Advert(_)) => (*round, At::Advert),
            Out::Send(round, FromClient::Shares(_)) => (*round, At::Shares),
            Out::Send(round, FromClient::InputCommit(_)) => (*round, At::Commit),
            Out::Send(round, FromClient::SurvivorSignature(_)) => (*round, At::Signature),
            Out::Send(round, FromClient::Reveal(_)) => (*round, At::Reveal),
            Out::Send(_, FromClient::Declined(_) | FromClient::Accusation(_)) => return None,
        };
        let planned = self.script.iter().position(|incident| {
            incident.client == client && incident.round == round && incident.at == at
        })?;
        Some(self.script.swap_remove(planned).what)
    }

    /// A client's connection goes; it is back after a while, or never.
    pub(super) fn lose(&mut self, client: usize, away: Option<u64>) {
        if self.connections[client].take().is_some() {
            self.tell(Event::Left(self.clients[client].id));
        }
        if let Some(away) = away {
            self.post(Millis(away), Delivery::Join { client });
        }
    }

    pub(super) fn return_now(&mut self, client: usize) {
        self.post(Millis(1), Delivery::Join { client });
    }

    fn client_said(&mut self, client: usize, out: Out) {
        let id = self.clients[client].id;
        match out {
            Out::Send(round, message) => self.tell(Event::Message { client: id, round, message }),
            Out::Upload(round, bytes) => {
                let Some(accumulator) = self.accumulators.get(&round) else { return };
                let expected = accumulator.bytes();
                let uploaded = accumulator
                    .begin(id, expected, Undo::in_memory(()))
                    .and_then(|mut upload| upload.write(&bytes).and_then(|()| upload.finish()));
                match uploaded {
                    Ok(root) => self.tell(Event::Uploaded { client: id, round, root }),
                    Err(crate::accumulator::UploadError::Fault(fault)) => {
                        self.tell(Event::UploadRefused { client: id, round, fault });
                    }
                    Err(_) => {}
                }
            }
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        self.calls += 1;
        let crash = self.crash.filter(|crash| crash.call == self.calls);
        if crash.is_some_and(|crash| !crash.durable) {
            return self.kill(Millis(100));
        }
        let mut rest = Vec::new();
        for effect in effects {
            match effect {
                Effect::Persist(fact) | Effect::Keep(fact) => self.disk.keep(fact),
                Effect::Audit(entry) => self.disk.audit.push(entry),
                effect => rest.push(effect),
            }
        }
        if crash.is_some() {
            return self.kill(Millis(100));
        }
        let life = self.life;
        for effect in rest {
            if self.life == life {
                self.effect(effect);
            }
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Admit { client, standing } => self.admitted(client, standing),
            Effect::Attested { to, attested } => {
                to.iter().for_each(|client| self.take_over(*client, &attested));
                self.attested.push((to, attested));
            }
            Effect::AskState { client, standing } => {
                let who = self.who(client);
                self.asked.push((who, standing));
                let state = &self.clients[who].state;
                let standardised = (state.hash() == standing.state && !self.forged.contains(&who))
                    .then_some(state.standardisation().is_some());
                self.disk.states.insert(state.hash(), state.to_bytes());
                self.tell(Event::StateGiven { client, standardised });
            }
            Effect::Refuse { client, refused } => {
                let who = self.who(client);
                self.refused.push((who, refused.code.to_string()));
                self.connections[who] = None;
            }
            Effect::End { client, .. } => {
                let who = self.who(client);
                self.ended.insert(who);
            }
            Effect::Disconnect(client) => {
                let who = self.who(client);
                self.connections[who] = None;
                self.lose(who, Some(10));
            }
            Effect::Send { to, round, message } => {
                for client in to {
                    self.send(client, ToCl::Round(round, message.clone()));
                }
            }
            Effect::ResendBoxes { to, round } => {
                let boxes = stored_boxes(&self.disk.records[&round], to).unwrap();
                self.send(to, ToCl::Round(round, ToClient::Boxes(Arc::new(boxes))));
            }
            Effect::Push { to, round } => {
                let stored = || self.disk.aggregates.get(&round);
                let Some(bytes) = self.aggregates.get(&round).or_else(stored).cloned() else {
                    return;
                };
                for client in to {
                    self.send(client, ToCl::Aggregate(round, Arc::clone(&bytes)));
                }
            }
            Effect::Expelled { client, fault, .. } => {
                let who = self.who(client);
                self.expelled.push((who, fault));
            }
            Effect::WakeAt(Some(at)) => {
                let (life, delay) = (self.life, at - self.now);
                self.post(delay, Delivery::Alarm { life, at });
            }
            Effect::Amended => {
                for client in 0..self.clients.len() {
                    self.clients[client].repin(&self.setup.terms);
                    self.post(Millis(20), Delivery::Join { client });
                }
            }
            Effect::Lost { round, .. } => self.lost.push(round),
            effect => self.work(effect),
        }
    }

    fn work(&mut self, effect: Effect) {
        match effect {
            Effect::OpenUploads { round, layout, active } => {
                self.accumulators.insert(round, Accumulator::new(Shape::all(&layout), active));
            }
            Effect::Settle { round, client } => {
                self.accumulators[&round].settle(client);
                self.settled.push((round, client));
            }
            Effect::Discard { round, client } => {
                if let Some(accumulator) = self.accumulators.get(&round) {
                    accumulator.discard(client);
                }
            }
            Effect::StoreSum { round, clients } => {
                let sum = self.accumulators[&round].seal(&clients).unwrap().to_vec();
                let hash = Digest::of("sum", &[&sum]);
                self.disk.sums.insert(hash, sum);
                self.done(Event::SumStored { round, sum: hash });
            }
            Effect::Unmask { round, plan } => {
                let outcome = self.unmask(round, plan);
                self.done(Event::Unmasked { round, outcome });
            }
            Effect::Apply { round, plan, survivors, .. } => {
                let applied = self.apply(round, &plan, survivors);
                self.done(Event::Applied { round, applied });
            }
            Effect::Close(round) => {
                self.accumulators.remove(&round);
            }
            _ => {}
        }
    }

    fn done(&mut self, event: Event) {
        let life = self.life;
        self.post(Millis(1), Delivery::Work { life, event });
    }

    fn unmask(&mut self, round: RoundNumber, plan: UnmaskPlan) -> UnmaskOutcome {
        let (layout, survivors) = (plan.layout.clone(), u32::from(plan.survivors));
        let mut sum = self.disk.sums[&plan.sum].clone();
        let keys: Vec<MaskKey> = plan.mask_keys().unwrap();
        unmask(&mut sum, &Shape::all(&layout), &keys);
        if layout.check_lanes(&sum, survivors).is_err() {
            return UnmaskOutcome::Dirty;
        }
        let aggregate = aggregate_digest(&sum);
        self.aggregates.insert(round, Arc::new(sum));
        UnmaskOutcome::Clean(aggregate)
    }

    fn apply(&mut self, round: RoundNumber, plan: &TrainingPlan, survivors: u16) -> Applied {
        let task = &self.setup.terms.manifest().task;
        let state = &self.disk.progress.as_ref().map_or(plan.model, |progress| progress.state);
        let state = ModelState::from_bytes(task, &self.disk.states[state]).unwrap();
        let (sum, survivors) = (&self.aggregates[&round], u32::from(survivors));
        let advanced = state.advance(task, plan.kind, &plan.layout, sum, survivors).unwrap();
        let hash = advanced.state.hash();
        self.disk.aggregates.insert(round, Arc::clone(&self.aggregates[&round]));
        self.disk.states.insert(hash, advanced.state.to_bytes());
        Applied { state: hash, metrics: advanced.metrics }
    }

    /// A client that is behind asks for signatures, as the session does.
    fn admitted(&mut self, client: ClientId, offered: Standing) {
        let who = self.who(client);
        if offered.round > self.clients[who].standing().round {
            self.tell(Event::AsksAttested(client));
        }
    }

    /// A client that is behind takes over the state that enough others have signed.
    fn take_over(&mut self, client: ClientId, attested: &Attested) {
        let (who, offered) = (self.who(client), attested.standing);
        let client = &mut self.clients[who];
        if offered.round > client.standing().round {
            attested.verify(client.terms(), client.id).unwrap();
            let bytes = self.disk.states[&offered.state].clone();
            client.adopt(offered, &bytes);
        }
    }

    fn send(&mut self, client: ClientId, message: ToCl) {
        let client = self.who(client);
        if let Some(connection) = self.connections[client] {
            // One link keeps its order: the same latency for all that leaves at one moment.
            self.post(Millis(5), Delivery::ToClient { client, connection, message });
        }
    }

    fn who(&self, id: ClientId) -> usize {
        self.clients.iter().position(|client| client.id == id).unwrap()
    }
}

impl Disk {
    fn keep(&mut self, fact: Fact) {
        match fact {
            Fact::Record(round, record) => self.records.entry(round).or_default().push(*record),
            Fact::Round(summary) => drop(self.rounds.insert(summary.round, summary)),
            Fact::Forget(round) => drop(self.records.remove(&round)),
            Fact::Progress(progress) => self.progress = Some(*progress),
            Fact::Recovered(standing) => self.recovered.push(standing),
            Fact::Model(model) => drop(self.models.insert(model.version, model)),
            Fact::Evaluated(version, metrics) => drop(self.evaluated.insert(version, metrics)),
            Fact::State(state) => self.state = Some(state),
        }
    }
}
