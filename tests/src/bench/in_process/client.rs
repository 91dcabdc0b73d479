//! One client of a federation in this process.

use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::ChaCha12Rng;
use roundelay_client::engine::work::{
    Contribution, Derivation, Derived, MaskWork, Masked, TrainWork,
};
use roundelay_client::train::Uninterrupted;
use roundelay_crypto::digest::Digest;
use roundelay_protocol::codec;
use roundelay_protocol::ids::{ClientId, FederationId, RoundNumber};
use roundelay_protocol::layout::Layout;
use roundelay_protocol::lineage::{Standing, State};
use roundelay_protocol::manifest::Task;
use roundelay_protocol::message::Published;
use roundelay_protocol::round::horizontal::client::{Action, History, Input, Round, Setup};
use roundelay_protocol::session::{ToClient, ToCoordinator};
use roundelay_protocol::time::Time;
use roundelay_simulations::packet::Frames;

use super::{Cost, Failed, Mail, seed, setup, timed};
use crate::bench::still::Still;

/// A client.
pub(super) struct Client {
    pub(super) cost: Cost,
    setup: Setup,
    history: History,
    random: ChaCha12Rng,
    task: Arc<Task>,
    state: Arc<State>,
    hash: Digest,
    machine: Option<Round>,
    layout: Option<Layout>,
    contribution: Option<Contribution>,
    masked: Option<Masked>,
    vanishes: bool,
}

/// What a client says.
pub(super) enum Answer {
    Frames(Frames),
    Vector(Vec<u8>),
    Lost,
}

impl Answer {
    pub(super) fn from(self, client: usize) -> Mail {
        match self {
            Self::Frames(frames) => Mail::FromClient(client, frames),
            Self::Vector(vector) => Mail::Vector(client, vector),
            Self::Lost => Mail::Lost(client),
        }
    }
}

impl Client {
    pub(super) fn new(
        setup: Setup,
        number: usize,
        task: Arc<Task>,
        (state, standing): (Arc<State>, Standing),
    ) -> Self {
        let mut history = History::new(setup.terms.federation());
        history.adopt(standing).expect("a new client stands nowhere");
        Self {
            cost: Cost::default(),
            setup,
            history,
            random: ChaCha12Rng::from_seed(seed("client", number)),
            task,
            hash: standing.state,
            state,
            machine: None,
            layout: None,
            contribution: None,
            masked: None,
            vanishes: false,
        }
    }

    pub(super) fn id(&self) -> ClientId {
        ClientId(self.setup.identity.public().fingerprint())
    }

    /// Hash of the state that it holds.
    pub(super) fn state_hash(&self) -> Digest {
        self.hash
    }

    /// A round is about to begin, in which it may vanish.
    pub(super) fn begin(&mut self, vanishes: bool) {
        (self.cost, self.machine, self.vanishes) = (Cost::default(), None, vanishes);
    }

    /// Takes over the state that its peers hold.
    pub(super) fn catch_up(&mut self, state: &Arc<State>, standing: Standing) {
        self.history.adopt(standing).expect("its peers went on");
        (self.state, self.hash) = (Arc::clone(state), standing.state);
    }

    /// Takes a message; `aggregate` is what a published round announces.
    pub(super) fn read(
        &mut self,
        frames: &Frames,
        aggregate: &[u8],
        now: Time,
    ) -> Result<Vec<Answer>, Failed> {
        self.cost.received += frames.bytes();
        let (answers, seconds) = timed(|| self.answers(frames, aggregate, now));
        self.cost.seconds += seconds;
        answers
    }

    fn answers(
        &mut self,
        frames: &Frames,
        aggregate: &[u8],
        now: Time,
    ) -> Result<Vec<Answer>, Failed> {
        let ToClient::Round { federation, round, message } = frames.read_by_client()? else {
            return Ok(Vec::new());
        };
        let mut answers = Vec::new();
        let mut inputs = vec![Input::Message(message)];
        while let Some(input) = inputs.pop() {
            for action in self.handle(round, input, now) {
                inputs.extend(self.carry_out(
                    (federation, round),
                    action,
                    aggregate,
                    &mut answers,
                )?);
            }
        }
        Ok(answers)
    }

    fn handle(&mut self, round: RoundNumber, input: Input, now: Time) -> Vec<Action> {
        let mut actions = Vec::new();
        let machine =
            self.machine.get_or_insert_with(|| Round::new(&self.setup, round, &mut self.random));
        machine.handle(now, input, &mut self.history, &mut actions);
        actions
    }

    /// Carries out an action; some give what the machine hears next.
    fn carry_out(
        &mut self,
        (federation, round): (FederationId, RoundNumber),
        action: Action,
        aggregate: &[u8],
        answers: &mut Vec<Answer>,
    ) -> Result<Option<Input>, Failed> {
        match action {
            Action::Persist(record) => drop(codec::encode(&record)),
            Action::Send(message) => {
                let frames =
                    Frames::of_client(ToCoordinator::Round { federation, round, message })?;
                self.cost.sent += frames.bytes();
                answers.push(Answer::Frames(frames));
            }
            Action::Contribute(plan) => {
                let (state, task) = (Arc::clone(&self.state), Arc::clone(&self.task));
                self.layout = Some(plan.layout.clone());
                let work = TrainWork { round, plan, state, task, noise: None };
                let done = work.run(&mut Still(|parameters| vec![0.0; parameters]), &Uninterrupted);
                self.contribution = Some(done.map_err(setup)?);
                return Ok(Some(Input::Contributed));
            }
            Action::Mask(plan) => {
                let contribution = self.contribution.take();
                let contribution = contribution.ok_or_else(|| setup("no contribution"))?;
                let masked = MaskWork { round, contribution, plan }.run();
                let roots = masked.roots();
                self.masked = Some(masked);
                return Ok(Some(Input::Masked(roots)));
            }
            Action::Upload if self.vanishes => answers.push(Answer::Lost),
            Action::Upload => {
                let vector =
                    self.masked.take().map(|masked| masked.words().to_vec()).unwrap_or_default();
                self.cost.sent += vector.len() as u64;
                answers.push(Answer::Vector(vector));
            }
            Action::Apply(published) => {
                self.cost.received += aggregate.len() as u64;
                return self.apply(round, published, aggregate).map(Some);
            }
            // Nothing is private here.
            Action::SetDeadline(_) | Action::Charge => {}
            Action::Finish(_) => self.layout = None,
        }
        Ok(None)
    }

    fn apply(
        &mut self,
        round: RoundNumber,
        published: Box<Published>,
        aggregate: &[u8],
    ) -> Result<Input, Failed> {
        let layout = self.layout.clone().ok_or_else(|| setup("no plan"))?;
        let (before, task) = (Arc::clone(&self.state), Arc::clone(&self.task));
        let aggregate = aggregate.to_vec();
        let work = Derivation::Advance { round, before, task, layout, published, aggregate };
        let Derived::Advanced { result, .. } = work.run() else {
            return Err(setup("not what was asked for"));
        };
        let (state, hash, _) = result.map_err(setup)?;
        (self.state, self.hash) = (state, hash);
        Ok(Input::Applied(Some(hash)))
    }
}
