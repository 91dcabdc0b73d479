//! One client in memory: machines, history, model state and the work that its rounds ask for.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::ChaCha20Rng;
use rand::{RngExt, SeedableRng};
use roundelay_crypto::chunks::ChunkRoot;
use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::{IdentityKey, Signature};
use roundelay_crypto::mask::{MaskKey, add_masks};
use roundelay_crypto::secret::Secret;
use roundelay_protocol::contribution;
use roundelay_protocol::error::Fault;
use roundelay_protocol::ids::{ClientId, RoundNumber, TenantId};
use roundelay_protocol::layout::Layout;
use roundelay_protocol::lineage::State;
use roundelay_protocol::message::{FromClient, Published, ToClient};
use roundelay_protocol::metrics::Metrics;
use roundelay_protocol::plan::{PlanKind, TrainingPlan};
use roundelay_protocol::privacy::Account;
use roundelay_protocol::round::horizontal::client::{
    Action, History, Input, LocalFailure, Outcome, Record, Roots, Round, Setup, Standing,
};
use roundelay_protocol::round::horizontal::terms::Terms;
use roundelay_protocol::session::Join;
use roundelay_protocol::signed::Statement;
use roundelay_protocol::statistics::ColumnStatistics;
use roundelay_protocol::time::{Millis, Time};
use roundelay_protocol::transcript::aggregate_digest;

/// What a client does.
#[derive(Debug, Clone)]
pub(crate) enum Out {
    /// Sends a message of a round.
    Send(RoundNumber, FromClient),
    /// Uploads a masked vector.
    Upload(RoundNumber, Vec<u8>),
}

/// A client.
pub(crate) struct TestClient {
    pub(crate) id: ClientId,
    pub(crate) tenant: TenantId,
    pub(crate) state: State,
    /// How its rounds ended.
    pub(crate) outcomes: BTreeMap<RoundNumber, Outcome>,
    setup: Setup,
    history: History,
    durable: Vec<Record>,
    rounds: BTreeMap<RoundNumber, Round>,
    /// Contributions, masked once their masks are known.
    vectors: BTreeMap<RoundNumber, Vec<u8>>,
    applying: BTreeMap<RoundNumber, Published>,
    /// Whether its training gives values that are no finite numbers.
    diverges: bool,
    rng: ChaCha20Rng,
}

impl TestClient {
    /// A client that holds the initial model.
    pub(crate) fn new(terms: &Arc<Terms>, identity: &Arc<IdentityKey>, seed: u64) -> Self {
        let id = ClientId(identity.public().fingerprint());
        let manifest = terms.manifest();
        let named = manifest.clients().find(|client| client.id == id).unwrap();
        let state = State::initial(&manifest.task, None).unwrap();
        let mut history = History::new(terms.federation());
        let adopted = history.adopt(Standing::initial(state.hash())).unwrap();
        Self {
            id,
            tenant: named.tenant.clone(),
            state,
            outcomes: BTreeMap::new(),
            setup: Setup {
                terms: Arc::clone(terms),
                identity: Arc::clone(identity),
                pinned: Arc::new(terms.clients().collect()),
                patience: Millis(600_000),
                account: Account::default(),
            },
            history,
            durable: vec![adopted],
            rounds: BTreeMap::new(),
            vectors: BTreeMap::new(),
            applying: BTreeMap::new(),
            diverges: false,
            rng: ChaCha20Rng::seed_from_u64(seed),
        }
    }

    /// What it was told that it is expelled for.
    pub(crate) fn expelled(&self) -> Option<&Fault> {
        self.outcomes.values().find_map(|outcome| match outcome {
            Outcome::Expelled(fault) => Some(fault),
            _ => None,
        })
    }

    /// What was released over its data.
    pub(crate) fn account(&self) -> &Account {
        &self.setup.account
    }

    /// From now on its training gives NaN.
    pub(crate) fn diverge(&mut self) {
        self.diverges = true;
    }

    /// Its tenant has signed a newer manifest.
    pub(crate) fn repin(&mut self, terms: &Arc<Terms>) {
        self.setup.terms = Arc::clone(terms);
    }

    /// It has compared the fingerprints of these peers.
    pub(crate) fn pin(&mut self, peers: &[Arc<IdentityKey>]) {
        let peers = peers.iter().map(|peer| ClientId(peer.public().fingerprint()));
        self.setup.pinned = Arc::new(peers.collect());
    }

    /// What it joins with.
    pub(crate) fn join(&self) -> Join {
        let terms = &self.setup.terms;
        Join {
            federation: terms.federation(),
            manifest: terms.hash(),
            highest_round: self.history.highest_round(),
            resumable: self.rounds.keys().copied().collect::<Vec<_>>().try_into().unwrap(),
            standing: self.standing(),
            attestation: self.attestation(),
            schema: terms.manifest().task.schema.digest(),
        }
    }

    /// The terms that it keeps to.
    pub(crate) fn terms(&self) -> &Terms {
        &self.setup.terms
    }

    /// Where it stands, if it has derived that itself.
    pub(crate) fn derived(&self) -> Option<Standing> {
        self.history.derived().copied()
    }

    /// Its signature under the state that it has derived.
    pub(crate) fn attestation(&self) -> Option<Signature> {
        let (standing, terms) = (self.derived()?, &self.setup.terms);
        let scope = terms.scope(standing.round);
        Some(scope.sign(&self.setup.identity, &Statement::Stands(&standing)))
    }

    /// Takes over a newer state, as a newcomer or one that was away.
    pub(crate) fn adopt(&mut self, standing: Standing, bytes: &[u8]) {
        self.state = State::from_bytes(&self.setup.terms.manifest().task, bytes).unwrap();
        assert_eq!(self.state.hash(), standing.state);
        let record = self.history.adopt(standing).unwrap();
        self.durable.push(record);
    }

