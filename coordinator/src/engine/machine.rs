//! [`Engine`]: events go to the rounds and to the members, then the scheduler says how to go on.

use std::collections::{BTreeMap, BTreeSet};

use roundelay_crypto::digest::Digest;
use roundelay_protocol::error::AbortReason;
use roundelay_protocol::ids::{ClientId, RoundNumber, TenantId};
use roundelay_protocol::message::{Published, ToClient};
use roundelay_protocol::metrics::Metrics;
use roundelay_protocol::plan::{PlanKind, TrainingPlan};
use roundelay_protocol::round::horizontal::coordinator::{Departure, Input, Outcome};
use roundelay_protocol::session::{Join, RoundsEnd};
use roundelay_protocol::time::{Millis, Time};

use super::audit::{Declined, Entry, Evaluation, Expelled, Left, RoundSummary, State, Status};
use super::federation::{Course, Earlier, Progress, Reached};
use super::rounds::{Interrupted, Live, RoundState, Sink, count};
use super::scheduler::{self, Ahead, Stalled, Step, View, Waiting};
use super::tenant::{Members, Newest};
use super::{Effect, Event, Fact, NewModel, Setup};

mod course;
mod lineage;

use lineage::Lineage;

/// The machine of one federation.
pub struct Engine {
    setup: Setup,
    course: Course,
    progress: Progress,
    members: Members,
    state: State,
    stalled: Option<Stalled>,
    waiting: Waiting,
    /// The scheduler looks again at this moment.
    look_again: Option<Time>,
    training: Option<Live>,
    ahead: Option<Live>,
    amended: Option<Box<Setup>>,
    /// Until when the newer manifest waits for clients to derive the last result.
    amend_by: Option<Time>,
    failed_at: Time,
    enough_since: Time,
    wake: Option<Time>,
    last: Option<RoundSummary>,
    expelled: BTreeMap<ClientId, Expelled>,
    lineage: Lineage,
    declined: BTreeMap<ClientId, Declined>,
    /// What the aggregate that is being published says about the model that it started from.
    metrics: Option<Metrics>,
}

/// Which of the two rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Training,
    Ahead,
}

impl Engine {
    /// The engine of a federation in this state, with the rounds that were not over when the
    /// coordinator stopped, if there were any.
    pub fn resume(
        setup: Setup,
        state: State,
        progress: Progress,
        interrupted: Vec<Interrupted>,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Self {
        let mut engine = Self {
            members: Members::new(setup.members(), now),
            course: setup.course(),
            setup,
            progress,
            state,
            stalled: None,
            waiting: Waiting::Assembly,
            look_again: None,
            training: None,
            ahead: None,
            amended: None,
            amend_by: None,
            failed_at: now,
            enough_since: now,
            wake: None,
            last: None,
            expelled: BTreeMap::new(),
            lineage: Lineage::default(),
            declined: BTreeMap::new(),
            metrics: None,
        };
        for interrupted in interrupted {
            engine.take_up(interrupted, now, effects);
        }
        engine.go_on(now, effects);
        engine
    }

    /// The one entry: takes an event in and says what is to be done.
    pub fn handle(&mut self, now: Time, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Start => self.start(effects),
            Event::Stop => self.stop(now, effects),
            Event::Amended(setup) => self.amended = Some(setup),
            Event::Joined { client, tenant, join } => {
                self.join(client, &tenant, &join, now, effects);
            }
            Event::Left(client) => self.left(client, now, effects),
            Event::Message { client: from, round, message } => {
                self.input(round, Input::Message { from, message }, now, effects);
            }
            Event::Uploaded { client: from, round, root } => {
                self.input(round, Input::Uploaded { from, root }, now, effects);
            }
            Event::UploadRefused { client: from, round, fault } => {
                self.input(round, Input::UploadRefused { from, fault }, now, effects);
            }
            Event::SumStored { round, sum } => {
                self.input(round, Input::SumStored(sum), now, effects);
            }
            Event::Unmasked { round, outcome } => {
                self.input(round, Input::Unmasked(outcome), now, effects);
            }
            Event::Applied { round, applied } => {
                self.metrics = applied.metrics;
                self.input(round, Input::Applied(applied.state), now, effects);
            }
            Event::WorkFailed(round, reason) => {
                self.input(round, Input::Abort(reason), now, effects);
            }
            Event::Attests { client, standing, signature } => {
                self.attests(client, &standing, &signature, effects);
            }
            Event::AsksAttested(client) => self.asks_attested(client, effects),
            Event::StateGiven { client, standardised } => {
                self.given(client, standardised, now, effects);
            }
            Event::Timer => self.expire(now, effects),
        }
        self.recover(now, effects);
        self.go_on(now, effects);
    }

