//! One coordinator's machine and the engines of its clients in one process, in virtual time, with
//! real keys, masks, trainers, states and layouts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::{IdentityKey, Signature};
use roundelay_crypto::mask::{add_masks, add_words};
use roundelay_protocol::bounded::List;
use roundelay_protocol::ids::{ClientId, FederationId, ModelVersion, RoundNumber};
use roundelay_protocol::layout::Layout;
use roundelay_protocol::lineage::{Attested, Standing, State};
use roundelay_protocol::manifest::{
    AmendmentRule, CoordinatorTrust, Hyperparameters, Manifest, Member, Quantisation, Rules, Task,
};
use roundelay_protocol::message::{FromClient, Published, ToClient};
use roundelay_protocol::model::ModelSpec;
use roundelay_protocol::optimiser::OptimiserSpec;
use roundelay_protocol::plan::{PlanKind, TrainingPlan};
use roundelay_protocol::round::horizontal::client::{Record, Setup};
use roundelay_protocol::round::horizontal::coordinator::{
    self, Action, Outcome, Timing, UnmaskOutcome, stored_boxes,
};
use roundelay_protocol::round::horizontal::terms::Terms;
use roundelay_protocol::schema::{Column, ColumnKind, Schema};
use roundelay_protocol::session::VectorKind;
use roundelay_protocol::signed::Statement;
use roundelay_protocol::time::{Millis, Time};
use roundelay_protocol::transcript::{NO_TRANSCRIPT, aggregate_digest};

use super::super::work::{Contribution, WorkFailure};
use super::super::{Effect, Event, Federation, Input};
use crate::data::{Data, Source};
use crate::train::{LocalTrainer, Options, Trainer, Uninterrupted};

const FEDERATION: FederationId = FederationId([5; 16]);
const CLASSES: u32 = 3;

/// A client: its engine, what is durable, and its trainer.
pub(super) struct Site {
    pub(super) id: ClientId,
    pub(super) engine: Federation,
    pub(super) records: Vec<Record>,
    pub(super) stored: Option<Arc<State>>,
    pub(super) events: Vec<Event>,
    pub(super) deadline: Option<Time>,
    pub(super) connected: bool,
    trainer: LocalTrainer,
    setup: Setup,
    vectors: BTreeMap<RoundNumber, Vec<u8>>,
    allowed: Vec<(VectorKind, u64)>,
}

/// What the coordinator keeps of a round.
struct Hosted {
    machine: coordinator::Round,
    layout: Option<Layout>,
    uploads: BTreeMap<ClientId, Vec<u8>>,
    sum: Vec<u8>,
    goal: Option<PlanKind>,
    records: Vec<coordinator::Record>,
}

type OnVector = Box<dyn FnMut(VectorKind, &mut Vec<u8>)>;
type OnMessage = Box<dyn FnMut(ClientId, &mut ToClient)>;
type OnWork =
    Box<dyn FnMut(usize, Result<Contribution, WorkFailure>) -> Result<Contribution, WorkFailure>>;

pub(super) struct World {
    pub(super) now: Time,
    pub(super) terms: Arc<Terms>,
    pub(super) sites: Vec<Site>,
    /// The coordinator's model.
    pub(super) state: State,
    pub(super) transcript: Digest,
    /// Plain sums of the contributions of each round, before any mask.
    pub(super) plain: BTreeMap<RoundNumber, BTreeMap<usize, Vec<u8>>>,
    pub(super) aggregates: BTreeMap<RoundNumber, Vec<u8>>,
    pub(super) outcomes: BTreeMap<RoundNumber, Outcome>,
    /// Changes a vector on its way to a client.
    pub(super) on_vector: Option<OnVector>,
    /// Changes a message on its way to a client.
    pub(super) on_message: Option<OnMessage>,
    /// Changes what local work gives.
    pub(super) on_work: Option<OnWork>,
    /// The round that was published last.
    pub(super) published: RoundNumber,
    /// What clients have signed about states.
    attestations: Vec<(ClientId, Standing, Signature)>,
    /// Clients that asked for signatures when there were too few.
    asked: BTreeSet<usize>,
    /// The client to which aggregates are not pushed.
    pub(super) lost_pushes: Option<usize>,
    /// States that clients gave back.
    pub(super) given: Vec<Arc<State>>,
    rounds: BTreeMap<RoundNumber, Hosted>,
    queue: VecDeque<Step>,
    rng: ChaCha20Rng,
    next: RoundNumber,
}