    /// Whether a result waits for its aggregate.
    pub(crate) fn is_applying(&self) -> bool {
        !self.applying.is_empty()
    }

    /// Which round's result it stands at.
    pub(crate) fn standing(&self) -> Standing {
        *self.history.standing().unwrap()
    }

    /// The process dies and comes back: keys are gone, what is durable is not.
    pub(crate) fn restart(&mut self) {
        self.rounds.clear();
        self.vectors.clear();
        self.applying.clear();
        self.history = History::replay(self.setup.terms.federation(), &self.durable);
    }

    /// A message of a round.
    pub(crate) fn take(&mut self, now: Time, round: RoundNumber, message: ToClient) -> Vec<Out> {
        self.input(now, round, Input::Message(message))
    }

    /// The aggregate of a round, pushed behind its announcement.
    pub(crate) fn aggregate(&mut self, now: Time, round: RoundNumber, bytes: &[u8]) -> Vec<Out> {
        let Some(published) = self.applying.remove(&round) else { return Vec::new() };
        let derived = self.derive(&published, bytes);
        self.input(now, round, Input::Applied(derived))
    }

    fn derive(&mut self, published: &Published, bytes: &[u8]) -> Option<Digest> {
        assert_eq!(aggregate_digest(bytes), published.aggregate);
        assert_eq!(self.state.version(), published.model_version, "results come in order");
        let terms = &self.setup.terms;
        let cohort: Vec<_> = terms.clients().collect();
        let layout = terms.layout(published.kind, &cohort).unwrap();
        let (task, survivors) = (&terms.manifest().task, u32::from(published.survivors));
        let advanced = self.state.advance(task, published.kind, &layout, bytes, survivors).ok()?;
        self.state = advanced.state;
        Some(self.state.hash())
    }

    fn input(&mut self, now: Time, round: RoundNumber, input: Input) -> Vec<Out> {
        let mut out = Vec::new();
        if self.outcomes.contains_key(&round) {
            return out;
        }
        let (setup, rng) = (&self.setup, &mut self.rng);
        let machine = self.rounds.entry(round).or_insert_with(|| Round::new(setup, round, rng));
        let mut actions = Vec::new();
        machine.handle(now, input, &mut self.history, &mut actions);
        for action in actions {
            self.act(now, round, action, &mut out);
        }
        out
    }

    fn act(&mut self, now: Time, round: RoundNumber, action: Action, out: &mut Vec<Out>) {
        match action {
            Action::Persist(record) => self.durable.push(record),
            Action::Send(message) => out.push(Out::Send(round, message)),
            Action::Contribute(plan) if self.diverges && plan.kind == PlanKind::Train => {
                let failed = Input::ContributionFailed(LocalFailure::NotFinite);
                out.extend(self.input(now, round, failed));
            }
            Action::Contribute(plan) => {
                let vector = self.contribution(&plan);
                self.vectors.insert(round, vector);
                out.extend(self.input(now, round, Input::Contributed));
            }
            Action::Mask(plan) => {
                let vector = self.vectors.get_mut(&round).unwrap();
                let roots = masked(vector, &plan.layout, &plan.keys);
                out.extend(self.input(now, round, Input::Masked(roots)));
            }
            Action::Upload => out.push(Out::Upload(round, self.vectors[&round].clone())),
            Action::Apply(published) => {
                self.applying.insert(round, *published);
            }
            // Deadlines of clients are not what these tests are about.
            Action::Charge | Action::SetDeadline(_) => {}
            Action::Finish(outcome) => {
                self.rounds.remove(&round);
                self.outcomes.insert(round, outcome);
            }
        }
    }

    /// Numbers that a trainer might have found: the tests are about what becomes of them.
    /// The same for the same model, as of a trainer that repeats itself.
    fn contribution(&mut self, plan: &TrainingPlan) -> Vec<u8> {
        let layout = &plan.layout;
        let seed = Digest::of("test/contribution", &[&self.id.0.0, &plan.model.0]);
        let mut random = ChaCha20Rng::from_seed(seed.0);
        let metrics = Metrics { rows: 10, correct: random.random_range(0..=10), loss_sum: 4.0 };
        match plan.kind {
            PlanKind::Train => {
                let parameters = self.state.model().len();
                let update: Vec<f32> =
                    (0..parameters).map(|_| random.random_range(-0.5..0.5)).collect();
                if layout.private().is_some() {
                    let seed = Secret::random(&mut self.rng);
                    return contribution::private(layout, &update, &plan.model, &seed).unwrap();
                }
                let weight = random.random_range(1..=100);
                contribution::train(layout, &update, weight, &metrics).unwrap()
            }
            PlanKind::Evaluate => contribution::evaluate(layout, &metrics).unwrap(),
            PlanKind::Statistics => {
                let schema = &self.setup.terms.manifest().task.schema;
                let columns: Vec<_> = schema
                    .numeric_columns()
                    .map(|column| ColumnStatistics::of(&column, [0.5, -0.25, 0.125]).unwrap())
                    .collect();
                contribution::statistics(layout, &columns).unwrap()
            }
        }
    }
}

fn masked(vector: &mut [u8], layout: &Layout, keys: &[MaskKey]) -> Roots {
    let (mut plain, mut masked) = (ChunkRoot::new(), ChunkRoot::new());
    for chunk in layout.chunks() {
        let words = &mut vector[chunk.range()];
        plain.push(words);
        add_masks(words, chunk.ring, keys, chunk.offset as u64);
        masked.push(words);
    }
    Roots { masked: masked.finish(), plain: plain.finish() }
}