    fn take_up(&mut self, interrupted: Interrupted, now: Time, effects: &mut Vec<Effect>) {
        let round = interrupted.round;
        self.progress.highest_round = self.progress.highest_round.max(round);
        let (given_up, shown_to) = (interrupted.given_up(now), interrupted.shown_to());
        let mut sink = Sink { effects, ready: self.members.ready() };
        let (terms, timing) = (&self.setup.terms, self.setup.timing);
        match Live::resume(terms, timing, interrupted, now, &mut sink) {
            Ok((mut live, outcome)) => {
                live.follow(self.progress.tries.earlier.clone());
                live.repeat(self.progress.tries.shown.as_ref());
                let slot = if live.goal().is_some() { Slot::Training } else { Slot::Ahead };
                *self.slot(slot) = Some(live);
                self.finish(slot, outcome, now, effects);
            }
            Err(error) => {
                if let Some(cohort) = shown_to {
                    self.spend(&cohort);
                    self.keep_progress(effects);
                }
                effects.push(Effect::Persist(Fact::Round(given_up)));
                effects.push(Effect::Persist(Fact::Forget(round)));
                effects.push(Effect::Lost { round, error });
            }
        }
    }

    fn slot(&mut self, slot: Slot) -> &mut Option<Live> {
        match slot {
            Slot::Training => &mut self.training,
            Slot::Ahead => &mut self.ahead,
        }
    }

    fn slot_of(&self, round: RoundNumber) -> Option<Slot> {
        let is = |live: &Option<Live>| live.as_ref().is_some_and(|live| live.number() == round);
        if is(&self.training) {
            Some(Slot::Training)
        } else {
            is(&self.ahead).then_some(Slot::Ahead)
        }
    }

    /// Gives an input to a round, if it is not over.
    fn input(&mut self, round: RoundNumber, input: Input, now: Time, effects: &mut Vec<Effect>) {
        if let Some(slot) = self.slot_of(round) {
            self.drive(slot, input, now, effects);
        }
    }

    fn drive(&mut self, slot: Slot, input: Input, now: Time, effects: &mut Vec<Effect>) {
        let live = match slot {
            Slot::Training => &mut self.training,
            Slot::Ahead => &mut self.ahead,
        };
        let before = effects.len();
        let mut sink = Sink { effects, ready: self.members.ready() };
        let outcome = live.as_mut().and_then(|live| live.handle(now, input, &mut sink));
        let expelled = effects.iter().skip(before).filter_map(Effect::expelled);
        let expelled: Vec<ClientId> = expelled.collect();
        self.finish(slot, outcome, now, effects);
        // Whoever was told of its fault is planned for nothing before it joins again.
        expelled.into_iter().for_each(|client| self.left(client, now, effects));
    }

    fn start(&mut self, effects: &mut Vec<Effect>) {
        if self.state == State::Finished {
            return;
        }
        self.state = State::Running;
        self.stalled = None;
        self.members.pardon();
        self.progress.tries.failed = 0;
        effects.push(Effect::Persist(Fact::Progress(Box::new(self.progress.clone()))));
        effects.push(Effect::Persist(Fact::State(State::Running)));
        effects.push(Effect::Audit(Entry::Started));
    }