enum Step {
    ToSite(usize, Input),
    ToHost(RoundNumber, coordinator::Input),
}

pub(crate) fn task(standardise: bool) -> Task {
    let column = |name: &str| Column {
        name: name.to_owned(),
        kind: ColumnKind::Number { min: -10.0, max: 10.0 },
    };
    Task {
        schema: Schema::Table {
            columns: vec![column("a"), column("b"), column("c")],
            label: "y".to_owned(),
            labels: ["x", "y", "z"].map(str::to_owned).to_vec(),
            standardise,
        },
        model: ModelSpec::Softmax { seed: 3 },
        optimiser: OptimiserSpec::FedAvgM { learning_rate: 1.0, momentum: 0.5 },
        hyperparameters: Hyperparameters {
            local_epochs: 1,
            batch_rows: 8,
            learning_rate: 0.3,
            momentum: 0.0,
            proximal: 0.0,
        },
        quantisation: Quantisation { ring_bits: 32, clip: 1.0, weight_max: 64, rows_per_weight: 4 },
        rounds: 100,
    }
}

/// A manifest of so many tenants with one client each.
pub(crate) fn manifest_of(clients: usize) -> Manifest {
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let keys: Vec<_> = (0..clients).map(|_| Arc::new(IdentityKey::random(&mut rng))).collect();
    manifest(&keys, &mut rng, task(false))
}

fn manifest(keys: &[Arc<IdentityKey>], rng: &mut ChaCha20Rng, task: Task) -> Manifest {
    let mut members: Vec<Member> = keys
        .iter()
        .enumerate()
        .map(|(index, key)| Member {
            tenant: format!("t{index:02}").parse().unwrap(),
            tenant_key: IdentityKey::random(rng).public(),
            clients: vec![key.public()],
        })
        .collect();
    members.sort_by(|one, other| one.tenant.cmp(&other.tenant));
    Manifest {
        federation: FEDERATION,
        name: "test".to_owned(),
        version: 0,
        predecessor: None,
        owner: members[0].tenant.clone(),
        members,
        rules: Rules {
            coordinator: CoordinatorTrust::Malicious,
            corrupt_max: None,
            dropout_permille: 400,
            clients_min: 3,
            pinned_peers_min: 2,
            whole_groups: false,
            amendment: AmendmentRule::All,
        },
        task,
    }
}

/// Rows of which each class has its corner, a different mix at each site.
fn rows(site: usize) -> (Vec<f32>, Vec<u32>) {
    let (mut inputs, mut labels) = (Vec::new(), Vec::new());
    for row in 0..40 + 8 * site {
        let class = (row * row + site) % CLASSES as usize;
        let wobble = ((row * 7 + site * 3) % 11) as f32 / 11.0 - 0.5;
        for feature in 0..3 {
            inputs.push(if feature == class { 3.0 } else { -1.0 } + wobble);
        }
        labels.push(u32::try_from(class).unwrap());
    }
    (inputs, labels)
}

