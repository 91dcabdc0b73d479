//! A whole federation in virtual time: the engine, a disk that survives it, and clients.
//!
//! Effects are carried out as the driver does: what a call persists is durable at once and as a
//! whole, then messages leave. The world may end between the two, or before, at any call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::rngs::ChaCha20Rng;
use rand::{RngExt, SeedableRng};
use roundelay_crypto::identity::IdentityKey;
use roundelay_protocol::manifest::CoordinatorTrust;
use roundelay_protocol::privacy::{Mechanism, Privacy, Release};
use roundelay_protocol::round::horizontal::client::Standing;
use roundelay_protocol::time::Millis;

use super::super::rounds::RoundState;
use super::super::*;
use crate::accumulator::Accumulator;
use crate::testing::{Out, TestClient, keys, manifest, timing};

mod clients;
mod disk;
mod effects;
mod lives;
mod members;
mod work;

pub(super) use clients::{Incident, What};
pub(super) use disk::Disk;
pub(super) use lives::Crash;

/// What is under way.
enum Delivery {
    ToClient { client: usize, connection: u64, message: ToCl },
    FromClient { client: usize, connection: u64, out: Out },
    Attests { client: usize, connection: u64 },
    Work { life: u64, event: Event },
    Alarm { life: u64, at: Time },
    Join { client: usize },
    Revive,
}

/// What is under way to a client.
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
    /// Stages of rounds, in the order in which they began.
    pub(super) began: Vec<(u64, Stage)>,
    /// Clients that were told of the end.
    pub(super) ended: BTreeSet<usize>,
    pub(super) expelled: Vec<(usize, Fault)>,
    /// Clients that were told that they are expelled, and why.
    pub(super) heard: Vec<(usize, Fault)>,
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

impl World {
    pub(super) fn new(clients: usize, rounds: u32, standardise: bool, seed: u64) -> Self {
        let keys = keys(clients);
        Self::of(&keys, manifest(&keys, rounds, standardise), seed)
    }

    /// A federation of so many clients that promises this.
    pub(super) fn private(clients: usize, rounds: u32, privacy: Privacy, seed: u64) -> Self {
        let keys = keys(clients);
        let mut manifest = manifest(&keys, rounds, true);
        if privacy.mechanism == Mechanism::Central {
            manifest.rules.coordinator = CoordinatorTrust::SemiHonest;
        }
        manifest.task.quantisation.weight_max = 1;
        manifest.task.privacy = Some(privacy);
        Self::of(&keys, manifest, seed)
    }

    fn of(keys: &[Arc<IdentityKey>], manifest: Manifest, seed: u64) -> Self {
        let setup = Setup::new(manifest, Pace::default(), timing());
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
            began: Vec::new(),
            ended: BTreeSet::new(),
            expelled: Vec::new(),
            heard: Vec::new(),
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

    /// What a round costs.
    pub(super) fn release(&self) -> Release {
        let clients = u32::try_from(self.clients.len()).unwrap();
        self.setup.terms.manifest().task.release(clients).unwrap()
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

    fn who(&self, id: ClientId) -> usize {
        self.clients.iter().position(|client| client.id == id).unwrap()
    }
}
