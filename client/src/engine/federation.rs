//! The client's side of one federation: which rounds are alive, what they wait for, and which model
//! they start from.

use std::mem;
use std::sync::Arc;

use rand_core::CryptoRng;
use roundelay_crypto::digest::Digest;
use roundelay_protocol::bounded::List;
use roundelay_protocol::ids::{FederationId, ModelVersion, RoundNumber};
use roundelay_protocol::lineage::State;
use roundelay_protocol::manifest::Task;
use roundelay_protocol::message::{Published, ToClient};
use roundelay_protocol::metrics::Metrics;
use roundelay_protocol::plan::{PlanKind, TrainingPlan};
use roundelay_protocol::round::horizontal::client::{
    self as machine, Action, History, MaskPlan, Outcome, Record, Round, Setup, Standing,
};
use roundelay_protocol::session::{Join, VectorKind};
use roundelay_protocol::time::{Millis, Time};
use roundelay_protocol::transcript::NO_TRANSCRIPT;

use super::rounds::{Alive, Applying, Room, Rounds, Work, room_for};
use super::state::{Catching, Model, Then};
use super::work::{Derivation, DeriveError, Derived, MaskWork, TrainWork};
use super::{Effect, Event, Input, Newest};

/// An aggregate is pushed with its announcement; one that has not come by then is asked for.
const PUSH_PATIENCE: Millis = Millis(5_000);

/// One federation as its client sees it.
pub struct Federation {
    setup: Setup,
    task: Arc<Task>,
    schema: Digest,
    history: History,
    /// None where the bytes are missing and have to be fetched.
    model: Option<Model>,
    rounds: Rounds,
    catching: Option<Catching>,
    /// The last published evaluation that was derived and is to be told with its round.
    evaluated: Option<(RoundNumber, Option<Metrics>)>,
    /// The coordinator's lineage does not hold: nothing is caught up with any more.
    broken: bool,
    deadline: Option<Time>,
}

