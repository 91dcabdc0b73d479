//! Both halves of horizontal rounds in one process and in virtual time: the driver of unit tests.
//!
//! A [`Pair`] carries out the actions of one coordinator and n clients the way the real drivers
//! do, with real masks on small vectors, real records and a network that delays and reorders.
//! [`Fault`]s crash either side or cut connections at chosen points; [`Pair::on_message_to`] and
//! [`Pair::on_message_from`] let a test lie in either's name. After [`Pair::run`] nothing moves
//! any more, and the test looks at what came out.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::IdentityKey;
use roundelay_crypto::secret::Secret;

use crate::ids::{ClientId, ModelVersion, RoundNumber};
use crate::manifest::{Manifest, Member, Quantisation, Rules, Task};
use crate::message::{FromClient, ToClient};
use crate::model::ModelSpec;
use crate::plan::{PlanKind, TrainingPlan};
use crate::privacy::{Account, Privacy};
use crate::randomness::Stream;
use crate::round::horizontal::client::{self, Standing};
use crate::round::horizontal::coordinator::{self as machine, Timing};
use crate::round::horizontal::terms::Terms;
use crate::testing;
use crate::time::{Millis, Time};
use crate::transcript::NO_TRANSCRIPT;

mod coordinator;
mod fault;
mod network;
mod peer;
mod work;

pub use coordinator::Coordinator;
pub use fault::{Fault, Point, When};
use network::{Delivery, Network};
pub use peer::Peer;

/// How a [`Pair`] is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Clients, one tenant each; at least 3.
    pub clients: u16,
    /// All randomness of the test: keys, contributions, delays.
    pub seed: u64,
    /// Floors and rules of the manifest.
    pub rules: Rules,
    /// Train rounds of the task.
    pub rounds: u32,
    /// What the manifest promises about each data set.
    pub privacy: Option<Privacy>,
    /// How long stages may take.
    pub timing: Timing,
    /// How long a client keeps keys while the coordinator is silent.
    pub patience: Millis,
    /// A message takes so long; messages on different streams overtake each other.
    pub delay_ms: RangeInclusive<u64>,
    /// How many peers, the first of the roster, each client has pinned.
    pub pinned: usize,
    /// What goes wrong.
    pub faults: Vec<Fault>,
}

impl Options {
    /// A quiet network, and rules that let a quarter of the clients drop out.
    #[must_use]
    pub fn new(clients: u16, seed: u64) -> Self {
        let second = Millis(1_000);
        Self {
            clients,
            seed,
            rules: Rules {
                dropout_permille: 400,
                clients_min: 3.min(clients),
                pinned_peers_min: 1,
                ..testing::rules()
            },
            rounds: 100,
            privacy: None,
            timing: Timing {
                advertise_keys: second,
                share_keys: second,
                masked_input: Millis(10_000),
                consistency_check: second,
                unmasking: Millis(5_000),
                grace: Millis(200),
            },
            patience: Millis(60_000),
            delay_ms: 1..=20,
            pinned: usize::from(clients),
            faults: Vec::new(),
        }
    }
}

type MessageHook<T> = Box<dyn FnMut(ClientId, T) -> Vec<T>>;
type UploadHook = Box<dyn FnMut(ClientId, Vec<u8>) -> Vec<u8>>;

/// One coordinator and its clients.
pub struct Pair {
    options: Options,
    now: Time,
    network: Network,
    terms: Arc<Terms>,
    coordinator: Coordinator,
    peers: Vec<Peer>,
    faults: Vec<Fault>,
    to_client: Option<MessageHook<ToClient>>,
    from_client: Option<MessageHook<FromClient>>,
    upload: Option<UploadHook>,
    next_round: RoundNumber,
    /// What goes on by itself: the kind, and how many rounds are still to be prepared.
    chain: Option<(PlanKind, u32)>,
}