impl World {
    pub(super) fn new(clients: usize, task: Task) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let keys: Vec<_> = (0..clients).map(|_| Arc::new(IdentityKey::random(&mut rng))).collect();
        let terms = Arc::new(Terms::new(manifest(&keys, &mut rng, task.clone())));
        terms.manifest().validate().unwrap();
        let state = State::initial(&task, None).unwrap();
        let mut sites: Vec<Site> = keys
            .into_iter()
            .enumerate()
            .map(|(index, key)| Site::new(index, &terms, key, &task, state.clone()))
            .collect();
        sites.sort_by_key(|site| site.id);
        Self {
            now: Time(0),
            terms,
            sites,
            state,
            transcript: NO_TRANSCRIPT,
            plain: BTreeMap::new(),
            aggregates: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            on_vector: None,
            on_message: None,
            on_work: None,
            published: RoundNumber(0),
            attestations: Vec::new(),
            asked: BTreeSet::new(),
            lost_pushes: None,
            given: Vec::new(),
            rounds: BTreeMap::new(),
            queue: VecDeque::new(),
            rng,
            next: RoundNumber(1),
        }
    }

    /// Plans a round for all clients; it waits prepared for its training plan.
    pub(super) fn prepare(&mut self) -> RoundNumber {
        let all: Vec<usize> = (0..self.sites.len()).collect();
        self.prepare_for(&all)
    }

    /// Plans a round for some clients.
    pub(super) fn prepare_for(&mut self, cohort: &[usize]) -> RoundNumber {
        let sites = cohort.iter().map(|site| &self.sites[*site]);
        let absent: Vec<ClientId> =
            sites.clone().filter(|site| !site.connected).map(|site| site.id).collect();
        let cohort: BTreeSet<ClientId> = sites.map(|site| site.id).collect();
        let round = self.next;
        self.next = round.next();
        let plan = self.terms.roster_plan(round, &cohort).unwrap();
        let ms = Millis;
        let timing = Timing {
            advertise_keys: ms(1_000),
            share_keys: ms(1_000),
            masked_input: ms(10_000),
            consistency_check: ms(1_000),
            unmasking: ms(5_000),
            grace: ms(100),
        };
        let mut actions = Vec::new();
        let machine = coordinator::Round::start(
            Arc::clone(&self.terms),
            plan,
            timing,
            &absent,
            self.now,
            &mut actions,
        )
        .unwrap();
        let hosted = Hosted {
            machine,
            layout: None,
            uploads: BTreeMap::new(),
            sum: Vec::new(),
            goal: None,
            records: Vec::new(),
        };
        self.rounds.insert(round, hosted);
        self.host_actions(round, actions);
        self.settle();
        if !absent.is_empty() {
            // Those who are not there are waited for no longer than the grace.
            self.pass(Millis(200));
            self.pass(Millis(200));
        }
        round
    }

    /// Lets a prepared round train.
    pub(super) fn train(&mut self, round: RoundNumber, kind: PlanKind) {
        let hosted = self.rounds.get_mut(&round).unwrap();
        hosted.goal = Some(kind);
        let layout = self.terms.layout(kind, &hosted.machine.plan().cohort).unwrap();
        let plan = TrainingPlan {
            kind,
            model_version: self.state.version(),
            model: match kind {
                PlanKind::Statistics => self.terms.data_version(),
                _ => self.state.hash(),
            },
            hyperparameters: *self.terms.hyperparameters(),
            layout,
            active: Vec::new(),
            previous_transcript: self.transcript,
        };
        self.queue.push_back(Step::ToHost(round, coordinator::Input::Train(Box::new(plan))));
    }

    /// A whole round.
    pub(super) fn round(&mut self, kind: PlanKind) -> RoundNumber {
        let round = self.prepare();
        self.train(round, kind);
        self.finish(round);
        round
    }

    /// Lets time pass until a round is over.
    pub(super) fn finish(&mut self, round: RoundNumber) {
        self.settle();
        while !self.outcomes.contains_key(&round) {
            self.pass(Millis(500));
        }
    }

    /// Works until nothing moves, letting time pass where only deadlines are left.
    pub(super) fn settle(&mut self) {
        while let Some(step) = self.queue.pop_front() {
            match step {
                Step::ToSite(site, input) => self.site_input(site, input),
                Step::ToHost(round, input) => self.host_input(round, input),
            }
        }
    }

    /// Lets time pass and fires the deadlines of both sides.
    pub(super) fn pass(&mut self, length: Millis) {
        self.now = self.now + length;
        for round in self.rounds.keys().copied().collect::<Vec<_>>() {
            self.queue.push_back(Step::ToHost(round, coordinator::Input::Deadline));
        }
        for site in 0..self.sites.len() {
            if self.sites[site].deadline.is_some_and(|deadline| deadline <= self.now) {
                self.queue.push_back(Step::ToSite(site, Input::Deadline));
            }
        }
        self.settle();
    }

    /// A client's connection goes.
    pub(super) fn disconnect(&mut self, site: usize) {
        self.sites[site].connected = false;
        let id = self.sites[site].id;
        for round in self.rounds.keys().copied().collect::<Vec<_>>() {
            self.queue.push_back(Step::ToHost(round, coordinator::Input::Lost(id)));
        }
    }

    /// A client joins on a new connection.
    pub(super) fn connect(&mut self, site: usize) {
        self.sites[site].connected = true;
        let id = self.sites[site].id;
        let join = self.sites[site].engine.join();
        assert_eq!(join.manifest, self.terms.hash());
        let newest = self.newest();
        self.queue.push_back(Step::ToSite(site, Input::Joined(newest)));
        for round in self.rounds.keys().copied().collect::<Vec<_>>() {
            self.queue.push_back(Step::ToHost(round, coordinator::Input::Returned(id)));
        }
        self.settle();
    }

    /// A client's process is killed and started again from what was durable.
    pub(super) fn restart(&mut self, site: usize) {
        self.disconnect(site);
        self.settle();
        let old = &self.sites[site];
        let task = self.terms.manifest().task.clone();
        let initial = State::initial(&task, None).unwrap();
        let stored = old.stored.as_ref().map(|state| State::clone(state));
        let schema = task.schema.digest();
        let (engine, effects) =
            Federation::new(old.setup.clone(), schema, &old.records, stored, initial);
        let site_ref = &mut self.sites[site];
        site_ref.engine = engine;
        site_ref.vectors.clear();
        self.carry_out(site, effects);
    }

    /// Gives an input to a client at once.
    pub(super) fn site_input(&mut self, site: usize, input: Input) {
        let mut effects = Vec::new();
        self.sites[site].engine.handle(self.now, input, &mut self.rng, &mut effects);
        self.carry_out(site, effects);
    }

    fn carry_out(&mut self, site: usize, effects: Vec<Effect>) {
        for effect in effects {
            self.effect(site, effect);
        }
    }

    fn effect(&mut self, index: usize, effect: Effect) {
        let site = &mut self.sites[index];
        let id = site.id;
        match effect {
            Effect::Persist(record) => site.records.push(record),
            Effect::Send { round, message } => self.said(index, round, message),
            Effect::Train(work) => {
                let round = work.round;
                let result = work.run(&mut site.trainer, &Uninterrupted);
                let result = match &mut self.on_work {
                    Some(change) => change(index, result),
                    None => result,
                };
                if let Ok(contribution) = &result {
                    let words = contribution.words().to_vec();
                    self.plain.entry(round).or_default().insert(index, words);
                }
                self.queue.push_back(Step::ToSite(index, Input::Trained { round, result }));
            }
            Effect::Mask(work) => {
                let masked = work.run();
                let (round, result) = (masked.round(), Ok(masked.root()));
                site.vectors.insert(round, masked.words().to_vec());
                self.queue.push_back(Step::ToSite(index, Input::Masked { round, result }));
            }
            Effect::Upload(round) => {
                let vector = site.vectors[&round].clone();
                if site.connected {
                    self.upload(round, id, vector);
                }
            }
            Effect::Derive(derivation) => {
                let derived = Input::Derived(derivation.run());
                self.queue.push_back(Step::ToSite(index, derived));
            }
            Effect::Expect { kind, bytes_max } => site.allowed.push((kind, bytes_max)),
            Effect::Attest { standing, signature } => {
                self.attestations.push((id, standing, signature));
                for asked in std::mem::take(&mut self.asked) {
                    self.give_attested(asked);
                }
            }
            Effect::FetchAttested => self.give_attested(index),
            Effect::GiveState(state) => self.given.push(state),
            Effect::Fetch(kind) => {
                if site.connected {
                    self.vector(index, kind);
                }
            }
            Effect::Save(state) => site.stored = Some(state),
            Effect::SetDeadline(deadline) => site.deadline = deadline,
            Effect::Tell(event) => site.events.push(event),
            Effect::Forget(round) => {
                site.vectors.remove(&round);
            }
            Effect::Cancel(_) => {}
        }
    }

    fn said(&mut self, site: usize, round: RoundNumber, message: FromClient) {
        let from = self.sites[site].id;
        if self.sites[site].connected {
            let input = coordinator::Input::Message { from, message };
            self.queue.push_back(Step::ToHost(round, input));
        }
    }

    fn upload(&mut self, round: RoundNumber, from: ClientId, vector: Vec<u8>) {
        let Some(hosted) = self.rounds.get_mut(&round) else { return };
        let Some(layout) = &hosted.layout else { return };
        let mut root = roundelay_crypto::chunks::ChunkRoot::new();
        layout.chunks().for_each(|chunk| root.push(&vector[chunk.range()]));
        if hosted.uploads.insert(from, vector).is_none() {
            let root = root.finish();
            let input = coordinator::Input::Uploaded { from, root };
            self.queue.push_back(Step::ToHost(round, input));
        }
    }

    /// A vector goes to a client that has said that it expects it.
    fn vector(&mut self, site: usize, kind: VectorKind) {
        let mut bytes = match kind {
            VectorKind::Aggregate(round) => match self.aggregates.get(&round) {
                Some(aggregate) => aggregate.clone(),
                None => return,
            },
            VectorKind::State(_) => self.state.to_bytes(),
            _ => return,
        };
        if let Some(change) = &mut self.on_vector {
            change(kind, &mut bytes);
        }
        let allowed = &mut self.sites[site].allowed;
        let Some(at) = allowed.iter().position(|(expected, _)| *expected == kind) else { return };
        let (_, bytes_max) = allowed.swap_remove(at);
        assert!(bytes.len() as u64 <= bytes_max, "{kind:?}");
        let input = match kind {
            VectorKind::Aggregate(round) => Input::Aggregate { round, bytes },
            VectorKind::State(version) => Input::State { version, bytes },
            _ => return,
        };
        self.queue.push_back(Step::ToSite(site, input));
    }

    fn host_input(&mut self, round: RoundNumber, input: coordinator::Input) {
        let Some(hosted) = self.rounds.get_mut(&round) else { return };
        let mut actions = Vec::new();
        hosted.machine.handle(self.now, input, &mut actions);
        self.host_actions(round, actions);
    }

    fn host_actions(&mut self, round: RoundNumber, actions: Vec<Action>) {
        for action in actions {
            if let Some(input) = self.host_action(round, action) {
                self.queue.push_back(Step::ToHost(round, input));
            }
        }
    }

    fn host_action(&mut self, round: RoundNumber, action: Action) -> Option<coordinator::Input> {
        let hosted = self.rounds.get_mut(&round)?;
        match action {
            Action::Send { to, message } => self.tell(round, to, message),
            Action::Broadcast { to, message } => {
                to.into_iter().for_each(|to| self.tell(round, to, message.clone()));
            }
            Action::ResendBoxes(to) => {
                let boxes = stored_boxes(&hosted.records, to).unwrap();
                self.tell(round, to, ToClient::Boxes(Arc::new(boxes)));
            }
            Action::Persist(record) => hosted.records.push(record),
            Action::OpenUploads { layout, .. } => hosted.layout = Some(layout),
            Action::Discard(client) => {
                hosted.uploads.remove(&client);
            }
            Action::StoreSum(clients) => {
                let layout = hosted.layout.as_ref()?;
                let mut sum = vec![0; usize::try_from(layout.total_bytes()).unwrap()];
                for vector in clients.iter().map(|client| &hosted.uploads[client]) {
                    for chunk in layout.chunks() {
                        add_words(&mut sum[chunk.range()], chunk.ring, &vector[chunk.range()]);
                    }
                }
                hosted.sum = sum;
                return Some(coordinator::Input::SumStored(Digest([1; 32])));
            }
            Action::Unmask(plan) => {
                let (layout, survivors) = (plan.layout.clone(), plan.survivors);
                let keys = plan.mask_keys().unwrap();
                for chunk in layout.chunks() {
                    let words = &mut hosted.sum[chunk.range()];
                    add_masks(words, chunk.ring, &keys, chunk.offset as u64);
                }
                layout.check_lanes(&hosted.sum, survivors.into()).unwrap();
                let aggregate = hosted.sum.clone();
                let hash = aggregate_digest(&aggregate);
                self.aggregates.insert(round, aggregate);
                return Some(coordinator::Input::Unmasked(UnmaskOutcome::Clean(hash)));
            }
            Action::Apply { plan, survivors, .. } => {
                let aggregate = &self.aggregates[&round];
                let task = &self.terms.manifest().task;
                let survivors = survivors.into();
                let advanced =
                    self.state.advance(task, plan.kind, &plan.layout, aggregate, survivors);
                self.state = advanced.unwrap().state;
                return Some(coordinator::Input::Applied(self.state.hash()));
            }
            Action::Finish(outcome) => {
                if let Outcome::Published(published) = &outcome {
                    self.published = round;
                    self.transcript = published.transcript;
                }
                self.outcomes.insert(round, outcome);
            }
            Action::Audit(_)
            | Action::SetDeadline(_)
            | Action::Settle(_)
            | Action::Expel { .. } => {}
        }
        None
    }

    fn tell(&mut self, round: RoundNumber, to: ClientId, mut message: ToClient) {
        let Some(site) = self.sites.iter().position(|site| site.id == to && site.connected) else {
            return;
        };
        if let Some(change) = &mut self.on_message {
            change(to, &mut message);
        }
        let published = matches!(message, ToClient::Published(_));
        self.queue.push_back(Step::ToSite(site, Input::Message { round, message }));
        if published && self.lost_pushes != Some(site) {
            self.vector(site, VectorKind::Aggregate(round));
        }
    }

    /// What was published in a round.
    pub(super) fn published(&self, round: RoundNumber) -> &Published {
        match &self.outcomes[&round] {
            Outcome::Published(published) => published,
            Outcome::Aborted(reason) => panic!("round {round} was aborted: {reason}"),
        }
    }

    /// The sum of the plain contributions of these clients.
    pub(super) fn plain_sum(&self, round: RoundNumber, sites: &[usize]) -> Vec<u8> {
        let layout = self.rounds[&round].layout.as_ref().unwrap();
        let mut sum = vec![0; usize::try_from(layout.total_bytes()).unwrap()];
        for words in sites.iter().map(|site| &self.plain[&round][site]) {
            for chunk in layout.chunks() {
                add_words(&mut sum[chunk.range()], chunk.ring, &words[chunk.range()]);
            }
        }
        sum
    }

    /// What was published last.
    pub(super) fn newest(&self) -> Standing {
        let (round, transcript) = (self.published, self.transcript);
        let (model_version, state) = (self.state.version(), self.state.hash());
        Standing { round, model_version, state, transcript }
    }

    /// The signatures under the newest state, once they are enough.
    fn give_attested(&mut self, site: usize) {
        let newest = self.newest();
        let signed = self.attestations.iter().filter(|(_, standing, _)| *standing == newest);
        let signed = signed.map(|(client, _, signature)| (*client, *signature));
        let attested = Attested { standing: newest, signatures: List::clipped(signed) };
        if attested.verify(&self.terms, self.sites[site].id).is_err() {
            self.asked.insert(site);
        } else if self.sites[site].connected {
            self.queue.push_back(Step::ToSite(site, Input::Attested(attested)));
        }
    }

    /// A standing with signatures by these clients, whatever they hold.
    pub(super) fn attested_by(&self, standing: Standing, by: &[usize]) -> Attested {
        let sign = |site: &usize| {
            let Site { id, setup, .. } = &self.sites[*site];
            let scope = self.terms.scope(standing.round);
            (*id, scope.sign(&setup.identity, &Statement::Stands(&standing)))
        };
        Attested { standing, signatures: List::clipped(by.iter().map(sign)) }
    }

    /// Every client holds the coordinator's model.
    pub(super) fn assert_agreed(&self, sites: &[usize]) {
        for site in sites {
            let state = self.sites[*site].engine.state().unwrap();
            assert_eq!(state.hash(), self.state.hash(), "client {site}");
        }
    }
}