impl Federation {
    /// A federation after a start. `records` is the durable history, `stored` the state that was
    /// kept, `initial` version 0 of the task, `schema` the digest that the data was checked against.
    /// The effects are to be carried out first.
    #[must_use]
    pub fn new(
        setup: Setup,
        schema: Digest,
        records: &[Record],
        stored: Option<State>,
        initial: State,
    ) -> (Self, Vec<Effect>) {
        let federation = setup.terms.federation();
        let mut history = History::replay(federation, records);
        let mut effects = Vec::new();
        let initial = Model::new(initial);
        if history.standing().is_none() {
            let standing = Standing {
                round: RoundNumber(0),
                model_version: ModelVersion(0),
                state: initial.hash,
                transcript: NO_TRANSCRIPT,
            };
            // Nothing stands yet, so nothing steps back.
            effects.extend(history.adopt(standing).ok().map(Effect::Persist));
        }
        let stands = history.standing().map(|standing| standing.state);
        let stored = stored.map(Model::new);
        let model =
            [stored, Some(initial)].into_iter().flatten().find(|model| Some(model.hash) == stands);
        let task = Arc::new(setup.terms.manifest().task.clone());
        let federation = Self {
            setup,
            task,
            schema,
            history,
            model,
            rounds: Rounds::new(),
            catching: None,
            evaluated: None,
            broken: false,
            deadline: None,
        };
        (federation, effects)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> FederationId {
        self.setup.terms.federation()
    }

    /// What the client says when it joins on a connection.
    #[must_use]
    pub fn join(&self) -> Join {
        let resumable = self.rounds.iter().filter(|(_, alive)| alive.is_resumable());
        let standing = self.stands();
        Join {
            federation: self.id(),
            manifest: self.setup.terms.hash(),
            highest_round: self.history.highest_round(),
            resumable: List::clipped(resumable.map(|(round, _)| *round)),
            model_version: standing.model_version,
            state: standing.state,
            schema: self.schema,
        }
    }

    /// The version that this client holds.
    #[must_use]
    pub fn version(&self) -> ModelVersion {
        self.stands().model_version
    }

    /// The state that this client holds, unless it is being fetched.
    #[must_use]
    pub fn state(&self) -> Option<Arc<State>> {
        self.model.as_ref().map(|model| Arc::clone(&model.state))
    }

    /// Takes one input; pushes what is to be done, in order. `rng` seeds the keys of a new round.
    pub fn handle(
        &mut self,
        now: Time,
        input: Input,
        rng: &mut (impl CryptoRng + ?Sized),
        effects: &mut Vec<Effect>,
    ) {
        match input {
            Input::Joined(newest) => self.joined(newest, effects),
            Input::Message { round, message } => self.message(now, round, message, rng, effects),
            Input::Trained { round, result } => self.trained(now, round, result, effects),
            Input::Masked { round, result } => {
                let input = match result {
                    Ok(root) => machine::Input::Masked(root),
                    Err(failure) => machine::Input::ContributionFailed(failure),
                };
                self.drive(now, round, input, effects);
            }
            Input::Aggregate { round, bytes } => self.aggregate(round, bytes),
            Input::State { version, bytes } => self.fetched(version, bytes, effects),
            Input::Derived(Derived::Advanced { round, result }) => {
                self.advanced(now, round, result, effects);
            }
            Input::Derived(Derived::Taken { version, result }) => {
                self.taken(now, version, result, effects);
            }
            Input::Deadline => self.expire(now, effects),
            Input::PersistFailed | Input::Ended => self.drop_all(effects),
        }
        self.go_on(effects);
        self.watch(effects);
    }

    /// Where the client stands; the initial model before anything else.
    fn stands(&self) -> Standing {
        self.history.standing().copied().unwrap_or(Standing {
            round: RoundNumber(0),
            model_version: ModelVersion(0),
            state: Digest([0; 32]),
            transcript: NO_TRANSCRIPT,
        })
    }

    fn joined(&mut self, newest: Newest, effects: &mut Vec<Effect>) {
        // What was pushed on the connection before may be lost.
        for (round, alive) in &mut self.rounds {
            if let Some(applying) = alive.applying.as_mut().filter(|it| it.aggregate.is_none()) {
                applying.ask_at = None;
                effects.push(Effect::Fetch(VectorKind::Aggregate(*round)));
            }
        }
        self.catching = self.catching.take().filter(|catching| catching.under_way);
        let Newest { model_version, state, transcript } = newest;
        let stands = self.stands();
        if model_version < stands.model_version {
            let (theirs, ours) = (model_version, stands.model_version);
            effects.push(Effect::Tell(Event::CoordinatorBehind { theirs, ours }));
        } else if state == stands.state {
            if self.model.is_none() {
                self.catch_up(model_version, state, Then::Stand, effects);
            }
        } else if transcript == stands.transcript {
            let words = "the coordinator names another model than the one this client derived";
            self.break_lineage(words, effects);
        } else if !self.is_applying() {
            let standing = Standing { model_version, state, transcript, round: stands.round };
            self.catch_up(model_version, state, Then::Adopt(standing), effects);
        }
    }

    fn message(
        &mut self,
        now: Time,
        round: RoundNumber,
        message: ToClient,
        rng: &mut (impl CryptoRng + ?Sized),
        effects: &mut Vec<Effect>,
    ) {
        if let ToClient::Published(published) = &message
            && self.is_known(published)
        {
            return self.end(round, effects);
        }
        if !self.rounds.contains_key(&round) {
            match room_for(&self.rounds, round) {
                Room::Free => {}
                Room::Instead(oldest) => self.end(oldest, effects),
                Room::None => return,
            }
            self.rounds.insert(round, Alive::new(Round::new(&self.setup, round, rng)));
        }
        match &message {
            ToClient::RosterPlan(plan) => self.planned(round, &plan.cohort, effects),
            ToClient::TrainingPlan(plan) if self.has_to_catch_up(round, plan) => {
                return self.hold(round, plan.clone(), effects);
            }
            _ => {}
        }
        self.drive(now, round, machine::Input::Message(message), effects);
    }

    /// Whether this client stands where a published result leads to, as after catching up.
    fn is_known(&self, published: &Published) -> bool {
        let stands = self.stands();
        stands.transcript == published.transcript && stands.state == published.state
    }

    /// A cohort is known, and with it how long an aggregate of this round can be.
    fn planned(
        &mut self,
        round: RoundNumber,
        cohort: &[roundelay_protocol::ids::ClientId],
        effects: &mut Vec<Effect>,
    ) {
        let terms = &self.setup.terms;
        let layouts = self.task.kinds().filter_map(|kind| terms.layout(kind, cohort));
        let bytes_max = layouts.map(|layout| layout.total_bytes()).max();
        if let (Some(alive), Some(bytes_max)) = (self.rounds.get_mut(&round), bytes_max)
            && alive.cohort.is_none()
        {
            alive.cohort = Some(cohort.to_vec());
            effects.push(Effect::Expect { kind: VectorKind::Aggregate(round), bytes_max });
            effects.push(Effect::Tell(Event::RoundBegan { round, clients: cohort.len() }));
        }
    }

    /// Whether a plan starts from a model that this client has not seen, and could see.
    fn has_to_catch_up(&self, round: RoundNumber, plan: &TrainingPlan) -> bool {
        let stands = self.stands();
        let same = plan.previous_transcript == stands.transcript && plan.model == stands.state;
        let ahead = plan.model_version >= stands.model_version
            && plan.previous_transcript != stands.transcript;
        let prepared = self.rounds.get(&round).is_some_and(|alive| alive.is_resumable());
        plan.kind != PlanKind::Statistics
            && !same
            && ahead
            && prepared
            && !self.broken
            && !self.is_applying()
    }

    fn hold(&mut self, round: RoundNumber, plan: Box<TrainingPlan>, effects: &mut Vec<Effect>) {
        let before = RoundNumber(round.0.saturating_sub(1));
        let standing = Standing {
            round: before.max(self.stands().round),
            model_version: plan.model_version,
            state: plan.model,
            transcript: plan.previous_transcript,
        };
        self.catch_up(plan.model_version, plan.model, Then::Adopt(standing), effects);
        if let Some(alive) = self.rounds.get_mut(&round) {
            alive.held = Some(ToClient::TrainingPlan(plan));
        }
    }

    fn catch_up(
        &mut self,
        version: ModelVersion,
        state: Digest,
        then: Then,
        effects: &mut Vec<Effect>,
    ) {
        let Ok(bytes_max) = State::bytes_max(&self.task) else { return };
        if self.catching.as_ref().is_some_and(|catching| catching.state == state) {
            return;
        }
        let kind = VectorKind::State(version);
        effects.push(Effect::Expect { kind, bytes_max });
        effects.push(Effect::Fetch(kind));
        self.catching = Some(Catching { version, state, then, under_way: false });
    }

    fn fetched(&mut self, version: ModelVersion, bytes: Vec<u8>, effects: &mut Vec<Effect>) {
        let task = Arc::clone(&self.task);
        let Some(catching) = &mut self.catching else { return };
        if catching.version == version && !catching.under_way {
            catching.under_way = true;
            let expected = catching.state;
            let take = Derivation::Take { version, task, expected, bytes };
            effects.push(Effect::Derive(Box::new(take)));
        }
    }

    fn taken(
        &mut self,
        now: Time,
        version: ModelVersion,
        result: Result<Arc<State>, DeriveError>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(catching) = self.catching.take_if(|it| it.version == version) else { return };
        match result {
            Ok(state) => self.take(now, state, &catching, effects),
            Err(error) => {
                if let Then::Apply(round) = catching.then {
                    self.drive(now, round, machine::Input::Applied(None), effects);
                }
                self.break_lineage(&error.to_string(), effects);
            }
        }
        self.release_held(now, effects);
    }

    fn take(
        &mut self,
        now: Time,
        state: Arc<State>,
        catching: &Catching,
        effects: &mut Vec<Effect>,
    ) {
        match catching.then {
            Then::Stand => {}
            Then::Adopt(standing) => match self.history.adopt(standing) {
                Ok(record) => effects.push(Effect::Persist(record)),
                // Something newer was derived while this one was fetched.
                Err(_) => return,
            },
            Then::Apply(_) => {}
        }
        let version = catching.version;
        self.model = Some(Model { state: Arc::clone(&state), hash: catching.state });
        effects.push(Effect::Save(state));
        effects.push(Effect::Tell(Event::CaughtUp { version }));
        if let Then::Apply(round) = catching.then {
            self.drive(now, round, machine::Input::Applied(Some(catching.state)), effects);
        }
    }

    /// Plans that waited for this client to catch up; one that still does not fit is refused by
    /// its machine.
    fn release_held(&mut self, now: Time, effects: &mut Vec<Effect>) {
        let held: Vec<(RoundNumber, ToClient)> = self
            .rounds
            .iter_mut()
            .filter_map(|(round, alive)| Some((*round, alive.held.take()?)))
            .collect();
        for (round, plan) in held {
            self.drive(now, round, machine::Input::Message(plan), effects);
        }
    }

    fn break_lineage(&mut self, words: &str, effects: &mut Vec<Effect>) {
        if !mem::replace(&mut self.broken, true) {
            effects.push(Effect::Tell(Event::LineageBroken(words.to_owned())));
        }
    }

    fn trained(
        &mut self,
        now: Time,
        round: RoundNumber,
        result: Result<super::work::Contribution, super::work::WorkFailure>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(alive) = self.rounds.get_mut(&round) else { return };
        if alive.work.take().is_none() {
            return;
        }
        let input = match result {
            Ok(contribution) => {
                alive.contribution = Some(contribution);
                machine::Input::Contributed
            }
            Err(failure) => {
                let reason = failure.to_string();
                effects.push(Effect::Tell(Event::WorkFailed { round, reason }));
                machine::Input::ContributionFailed(failure.local_failure())
            }
        };
        self.drive(now, round, input, effects);
    }

    fn aggregate(&mut self, round: RoundNumber, bytes: Vec<u8>) {
        let Some(alive) = self.rounds.get_mut(&round) else { return };
        match &mut alive.applying {
            Some(applying) if applying.aggregate.is_none() && !applying.under_way => {
                applying.aggregate = Some(bytes);
                applying.ask_at = None;
            }
            Some(_) => {}
            None => alive.early = Some(bytes),
        }
    }

    fn advanced(
        &mut self,
        now: Time,
        round: RoundNumber,
        result: Result<(Arc<State>, Digest, Option<Metrics>), DeriveError>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(alive) = self.rounds.get(&round) else { return };
        let Some(applying) = &alive.applying else { return };
        let announced = applying.published.state;
        match result {
            Ok((state, hash, metrics)) if hash == announced => {
                self.model = Some(Model { state: Arc::clone(&state), hash });
                self.evaluated = Some((round, metrics));
                self.drive(now, round, machine::Input::Applied(Some(hash)), effects);
                effects.push(Effect::Save(state));
            }
            Ok((_, hash, _)) => {
                self.drive(now, round, machine::Input::Applied(Some(hash)), effects);
                self.break_lineage(
                    "the announced state does not follow from the aggregate",
                    effects,
                );
            }
            Err(error) => {
                self.drive(now, round, machine::Input::Applied(None), effects);
                self.break_lineage(&error.to_string(), effects);
            }
        }
    }

    fn expire(&mut self, now: Time, effects: &mut Vec<Effect>) {
        let rounds: Vec<RoundNumber> = self.rounds.keys().copied().collect();
        for round in rounds {
            let Some(alive) = self.rounds.get_mut(&round) else { continue };
            if let Some(applying) = &mut alive.applying
                && applying.ask_at.is_some_and(|at| at <= now)
            {
                applying.ask_at = Some(now + PUSH_PATIENCE);
                effects.push(Effect::Fetch(VectorKind::Aggregate(round)));
            }
            if alive.deadline.is_some_and(|deadline| deadline <= now) {
                self.drive(now, round, machine::Input::Deadline, effects);
            }
        }
    }

    fn drop_all(&mut self, effects: &mut Vec<Effect>) {
        let rounds: Vec<RoundNumber> = self.rounds.keys().copied().collect();
        rounds.into_iter().for_each(|round| self.end(round, effects));
    }

    /// Inputs to a round's machine and takes its actions over.
    fn drive(
        &mut self,
        now: Time,
        round: RoundNumber,
        input: machine::Input,
        effects: &mut Vec<Effect>,
    ) {
        let Some(alive) = self.rounds.get_mut(&round) else { return };
        let refused_before = alive.machine.refusal().is_some();
        let mut actions = Vec::new();
        alive.machine.handle(now, input, &mut self.history, &mut actions);
        if let (false, Some(refusal)) = (refused_before, alive.machine.refusal().cloned()) {
            if alive.work.take().is_some() {
                effects.push(Effect::Cancel(round));
            }
            effects.push(Effect::Tell(Event::SatOut { round, refusal }));
        }
        for action in actions {
            self.act(now, round, action, effects);
        }
    }

    fn act(&mut self, now: Time, round: RoundNumber, action: Action, effects: &mut Vec<Effect>) {
        let Some(alive) = self.rounds.get_mut(&round) else { return };
        match action {
            Action::Persist(record) => effects.push(Effect::Persist(record)),
            Action::Send(message) => effects.push(Effect::Send { round, message }),
            Action::Contribute(plan) => alive.work = Some(Work { plan, under_way: false }),
            Action::Mask(plan) => mask(round, alive, plan, effects),
            Action::Upload => {
                effects.push(Effect::Tell(Event::Uploading { round }));
                effects.push(Effect::Upload(round));
            }
            Action::Apply(published) => {
                let layout = self
                    .setup
                    .terms
                    .layout(published.kind, alive.cohort.as_deref().unwrap_or_default());
                let aggregate = alive.early.take();
                let ask_at = aggregate.is_none().then_some(now + PUSH_PATIENCE);
                alive.applying =
                    Some(Applying { published, layout, aggregate, ask_at, under_way: false });
            }
            Action::SetDeadline(deadline) => alive.deadline = Some(deadline),
            Action::Finish(outcome) => {
                self.tell_outcome(round, outcome, effects);
                self.end(round, effects);
            }
        }
    }

    fn tell_outcome(&mut self, round: RoundNumber, outcome: Outcome, effects: &mut Vec<Effect>) {
        let event = match outcome {
            Outcome::Published(published) => {
                let evaluated = self.evaluated.take_if(|(of, _)| *of == round);
                let Published { kind, survivors, .. } = *published;
                let version = self.version();
                let metrics = evaluated.and_then(|(_, metrics)| metrics);
                Event::Published { round, kind, version, survivors, metrics }
            }
            Outcome::Aborted(reason) => Event::Aborted { round, reason },
            // Told when it was refused; and a known result was told before.
            Outcome::Refused(_) | Outcome::Known => return,
        };
        effects.push(Effect::Tell(event));
    }

    /// A round is over for this client, whatever it had under way.
    fn end(&mut self, round: RoundNumber, effects: &mut Vec<Effect>) {
        if let Some(alive) = self.rounds.remove(&round) {
            if alive.work.is_some_and(|work| work.under_way) {
                effects.push(Effect::Cancel(round));
            }
            effects.push(Effect::Forget(round));
        }
    }

    fn is_applying(&self) -> bool {
        self.rounds.values().any(|alive| alive.applying.is_some())
    }

    /// Starts what can be started now: the oldest result first, then local work.
    fn go_on(&mut self, effects: &mut Vec<Effect>) {
        if self.is_applying() {
            self.derive_oldest(effects);
        } else if self.catching.is_none() {
            self.work_on_oldest(effects);
        }
    }

    fn derive_oldest(&mut self, effects: &mut Vec<Effect>) {
        let mut rounds = self.rounds.iter_mut();
        let oldest = rounds.find_map(|(round, alive)| Some((*round, alive.applying.as_mut()?)));
        let Some((round, applying)) = oldest else { return };
        if applying.under_way {
            return;
        }
        let base = self.model.as_ref().filter(|model| {
            model.state.version() == applying.published.model_version && applying.layout.is_some()
        });
        let Some(base) = base else {
            applying.under_way = true;
            let (version, state) = (version_after(&applying.published), applying.published.state);
            return self.catch_up(version, state, Then::Apply(round), effects);
        };
        let (Some(aggregate), Some(layout)) = (applying.aggregate.take(), applying.layout.take())
        else {
            return;
        };
        applying.under_way = true;
        let (before, task) = (Arc::clone(&base.state), Arc::clone(&self.task));
        let published = applying.published.clone();
        let advance = Derivation::Advance { round, before, task, layout, published, aggregate };
        effects.push(Effect::Derive(Box::new(advance)));
    }

    fn work_on_oldest(&mut self, effects: &mut Vec<Effect>) {
        let Some(model) = &self.model else { return };
        let waiting = self.rounds.iter_mut().find_map(|(round, alive)| {
            Some((*round, alive.work.as_mut().filter(|work| !work.under_way)?))
        });
        let Some((round, work)) = waiting else { return };
        work.under_way = true;
        let TrainingPlan { kind, model_version: version, .. } = *work.plan;
        effects.push(Effect::Tell(Event::Working { round, kind, version }));
        effects.push(Effect::Train(Box::new(TrainWork {
            round,
            plan: work.plan.clone(),
            state: Arc::clone(&model.state),
            task: Arc::clone(&self.task),
        })));
    }

    fn watch(&mut self, effects: &mut Vec<Effect>) {
        let deadline = self.rounds.values().filter_map(Alive::wakes_at).min();
        if deadline != self.deadline {
            self.deadline = deadline;
            effects.push(Effect::SetDeadline(deadline));
        }
    }
}

fn mask(round: RoundNumber, alive: &mut Alive, plan: MaskPlan, effects: &mut Vec<Effect>) {
    // The machine plans masks only for a contribution that it was told of.
    if let Some(contribution) = alive.contribution.take() {
        effects.push(Effect::Mask(Box::new(MaskWork { round, contribution, plan })));
    }
}

fn version_after(published: &Published) -> ModelVersion {
    match published.kind {
        PlanKind::Train => published.model_version.next(),
        PlanKind::Statistics | PlanKind::Evaluate => published.model_version,
    }
}