    /// A round whose survivor set was shown ends first: its clients sign no other one.
    fn stop(&mut self, now: Time, effects: &mut Vec<Effect>) {
        if matches!(self.state, State::Running | State::Stalled) {
            self.state = State::Stopping;
            self.drive(Slot::Ahead, Input::Abort(AbortReason::Stopped), now, effects);
            if self.training.as_ref().is_some_and(|live| live.shown().is_none()) {
                self.drive(Slot::Training, Input::Abort(AbortReason::Stopped), now, effects);
            }
        }
    }

    fn join(
        &mut self,
        client: ClientId,
        tenant: &TenantId,
        join: &Join,
        now: Time,
        effects: &mut Vec<Effect>,
    ) {
        let newest = Newest {
            manifest: self.setup.terms.hash(),
            schema: self.setup.terms.manifest().task.schema.digest(),
            standing: self.progress.standing(),
            round: self.progress.highest_round,
        };
        if let Err(denied) = self.members.admit(client, tenant, join, &newest) {
            effects.push(Effect::Refuse { client, refused: denied.refused() });
            return self.attests_amended(client, join);
        }
        if join.highest_round > self.progress.highest_round {
            self.progress.highest_round = join.highest_round;
            self.progress.tries.forgotten = true;
        }
        effects.push(Effect::Admit { client, standing: newest.standing });
        self.tell_end(client, effects);
        self.lineage.forget(client);
        if let Some(expelled) = self.expelled_from(client, join) {
            // It was away when that was told, and waits in that round.
            return effects.push(expelled);
        }
        if self.is_ahead(client, join) {
            // Whatever it took part in on another connection, it does so no more.
            return self.withdraw(client, now, effects);
        }
        if let Some(signature) = &join.attestation {
            self.attests(client, &join.standing, signature, effects);
        }
        self.tell_again(client, join, effects);
        self.arrive(client, now, effects);
    }

    /// What tells a client that a round of which it still holds keys goes on without it.
    fn expelled_from(&self, client: ClientId, join: &Join) -> Option<Effect> {
        [&self.training, &self.ahead].into_iter().flatten().find_map(|live| {
            let (round, fault) = (live.number(), live.expelled(client)?);
            let message = ToClient::Expelled(fault.clone());
            let waits = join.resumable.contains(&round);
            waits.then(|| Effect::Send { to: vec![client], round, message })
        })
    }

    /// A client may be planned for rounds from now on, and goes on with those that it is in.
    fn arrive(&mut self, client: ClientId, now: Time, effects: &mut Vec<Effect>) {
        let assembled = self.is_enough();
        self.members.arrive(client, now);
        if !assembled {
            self.enough_since = now;
        }
        for slot in [Slot::Training, Slot::Ahead] {
            let live = self.slot(slot).as_ref();
            if live.is_some_and(|live| live.cohort().contains(&client)) {
                self.drive(slot, Input::Returned(client), now, effects);
            }
        }
    }

    fn is_enough(&self) -> bool {
        let nobody = BTreeSet::new();
        let selection = &self.setup.pace.selection;
        selection
            .cohort(&self.setup.terms, self.members.ready(), &nobody, &Digest([0; 32]))
            .is_some()
    }

    fn left(&mut self, client: ClientId, now: Time, effects: &mut Vec<Effect>) {
        self.lineage.forget(client);
        self.withdraw(client, now, effects);
    }

    fn withdraw(&mut self, client: ClientId, now: Time, effects: &mut Vec<Effect>) {
        self.members.leave(client, now);
        for slot in [Slot::Training, Slot::Ahead] {
            self.drive(slot, Input::Lost(client), now, effects);
        }
    }

    fn expire(&mut self, now: Time, effects: &mut Vec<Effect>) {
        self.wake = None;
        self.ask_another(now);
        for slot in [Slot::Training, Slot::Ahead] {
            if self.slot(slot).as_mut().is_some_and(|live| live.has_expired(now)) {
                self.drive(slot, Input::Deadline, now, effects);
            }
        }
    }
}