impl Pair {
    /// A federation of new clients that all hold the initial model.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let Options { clients, seed, timing, patience, delay_ms, pinned, faults, .. } =
            options.clone();
        let mut random = Stream::new(Secret::fill_with(|bytes| {
            bytes.iter_mut().zip(seed.to_le_bytes()).for_each(|(to, from)| *to = from);
        }));
        let keys: Vec<Arc<IdentityKey>> =
            (0..clients).map(|_| Arc::new(IdentityKey::random(&mut random))).collect();
        let terms = Arc::new(Terms::new(manifest(&keys, &options)));
        let pinned: Arc<BTreeSet<ClientId>> = Arc::new(terms.clients().take(pinned).collect());
        let mut peers: Vec<Peer> = keys
            .into_iter()
            .map(|identity| {
                let (terms, pinned) = (Arc::clone(&terms), Arc::clone(&pinned));
                let account = Account::default();
                let setup = client::Setup { terms, identity, pinned, patience, account };
                Peer::new(setup, initial(), &mut random)
            })
            .collect();
        // In the order of the roster, so that client i of a test has roster index i.
        peers.sort_by_key(|peer| peer.id);
        Self {
            options,
            now: Time(0),
            network: Network::new(delay_ms, &mut random),
            coordinator: Coordinator::new(Arc::clone(&terms), timing, initial()),
            terms,
            peers,
            faults,
            to_client: None,
            from_client: None,
            upload: None,
            next_round: RoundNumber(1),
            chain: None,
        }
    }

    /// A pair of the same options, to which nothing has happened yet: what this one would have done
    /// without the test's lies.
    #[must_use]
    pub fn twin(&self) -> Self {
        Self::new(self.options.clone())
    }

    /// What the federation's manifest says.
    #[must_use]
    pub fn terms(&self) -> &Arc<Terms> {
        &self.terms
    }

    /// The clients, in the order of the roster.
    #[must_use]
    pub fn ids(&self) -> Vec<ClientId> {
        self.peers.iter().map(|peer| peer.id).collect()
    }

    /// A client.
    ///
    /// # Panics
    /// If there is no such client.
    #[must_use]
    pub fn peer(&self, client: usize) -> &Peer {
        self.peers.get(client).expect("a client of the pair")
    }

    /// The coordinator.
    #[must_use]
    pub fn coordinator(&self) -> &Coordinator {
        &self.coordinator
    }

    /// Has every message to a client pass through `hook`, which may alter, drop or multiply it.
    pub fn on_message_to(
        &mut self,
        hook: impl FnMut(ClientId, ToClient) -> Vec<ToClient> + 'static,
    ) {
        self.to_client = Some(Box::new(hook));
    }

    /// Has every message of a client pass through `hook`.
    pub fn on_message_from(
        &mut self,
        hook: impl FnMut(ClientId, FromClient) -> Vec<FromClient> + 'static,
    ) {
        self.from_client = Some(Box::new(hook));
    }

    /// Has every uploaded vector pass through `hook`, after its client has committed to it.
    pub fn on_upload(&mut self, hook: impl FnMut(ClientId, Vec<u8>) -> Vec<u8> + 'static) {
        self.upload = Some(Box::new(hook));
    }

    /// Makes the contributions of a client fail from now on.
    pub fn fail(&mut self, client: usize, failure: client::LocalFailure) {
        if let Some(peer) = self.peers.get_mut(client) {
            peer.fails = Some(failure);
        }
    }

    /// Makes all words of all contributions consist of this byte from now on.
    pub fn contribute_only(&mut self, byte: u8) {
        self.peers.iter_mut().for_each(|peer| peer.constant = Some(byte));
    }

    /// The same for one client.
    pub fn contributes_only(&mut self, client: usize, byte: u8) {
        if let Some(peer) = self.peers.get_mut(client) {
            peer.constant = Some(byte);
        }
    }

    /// Makes a client write wrong check lanes into its contributions from now on.
    pub fn spoil_lanes(&mut self, client: usize) {
        if let Some(peer) = self.peers.get_mut(client) {
            peer.spoils_lanes = true;
        }
    }

    /// A client's machine of a round, to lie from within.
    #[cfg(test)]
    pub(crate) fn machine(
        &mut self,
        client: usize,
        round: RoundNumber,
    ) -> Option<&mut client::Round> {
        self.peers.get_mut(client)?.machine(round)
    }

    /// Restores a client from a snapshot of its disk, taken when it held so many durable records.
    pub fn roll_back(&mut self, client: usize, records: usize) {
        if let Some(peer) = self.peers.get_mut(client) {
            peer.roll_back(records);
        }
    }

    /// Gives a client's machine of a round an input, as its driver or a lying coordinator would.
    pub fn tell(&mut self, client: usize, round: RoundNumber, input: client::Input) {
        self.client_input(client, round, input);
    }

    /// Begins the next round for all clients; it stays prepared until [`train`](Self::train).
    pub fn prepare(&mut self) -> RoundNumber {
        self.prepare_for(&self.terms.clients().collect())
    }

    /// Begins the next round for a cohort.
    ///
    /// # Panics
    /// If the clients are no cohort of the manifest.
    pub fn prepare_for(&mut self, cohort: &BTreeSet<ClientId>) -> RoundNumber {
        let round = self.next_round;
        self.next_round = round.next();
        let plan = self.terms.roster_plan(round, cohort).expect("a cohort of the manifest");
        let absent: Vec<ClientId> =
            self.peers.iter().filter(|peer| !peer.is_connected()).map(|peer| peer.id).collect();
        let actions = self.coordinator.start(plan, &absent, self.now);
        self.carry_out(round, actions);
        round
    }

    /// Lets a prepared round go on.
    pub fn train(&mut self, round: RoundNumber, kind: PlanKind) {
        let plan = self.coordinator.training_plan(round, kind);
        self.train_with(round, plan);
    }

    /// Lets a prepared round go on with a plan of the test's own.
    pub fn train_with(&mut self, round: RoundNumber, plan: TrainingPlan) {
        self.coordinator.plan(round, plan.clone());
        self.input(round, machine::Input::Train(Box::new(plan)));
    }

    /// So many rounds back to back, each prepared while the one before it trains.
    pub fn rounds(&mut self, kind: PlanKind, number: u32) -> Vec<RoundNumber> {
        let first = self.next_round.0;
        self.chain = Some((kind, number.saturating_sub(1)));
        let round = self.prepare();
        self.train(round, kind);
        self.run();
        self.chain = None;
        (first..self.next_round.0).map(RoundNumber).collect()
    }

    /// A round begins to train: the next one is prepared.
    fn prepare_ahead(&mut self) {
        if let Some((kind, left)) = self.chain
            && left > 0
        {
            self.chain = Some((kind, left - 1));
            self.prepare();
        }
    }

    /// A round is over: the prepared one goes on.
    fn go_on(&mut self, over: RoundNumber) {
        if let Some((kind, _)) = self.chain
            && over.next() < self.next_round
        {
            self.train(over.next(), kind);
        }
    }

    /// One whole round.
    pub fn round(&mut self, kind: PlanKind) -> RoundNumber {
        let round = self.prepare();
        self.train(round, kind);
        self.run();
        round
    }

    /// Delivers everything, and lets time pass, until nothing moves any more.
    pub fn run(&mut self) {
        while let Some((time, delivery)) = self.network.next() {
            self.now = self.now.max(time);
            self.deliver(delivery);
        }
    }

    /// Delivers what arrives within so long from now, and lets that time pass.
    pub fn run_for(&mut self, length: Millis) {
        let end = self.now + length;
        while let Some((time, delivery)) = self.network.next_until(end) {
            self.now = self.now.max(time);
            self.deliver(delivery);
        }
        self.now = end;
    }

    /// Gives the coordinator's machine of a round an input.
    pub fn input(&mut self, round: RoundNumber, input: machine::Input) {
        let actions = self.coordinator.handle(round, input, self.now);
        self.carry_out(round, actions);
    }

    fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::ToClient { to, epoch, round, message } => {
                if self.peers.get(to).is_some_and(|peer| peer.epoch == Some(epoch)) {
                    self.client_input(to, round, client::Input::Message(message));
                }
            }
            Delivery::ToClientWork { to, life, round, input } => {
                if self.peers.get(to).is_some_and(|peer| peer.life == life) {
                    self.client_input(to, round, input);
                }
            }
            Delivery::FromClient { from, epoch, round, message } => {
                if let Some(from) = self.connected(from, epoch) {
                    self.input(round, machine::Input::Message { from, message });
                }
            }
            Delivery::Upload { from, epoch, round, vector } => {
                if let Some(from) = self.connected(from, epoch) {
                    let inputs = self.coordinator.upload(round, from, vector);
                    inputs.into_iter().for_each(|input| self.input(round, input));
                }
            }
            Delivery::CoordinatorWork { life, round, input } => {
                if self.coordinator.life == life {
                    self.input(round, input);
                }
            }
            Delivery::Reconnect(client) => self.reconnect(client),
            Delivery::RestoreCoordinator => self.restore_coordinator(),
        }
    }

    fn connected(&self, client: usize, epoch: u64) -> Option<ClientId> {
        let peer = self.peers.get(client)?;
        (peer.epoch == Some(epoch) && self.coordinator.is_up()).then_some(peer.id)
    }

    fn client_input(&mut self, to: usize, round: RoundNumber, input: client::Input) {
        let Some(peer) = self.peers.get_mut(to) else { return };
        let applied = matches!(input, client::Input::Applied(_));
        let actions = peer.handle(round, input, self.now);
        // Contributions start from the model, so they wait for results that are being applied.
        let waiting = if applied { peer.applied() } else { Vec::new() };
        for action in actions {
            if !self.client_action(to, round, action) {
                return;
            }
        }
        for (round, input) in waiting {
            self.client_work(to, round, input);
        }
    }

    /// Whether the client goes on with its next action.
    fn client_action(&mut self, from: usize, round: RoundNumber, action: client::Action) -> bool {
        let Some(peer) = self.peers.get_mut(from) else { return false };
        match action {
            client::Action::Persist(record) => peer.durable.push(record),
            client::Action::Charge => peer.charged = peer.setup.account.ledger(),
            client::Action::Send(message) => {
                return self.client_sends(from, round, message);
            }
            client::Action::Upload => return self.client_uploads(from, round),
            client::Action::SetDeadline(at) => {
                let (life, input) = (peer.life, client::Input::Deadline);
                self.network.at(at, Delivery::ToClientWork { to: from, life, round, input });
            }
            client::Action::Finish(outcome) => peer.finish(round, outcome),
            client::Action::Contribute(plan) => {
                let input = peer.contribute(round, &plan);
                if peer.is_applying {
                    peer.waiting.push((round, input));
                } else {
                    self.client_work(from, round, input);
                }
            }
            client::Action::Mask(plan) => {
                let input = client::Input::Masked(peer.mask(round, &plan));
                self.client_work(from, round, input);
            }
            client::Action::Apply(published) => {
                let input = peer.apply(&published, &self.coordinator);
                peer.is_applying = true;
                self.client_work(from, round, input);
            }
        }
        true
    }

    fn client_work(&mut self, to: usize, round: RoundNumber, input: client::Input) {
        let Some(life) = self.peers.get(to).map(|peer| peer.life) else { return };
        self.network.later(self.now, Delivery::ToClientWork { to, life, round, input });
    }

    fn client_sends(&mut self, from: usize, round: RoundNumber, message: FromClient) -> bool {
        let Some(peer) = self.peers.get_mut(from) else { return false };
        let point = Point::of(&message);
        peer.sent.push((round, message.clone()));
        let (id, epoch) = (peer.id, peer.epoch);
        if self.strikes(from, point, When::Before) {
            return false;
        }
        let messages = match &mut self.from_client {
            Some(hook) => hook(id, message),
            None => vec![message],
        };
        for message in messages {
            if let Some(epoch) = epoch {
                let roster = matches!(message, FromClient::Shares(_));
                let delivery = Delivery::FromClient { from, epoch, round, message };
                self.network.send(self.now, from, roster, delivery);
            }
        }
        !self.strikes(from, point, When::After)
    }

    fn client_uploads(&mut self, from: usize, round: RoundNumber) -> bool {
        if self.strikes(from, Some(Point::Upload), When::Before) {
            return false;
        }
        if let Some(peer) = self.peers.get_mut(from)
            && let (Some(epoch), Some(mut vector)) = (peer.epoch, peer.upload(round))
        {
            if let Some(hook) = &mut self.upload {
                vector = hook(peer.id, vector);
            }
            let delivery = Delivery::Upload { from, epoch, round, vector };
            self.network.send(self.now, from, true, delivery);
        }
        !self.strikes(from, Some(Point::Upload), When::After)
    }

    fn carry_out(&mut self, round: RoundNumber, actions: Vec<machine::Action>) {
        for action in actions {
            if !self.coordinator_action(round, action) {
                return;
            }
        }
    }

    /// Whether the coordinator goes on with its next action.
    fn coordinator_action(&mut self, round: RoundNumber, action: machine::Action) -> bool {
        match action {
            machine::Action::Persist(record) => {
                self.coordinator.persist(round, record);
                return !self.coordinator_crashes();
            }
            machine::Action::Send { to, message } => self.coordinator_sends(round, &[to], &message),
            machine::Action::Broadcast { to, message } => {
                self.coordinator_sends(round, &to, &message);
            }
            machine::Action::ResendBoxes(client) => {
                let boxes = self.coordinator.boxes(round, client);
                self.coordinator_sends(round, &[client], &ToClient::Boxes(Arc::new(boxes)));
            }
            machine::Action::SetDeadline(at) => {
                let (life, input) = (self.coordinator.life, machine::Input::Deadline);
                self.network.at(at, Delivery::CoordinatorWork { life, round, input });
            }
            machine::Action::Finish(outcome) => {
                self.coordinator.finish(round, outcome);
                self.go_on(round);
            }
            action => {
                if matches!(action, machine::Action::OpenUploads { .. }) {
                    self.prepare_ahead();
                }
                if let Some(input) = self.coordinator.work(round, action) {
                    let life = self.coordinator.life;
                    self.network.later(self.now, Delivery::CoordinatorWork { life, round, input });
                }
            }
        }
        true
    }

    fn coordinator_sends(&mut self, round: RoundNumber, to: &[ClientId], message: &ToClient) {
        for id in to {
            let Some(to) = self.peers.iter().position(|peer| peer.id == *id) else { continue };
            let messages = match &mut self.to_client {
                Some(hook) => hook(*id, message.clone()),
                None => vec![message.clone()],
            };
            for message in messages {
                if let Some(epoch) = self.peers.get(to).and_then(|peer| peer.epoch) {
                    let roster = matches!(
                        message,
                        ToClient::Listing(_)
                            | ToClient::Beacon(_)
                            | ToClient::Adverts(_)
                            | ToClient::Boxes(_)
                            | ToClient::SurvivorSet(_)
                            | ToClient::Quorum(_)
                    );
                    let link = self.peers.len() + to;
                    let delivery = Delivery::ToClient { to, epoch, round, message };
                    self.network.send(self.now, link, roster, delivery);
                }
            }
        }
    }
}

/// What everybody holds before the first round.
fn initial() -> Standing {
    Standing {
        round: RoundNumber(0),
        model_version: ModelVersion(0),
        state: Digest::of("pair/initial", &[]),
        transcript: NO_TRANSCRIPT,
    }
}

/// One tenant for each client; a table of three numbers, so that all kinds of plan exist.
fn manifest(keys: &[Arc<IdentityKey>], options: &Options) -> Manifest {
    let tenant = |number: usize| format!("t{number:03}").parse().expect("a tenant's name");
    let members = keys
        .iter()
        .enumerate()
        .map(|(number, key)| Member {
            tenant: tenant(number),
            tenant_key: key.public(),
            clients: vec![key.public()],
        })
        .collect();
    let model = ModelSpec::Softmax { seed: 1 };
    let Options { rounds, privacy, ref rules, .. } = *options;
    let weight_max = if privacy.is_some() { 1 } else { 100 };
    let quantisation = Quantisation { rows_per_weight: 1, weight_max, ..testing::quantisation() };
    let plain = testing::task(testing::numbers(&["a", "b", "c"]), model);
    let task = Task { quantisation, rounds, privacy, ..plain };
    Manifest { name: "pair".into(), rules: rules.clone(), task, ..testing::manifest(members) }
}
