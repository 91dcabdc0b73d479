//! The client's side of one federation: which rounds are alive, what they wait for, and which model
//! they start from.

use std::sync::Arc;

use rand_core::CryptoRng;
use roundelay_crypto::digest::Digest;
use roundelay_protocol::bounded::List;
use roundelay_protocol::error::Refusal;
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

use super::rounds::{Alive, Applying, Room, Rounds, Work, room_for};
use super::state::{Catching, Model, Then};
use super::work::{Derivation, DeriveError, Derived, MaskWork, Noise, TrainWork};
use super::{Effect, Event, Input};

/// An aggregate is pushed with its announcement; one that has not come by then is asked for.
pub(super) const PUSH_PATIENCE: Millis = Millis(5_000);

/// One federation as its client sees it.
pub struct Federation {
    pub(super) setup: Setup,
    pub(super) task: Arc<Task>,
    schema: Digest,
    pub(super) history: History,
    /// None where the bytes are missing and have to be fetched.
    pub(super) model: Option<Model>,
    pub(super) rounds: Rounds,
    pub(super) catching: Option<Catching>,
    /// A state that was fetched and was not the announced one; not fetched again on a connection.
    pub(super) not_caught: Option<Digest>,
    /// What the coordinator named while a result was being applied.
    pub(super) newest: Option<Standing>,
    /// This client can't derive the newest state: the signatures under it are asked for again then.
    pub(super) wanted: Option<Time>,
    /// The last published evaluation that was derived and is to be told with its round.
    evaluated: Option<(RoundNumber, Option<Metrics>)>,
    /// The coordinator's lineage does not hold: nothing is caught up with any more.
    pub(super) broken: bool,
    /// It leaves: no round begins any more.
    leaving: bool,
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
        stored: Option<Arc<State>>,
        initial: Arc<State>,
    ) -> (Self, Vec<Effect>) {
        let federation = setup.terms.federation();
        let mut history = History::replay(federation, records);
        let mut effects = Vec::new();
        let initial = Model::new(initial);
        if history.standing().is_none() {
            // Nothing stands yet, so nothing steps back.
            let adopted = history.adopt(Standing::initial(initial.hash));
            effects.extend(adopted.ok().map(Effect::Persist));
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
            not_caught: None,
            newest: None,
            wanted: None,
            evaluated: None,
            broken: false,
            leaving: false,
            deadline: None,
        };
        (federation, effects)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> FederationId {
        self.setup.terms.federation()
    }

    /// The fewest records from which a start remembers all that this client does.
    #[must_use]
    pub fn memory(&self) -> Vec<Record> {
        self.history.export()
    }

    /// What the client says when it joins on a connection.
    #[must_use]
    pub fn join(&self) -> Join {
        let resumable = self.rounds.iter().filter(|(_, alive)| alive.is_resumable());
        let standing = self.stands();
        Join {
            federation: self.id(),
            manifest: self.manifest(),
            highest_round: self.history.highest_round(),
            resumable: List::clipped(resumable.map(|(round, _)| *round)),
            attestation: self.attestation().map(|(_, signature)| signature),
            standing,
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

    /// Whether no round is alive and no state is being fetched: after [`Input::Ended`], whether
    /// every result was applied or caught up with.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.rounds.is_empty() && self.catching.is_none() && self.wanted.is_none()
    }

    /// Whether the newest result is held here, after [`Input::Ended`], and is to be trusted.
    #[must_use]
    pub fn holds_the_end(&self) -> bool {
        self.is_idle() && !self.broken
    }

    /// After [`Input::Leaving`], whether nobody waits for this client any more.
    #[must_use]
    pub fn has_left(&self) -> bool {
        self.leaving && !self.rounds.values().any(Alive::is_counted_on)
    }

    /// Hash of the manifest that it runs under.
    #[must_use]
    pub fn manifest(&self) -> Digest {
        self.setup.terms.hash()
    }

    /// Whether a round is under way here.
    #[must_use]
    pub fn is_alive(&self, round: RoundNumber) -> bool {
        self.rounds.contains_key(&round)
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
            Input::Joined(newest) => self.joined(now, newest, effects),
            Input::Attested(attested) => self.attested(&attested, effects),
            Input::StateAsked(standing) => self.state_asked(standing, effects),
            Input::Message { round, message } => self.message(now, round, message, rng, effects),
            Input::Trained { round, result } => self.trained(now, round, result, effects),
            Input::Masked { round, result } => {
                let input = match result {
                    Ok(roots) => machine::Input::Masked(roots),
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
            Input::PersistFailed => self.drop_rounds(effects, |_| true),
            Input::Leaving => self.leave(now, effects),
            Input::Ended => self.drop_rounds(effects, |alive| alive.applying.is_none()),
        }
        self.go_on(now, effects);
        self.watch(effects);
    }

    /// Where the client stands; the initial model before anything else.
    pub(super) fn stands(&self) -> Standing {
        self.history.standing().copied().unwrap_or(Standing::initial(Digest([0; 32])))
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
        if !self.rounds.contains_key(&round)
            && let Some(refusal) = self.declines()
        {
            return Self::decline(round, &message, refusal, effects);
        }
        if let ToClient::Published(_) = &message
            && self.history.awaits().is_some_and(|awaited| awaited != round)
        {
            // Something else was published over what this client has signed: only the signatures of
            // others can tell that it is true.
            self.end(round, effects);
            return self.want_attested(now, effects);
        }
        if !self.rounds.contains_key(&round) {
            match room_for(&self.rounds, round) {
                Room::Free => {}
                Room::Instead(oldest) => self.end(oldest, effects),
                Room::None => return,
            }
            let machine = Round::new(&self.setup, round, rng);
            let noise = self.task.privacy.map(|_| Noise::random(rng));
            self.rounds.insert(round, Alive::new(machine, noise));
        }
        match &message {
            ToClient::RosterPlan(plan) => self.planned(round, &plan.cohort, effects),
            ToClient::TrainingPlan(plan) if self.has_to_catch_up(round, plan) => {
                return self.hold(now, round, plan.clone(), effects);
            }
            _ => {}
        }
        self.drive(now, round, machine::Input::Message(message), effects);
    }

    /// Why no round begins any more, if none does.
    fn declines(&self) -> Option<Refusal> {
        let leaving = self.leaving.then_some(Refusal::Withdrawn);
        self.broken.then_some(Refusal::LineageBroken).or(leaving)
    }

    fn leave(&mut self, now: Time, effects: &mut Vec<Effect>) {
        self.leaving = true;
        let others = self.rounds.iter().filter(|(_, alive)| !alive.is_counted_on());
        for round in others.map(|(round, _)| *round).collect::<Vec<_>>() {
            self.drive(now, round, machine::Input::Withdraw, effects);
        }
    }

    /// Whether this client stands where a published result leads to, as after catching up.
    pub(super) fn is_known(&self, published: &Published) -> bool {
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
                self.attest(effects);
                self.end_known(effects);
                self.release_fitting(now, effects);
            }
            Ok((_, hash, _)) => {
                self.break_lineage(
                    "the announced state does not follow from the aggregate",
                    effects,
                );
                self.drive(now, round, machine::Input::Applied(Some(hash)), effects);
            }
            Err(error) => {
                self.break_lineage(&error.to_string(), effects);
                self.drive(now, round, machine::Input::Applied(None), effects);
            }
        }
    }

    fn expire(&mut self, now: Time, effects: &mut Vec<Effect>) {
        let rounds: Vec<RoundNumber> = self.rounds.keys().copied().collect();
        for round in rounds {
            let Some(alive) = self.rounds.get_mut(&round) else { continue };
            let ask_at = alive.applying.as_ref().and_then(|applying| applying.ask_at);
            let passed = alive.deadline.take_if(|deadline| *deadline <= now).is_some();
            if ask_at.is_some_and(|at| at <= now) {
                self.fetch_aggregate(now, round, effects);
            }
            if passed {
                self.drive(now, round, machine::Input::Deadline, effects);
            }
        }
        self.ask_attested_again(now, effects);
    }

    fn drop_rounds(&mut self, effects: &mut Vec<Effect>, which: impl Fn(&Alive) -> bool) {
        let rounds = self.rounds.iter().filter(|(_, alive)| which(alive));
        let rounds: Vec<RoundNumber> = rounds.map(|(round, _)| *round).collect();
        rounds.into_iter().for_each(|round| self.end(round, effects));
    }

    /// Inputs to a round's machine and takes its actions over.
    pub(super) fn drive(
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
        if self.broken && matches!(action, Action::Apply(_)) {
            return self.drive(now, round, machine::Input::Applied(None), effects);
        }
        let Some(alive) = self.rounds.get_mut(&round) else { return };
        match action {
            Action::Persist(record) => effects.push(Effect::Persist(record)),
            Action::Charge => effects.push(Effect::Charge),
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
            Outcome::Expelled(fault) => Event::Expelled { round, fault },
            Outcome::Broken(refusal) => {
                return self.break_lineage(&format!("round {round}: {refusal}"), effects);
            }
            // Told when it was refused; and a known result was told before.
            Outcome::Refused(_) | Outcome::Known => return,
        };
        effects.push(Effect::Tell(event));
    }

    /// A round is over for this client, whatever it had under way.
    pub(super) fn end(&mut self, round: RoundNumber, effects: &mut Vec<Effect>) {
        if let Some(alive) = self.rounds.remove(&round) {
            if alive.work.is_some_and(|work| work.under_way) {
                effects.push(Effect::Cancel(round));
            }
            effects.push(Effect::Forget(round));
        }
    }

    pub(super) fn is_applying(&self) -> bool {
        self.rounds.values().any(|alive| alive.applying.is_some())
    }

    /// Starts what can be started now: the oldest result first, then local work.
    fn go_on(&mut self, now: Time, effects: &mut Vec<Effect>) {
        if self.broken {
            return self.withdraw(now, effects);
        }
        if self.is_applying() {
            return self.derive_oldest(now, effects);
        }
        if let Some(newest) = self.newest.take_if(|_| self.catching.is_none()) {
            // What was named before later results is no sign of a coordinator that is behind.
            if newest.round >= self.stands().round {
                self.compare(now, newest, effects);
            }
        }
        if self.catching.is_none() {
            self.work_on_oldest(effects);
        }
    }

    fn derive_oldest(&mut self, now: Time, effects: &mut Vec<Effect>) {
        let mut rounds = self.rounds.iter_mut();
        let oldest = rounds.find_map(|(round, alive)| Some((*round, alive.applying.as_mut()?)));
        let Some((round, applying)) = oldest else { return };
        if applying.under_way {
            return;
        }
        let (published, standardises) = (&applying.published, self.task.takes_statistics());
        let base = self.model.as_ref().filter(|Model { state, .. }| {
            // Version 0 is two states where tables are standardised: before it and after it.
            let is_raw = standardises && state.standardisation().is_none();
            state.version() == published.model_version
                && (!is_raw || published.kind == PlanKind::Statistics)
                && applying.layout.is_some()
        });
        let Some(base) = base else {
            let version = applying.published.model_version;
            return self.find_base(now, version, effects);
        };
        let Some(layout) = applying.layout.clone() else { return };
        let Some(aggregate) = applying.aggregate.take() else { return };
        applying.under_way = true;
        let (before, task) = (Arc::clone(&base.state), Arc::clone(&self.task));
        let published = applying.published.clone();
        let advance = Derivation::Advance { round, before, task, layout, published, aggregate };
        effects.push(Effect::Derive(Box::new(advance)));
    }

    fn work_on_oldest(&mut self, effects: &mut Vec<Effect>) {
        let Some(model) = &self.model else {
            let Standing { model_version, state, .. } = self.stands();
            let waits = self.rounds.values().any(|alive| alive.work.is_some());
            if waits {
                self.catch_up(model_version, state, Then::Stand, effects);
            }
            return;
        };
        let waiting = self.rounds.iter_mut().find_map(|(round, alive)| {
            let work = alive.work.as_mut().filter(|work| !work.under_way)?;
            Some((*round, work, &mut alive.noise))
        });
        let Some((round, work, noise)) = waiting else { return };
        work.under_way = true;
        let TrainingPlan { kind, model_version: version, .. } = *work.plan;
        effects.push(Effect::Tell(Event::Working { round, kind, version }));
        effects.push(Effect::Train(Box::new(TrainWork {
            round,
            plan: work.plan.clone(),
            state: Arc::clone(&model.state),
            task: Arc::clone(&self.task),
            noise: noise.take(),
        })));
    }

    fn watch(&mut self, effects: &mut Vec<Effect>) {
        let ask_at = self.wanted;
        let deadline = self.rounds.values().filter_map(Alive::wakes_at).chain(ask_at).min();
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