impl Site {
    fn new(
        index: usize,
        terms: &Arc<Terms>,
        identity: Arc<IdentityKey>,
        task: &Task,
        initial: State,
    ) -> Self {
        let id = ClientId(identity.public().fingerprint());
        let pinned: Arc<BTreeSet<ClientId>> = Arc::new(terms.clients().collect());
        let terms = Arc::clone(terms);
        let setup = Setup { terms, identity, pinned, patience: Millis(60_000) };
        let (inputs, labels) = rows(index);
        let data = Data::from_memory(&task.schema, &inputs, &labels, 20).unwrap();
        let mut trainer = LocalTrainer::with_data(data, Options::new(Source::new("")));
        let summary = trainer.prepare(task).unwrap();
        let (engine, effects) = Federation::new(setup.clone(), summary.schema, &[], None, initial);
        let records = effects
            .into_iter()
            .map(|effect| match effect {
                Effect::Persist(record) => record,
                other => panic!("{other:?}"),
            })
            .collect();
        Self {
            id,
            engine,
            records,
            stored: None,
            events: Vec::new(),
            deadline: None,
            connected: true,
            trainer,
            setup,
            vectors: BTreeMap::new(),
            allowed: Vec::new(),
        }
    }

    /// Versions that were told as published, in order.
    pub(super) fn published_versions(&self) -> Vec<ModelVersion> {
        let published = |event: &Event| match event {
            Event::Published { version, .. } => Some(*version),
            _ => None,
        };
        self.events.iter().filter_map(published).collect()
    }
}
