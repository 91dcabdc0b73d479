//! One coordinator's machine and the engines of its clients in one process, in virtual time, with
//! real keys, masks, trainers, states and layouts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::{IdentityKey, Signature};
use roundelay_crypto::mask::add_words;
use roundelay_protocol::bounded::List;
use roundelay_protocol::ids::{ClientId, RoundNumber};
use roundelay_protocol::lineage::{Attested, Standing, State};
use roundelay_protocol::manifest::Task;
use roundelay_protocol::message::{Published, ToClient};
use roundelay_protocol::plan::{PlanKind, TrainingPlan};
use roundelay_protocol::round::horizontal::coordinator::{self as machine, Outcome, Timing};
use roundelay_protocol::round::horizontal::terms::Terms;
use roundelay_protocol::session::VectorKind;
use roundelay_protocol::signed::Statement;
use roundelay_protocol::time::{Millis, Time};
use roundelay_protocol::transcript::NO_TRANSCRIPT;

use super::super::work::{Contribution, WorkFailure};
use super::super::{Federation, Input};

mod coordinator;
mod federation;
mod site;

use coordinator::Kept;
use federation::manifest;
pub(crate) use federation::{manifest_of, task};
use site::Site;

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
    /// The client that is told a result only behind the training plan that follows it, as where
    /// the rosters before the result are slow; so are the answers to what it asks.
    pub(super) overtaken: Option<usize>,
    /// What it is told then.
    behind: Option<(RoundNumber, ToClient)>,
    /// States that clients gave back.
    pub(super) given: Vec<Arc<State>>,
    rounds: BTreeMap<RoundNumber, Kept>,
    queue: VecDeque<Step>,
    rng: ChaCha20Rng,
    next: RoundNumber,
}

enum Step {
    ToSite(usize, Input),
    ToCoordinator(RoundNumber, machine::Input),
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
            overtaken: None,
            behind: None,
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
        let machine = machine::Round::start(
            Arc::clone(&self.terms),
            plan,
            timing,
            &absent,
            self.now,
            &mut actions,
        )
        .unwrap();
        let kept = Kept {
            machine,
            layout: None,
            uploads: BTreeMap::new(),
            sum: Vec::new(),
            goal: None,
            records: Vec::new(),
        };
        self.rounds.insert(round, kept);
        self.coordinator_actions(round, actions);
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
        let kept = self.rounds.get_mut(&round).unwrap();
        kept.goal = Some(kind);
        let layout = self.terms.layout(kind, &kept.machine.plan().cohort).unwrap();
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
            opened: Vec::new(),
            previous_transcript: self.transcript,
        };
        self.queue.push_back(Step::ToCoordinator(round, machine::Input::Train(Box::new(plan))));
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
                Step::ToCoordinator(round, input) => self.coordinator_input(round, input),
            }
        }
    }

    /// Lets time pass and fires the deadlines of both sides.
    pub(super) fn pass(&mut self, length: Millis) {
        self.now = self.now + length;
        for round in self.rounds.keys().copied().collect::<Vec<_>>() {
            self.queue.push_back(Step::ToCoordinator(round, machine::Input::Deadline));
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
            self.queue.push_back(Step::ToCoordinator(round, machine::Input::Lost(id)));
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
            self.queue.push_back(Step::ToCoordinator(round, machine::Input::Returned(id)));
        }
        self.settle();
    }

    /// A client's process is killed and started again from what was durable.
    pub(super) fn restart(&mut self, site: usize) {
        self.disconnect(site);
        self.settle();
        let old = &self.sites[site];
        let task = self.terms.manifest().task.clone();
        let initial = Arc::new(State::initial(&task, None).unwrap());
        let stored = old.stored.clone();
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
