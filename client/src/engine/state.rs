//! The model that a client holds, and how it catches up with peers that trained without it.
//!
//! A client derives each state itself from the published aggregates, and signs that it did. One
//! that was away takes the newest state whole, but only where more members than may collude have
//! signed it: the coordinator's word is not enough. What it holds it can give back to a coordinator
//! that was restored from an older backup.

use std::cmp::Ordering;
use std::mem;
use std::sync::Arc;

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::Signature;
use roundelay_protocol::error::Refusal;
use roundelay_protocol::ids::{ClientId, ModelVersion, RoundNumber};
use roundelay_protocol::lineage::{Attested, State};
use roundelay_protocol::message::{FromClient, ToClient};
use roundelay_protocol::plan::{PlanKind, TrainingPlan};
use roundelay_protocol::round::horizontal::client::{self as machine, Standing};
use roundelay_protocol::session::VectorKind;
use roundelay_protocol::signed::Statement;
use roundelay_protocol::time::{Millis, Time};

use super::federation::{Federation, PUSH_PATIENCE};
use super::rounds::Alive;
use super::work::{Derivation, DeriveError};
use super::{Effect, Event};

/// Signatures under the newest state that have not come, or were too few, are asked for again.
const ATTESTED_PATIENCE: Millis = Millis(5_000);

/// A state with its hash.
#[derive(Clone)]
pub(super) struct Model {
    pub(super) state: Arc<State>,
    pub(super) hash: Digest,
}

impl Model {
    pub(super) fn new(state: Arc<State>) -> Self {
        let hash = state.hash();
        Self { state, hash }
    }
}

/// A state that is being fetched.
pub(super) struct Catching {
    pub(super) version: ModelVersion,
    pub(super) state: Digest,
    /// What this client stands at afterwards.
    pub(super) then: Then,
    /// The bytes are there and being checked.
    pub(super) under_way: bool,
}

/// What follows from a fetched state.
#[derive(Clone, Copy)]
pub(super) enum Then {
    /// Nothing: the client stood there already and had lost the bytes.
    Stand,
    /// The client takes it over: enough members have signed it.
    Adopt(Standing),
}

impl Federation {
    pub(super) fn joined(&mut self, now: Time, newest: Standing, effects: &mut Vec<Effect>) {
        self.ask_again(now, effects);
        self.compare(now, newest, effects);
    }

    /// Holds what the coordinator names against what this client derived. While a result is being
    /// applied there is no telling: then it waits.
    pub(super) fn compare(&mut self, now: Time, newest: Standing, effects: &mut Vec<Effect>) {
        self.newest = self.is_applying().then_some(newest);
        if self.broken {
            return;
        }
        let stands = self.stands();
        if newest.round < stands.round {
            let (theirs, ours) = (newest.model_version, stands.model_version);
            effects.push(Effect::Tell(Event::CoordinatorBehind { theirs, ours }));
        } else if newest.state == stands.state {
            if self.model.is_none() {
                self.catch_up(stands.model_version, stands.state, Then::Stand, effects);
            }
        } else if newest.round == stands.round || self.newest.is_none() && !self.can_follow(&newest)
        {
            let words = "the coordinator names another model than the one this client derived";
            self.break_lineage(words, effects);
        } else if self.newest.is_none() {
            self.want_attested(now, effects);
        }
    }

    /// Whether a later result can follow from where this client stands: each version has one state,
    /// but that version 0 is standardised once.
    fn can_follow(&self, later: &Standing) -> bool {
        let stands = self.stands();
        let initial = Standing::initial(stands.state);
        let standardises = stands == initial && self.task.takes_statistics();
        match later.model_version.cmp(&stands.model_version) {
            Ordering::Less => false,
            Ordering::Equal => later.state == stands.state || standardises,
            Ordering::Greater => true,
        }
    }

    /// What was under way on the connection before is lost.
    fn ask_again(&mut self, now: Time, effects: &mut Vec<Effect>) {
        self.not_caught = None;
        self.catching.take_if(|catching| !catching.under_way);
        self.wanted = None;
        let rounds: Vec<RoundNumber> = self.rounds.keys().copied().collect();
        rounds.into_iter().for_each(|round| self.fetch_aggregate(now, round, effects));
    }

    /// The newest state can't be derived here: asks for the signatures under it.
    pub(super) fn want_attested(&mut self, now: Time, effects: &mut Vec<Effect>) {
        if self.wanted.is_none() && !self.broken {
            self.wanted = Some(now + ATTESTED_PATIENCE);
            effects.push(Effect::FetchAttested);
        }
    }

    pub(super) fn ask_attested_again(&mut self, now: Time, effects: &mut Vec<Effect>) {
        if self.wanted.take_if(|at| *at <= now).is_some() && self.catching.is_none() {
            self.want_attested(now, effects);
        }
    }

    /// Takes over a state that this client can't derive, if more members than may collude have
    /// signed it. A state that it has derived meanwhile is passed over.
    pub(super) fn attested(&mut self, attested: &Attested, effects: &mut Vec<Effect>) {
        let Attested { standing, .. } = *attested;
        if standing.round <= self.stands().round {
            // A plan that waits starts from something newer: that is asked for again.
            self.wanted.take_if(|_| !self.rounds.values().any(|alive| alive.held.is_some()));
            return;
        }
        if self.wanted.is_none() {
            return;
        }
        let own = ClientId(self.setup.identity.public().fingerprint());
        match attested.verify(&self.setup.terms, own) {
            Ok(()) if !self.can_follow(&standing) => {
                let words = "more members than may collude have signed another model than the one \
                             that this client stands at";
                self.break_lineage(words, effects);
            }
            Ok(()) => {
                let (version, state) = (standing.model_version, standing.state);
                self.catch_up(version, state, Then::Adopt(standing), effects);
            }
            Err(refusal) => effects.push(Effect::Tell(Event::NotCaughtUp(refusal.to_string()))),
        }
    }

    /// The state that a result starts from is not at hand: this client stands there and has lost
    /// the bytes, or it has missed what led there.
    pub(super) fn find_base(
        &mut self,
        now: Time,
        version: ModelVersion,
        effects: &mut Vec<Effect>,
    ) {
        let stands = self.stands();
        if self.catching.is_some() {
            // On its way.
        } else if self.model.is_none() && stands.model_version == version {
            self.catch_up(version, stands.state, Then::Stand, effects);
        } else {
            self.want_attested(now, effects);
        }
    }

    /// This client's signature under the state that it has derived itself, if it has.
    pub(super) fn attestation(&self) -> Option<(Standing, Signature)> {
        let standing = *self.history.derived()?;
        let scope = self.setup.terms.scope(standing.round);
        Some((standing, scope.sign(&self.setup.identity, &Statement::Stands(&standing))))
    }

    pub(super) fn attest(&self, effects: &mut Vec<Effect>) {
        let attestation = self.attestation();
        effects.extend(
            attestation.map(|(standing, signature)| Effect::Attest { standing, signature }),
        );
    }

    /// The coordinator has lost a state: this client gives it back, if it stands there.
    pub(super) fn state_asked(&self, standing: Standing, effects: &mut Vec<Effect>) {
        let held = self.model.as_ref().filter(|model| model.hash == standing.state);
        if let Some(model) = held.filter(|_| standing == self.stands()) {
            let version = standing.model_version;
            effects.push(Effect::Tell(Event::GaveState { version }));
            effects.push(Effect::GiveState(Arc::clone(&model.state)));
        }
    }

    /// Asks for the aggregate of a result that is to be applied, if it is not there.
    pub(super) fn fetch_aggregate(
        &mut self,
        now: Time,
        round: RoundNumber,
        effects: &mut Vec<Effect>,
    ) {
        let alive = self.rounds.get_mut(&round);
        let applying = alive.and_then(|alive| alive.applying.as_mut());
        if let Some(applying) = applying.filter(|it| it.aggregate.is_none())
            && let Some(layout) = &applying.layout
        {
            applying.ask_at = Some(now + PUSH_PATIENCE);
            let kind = VectorKind::Aggregate(round);
            effects.push(Effect::Expect { kind, bytes_max: layout.total_bytes() });
            effects.push(Effect::Fetch(kind));
        }
    }

    /// Whether a plan starts from a model that this client has not seen, and could see.
    pub(super) fn has_to_catch_up(&self, round: RoundNumber, plan: &TrainingPlan) -> bool {
        let stands = self.stands();
        let same = plan.previous_transcript == stands.transcript && plan.model == stands.state;
        let named = Standing {
            round,
            model_version: plan.model_version,
            state: plan.model,
            transcript: plan.previous_transcript,
        };
        let ahead = named.transcript != stands.transcript && self.can_follow(&named);
        let prepared = self.rounds.get(&round).is_some_and(|alive| alive.is_resumable());
        plan.kind != PlanKind::Statistics
            && !same
            && ahead
            && prepared
            && !self.broken
            && !self.is_applying()
    }

    pub(super) fn hold(
        &mut self,
        now: Time,
        round: RoundNumber,
        plan: Box<TrainingPlan>,
        effects: &mut Vec<Effect>,
    ) {
        self.want_attested(now, effects);
        if let Some(alive) = self.rounds.get_mut(&round) {
            alive.held = Some(plan);
        }
    }

    pub(super) fn catch_up(
        &mut self,
        version: ModelVersion,
        state: Digest,
        then: Then,
        effects: &mut Vec<Effect>,
    ) {
        let Ok(bytes_max) = State::bytes_max(&self.task) else { return };
        if self.broken {
            return;
        }
        let under_way = self.catching.as_ref().is_some_and(|catching| catching.state == state);
        if under_way || self.not_caught == Some(state) {
            return;
        }
        let kind = VectorKind::State(version);
        effects.push(Effect::Expect { kind, bytes_max });
        effects.push(Effect::Fetch(kind));
        self.catching = Some(Catching { version, state, then, under_way: false });
    }

    pub(super) fn fetched(
        &mut self,
        version: ModelVersion,
        bytes: Vec<u8>,
        effects: &mut Vec<Effect>,
    ) {
        let task = Arc::clone(&self.task);
        let Some(catching) = &mut self.catching else { return };
        if catching.version == version && !catching.under_way {
            catching.under_way = true;
            let expected = catching.state;
            let take = Derivation::Take { version, task, expected, bytes };
            effects.push(Effect::Derive(Box::new(take)));
        }
    }

    pub(super) fn taken(
        &mut self,
        now: Time,
        version: ModelVersion,
        result: Result<Arc<State>, DeriveError>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(catching) = self.catching.take_if(|it| it.version == version) else { return };
        match result {
            Ok(state) => self.take(state, &catching, effects),
            Err(error) => {
                self.not_caught = Some(catching.state);
                effects.push(Effect::Tell(Event::NotCaughtUp(error.to_string())));
            }
        }
        self.release_held(now, effects);
    }

    fn take(&mut self, state: Arc<State>, catching: &Catching, effects: &mut Vec<Effect>) {
        match catching.then {
            Then::Stand => {}
            Then::Adopt(standing) => match self.history.adopt(standing) {
                Ok(record) => effects.push(Effect::Persist(record)),
                // Something newer was derived while this one was fetched.
                Err(_) => return,
            },
        }
        let version = catching.version;
        self.wanted = None;
        self.model = Some(Model { state: Arc::clone(&state), hash: catching.state });
        effects.push(Effect::Save(state));
        effects.push(Effect::Tell(Event::CaughtUp { version }));
        self.end_known(effects);
    }

    /// Results that this client has caught up with need not be applied any more, and rounds before
    /// the one that it stands at are over, though it missed their end.
    pub(super) fn end_known(&mut self, effects: &mut Vec<Effect>) {
        let stands = self.stands().round;
        let is_known = |(round, alive): &(&RoundNumber, &Alive)| match &alive.applying {
            Some(applying) => **round <= stands || self.is_known(&applying.published),
            None => **round <= stands,
        };
        let known: Vec<RoundNumber> =
            self.rounds.iter().filter(is_known).map(|(round, _)| *round).collect();
        known.into_iter().for_each(|round| self.end(round, effects));
    }

    /// Plans that waited for this client to catch up. What it has is the newest there is: one that
    /// still does not fit is refused by its machine.
    fn release_held(&mut self, now: Time, effects: &mut Vec<Effect>) {
        self.release(now, |_, _, _| true, effects);
    }

    /// Plans that start from the model that this client has derived meanwhile: they had overtaken
    /// the result that leads there.
    pub(super) fn release_fitting(&mut self, now: Time, effects: &mut Vec<Effect>) {
        self.release(now, |own, round, plan| !own.has_to_catch_up(round, plan), effects);
    }

    fn release(
        &mut self,
        now: Time,
        which: impl Fn(&Self, RoundNumber, &TrainingPlan) -> bool,
        effects: &mut Vec<Effect>,
    ) {
        let held = self.rounds.iter().filter_map(|(round, alive)| {
            let plan = alive.held.as_ref()?;
            which(self, *round, plan).then_some(*round)
        });
        for round in held.collect::<Vec<_>>() {
            let plan = self.rounds.get_mut(&round).and_then(|alive| alive.held.take());
            if let Some(plan) = plan {
                let message = ToClient::TrainingPlan(plan);
                self.drive(now, round, machine::Input::Message(message), effects);
            }
        }
    }

    /// From here on nothing that the coordinator says is taken in, on no connection.
    pub(super) fn break_lineage(&mut self, words: &str, effects: &mut Vec<Effect>) {
        if !mem::replace(&mut self.broken, true) {
            (self.wanted, self.catching, self.newest) = (None, None, None);
            effects.push(Effect::Tell(Event::LineageBroken(words.to_owned())));
        }
    }

    /// Takes this client out of every round, since it trusts none any more.
    pub(super) fn withdraw(&mut self, now: Time, effects: &mut Vec<Effect>) {
        for round in self.rounds.keys().copied().collect::<Vec<_>>() {
            let Some(alive) = self.rounds.get(&round) else { continue };
            if alive.applying.is_some() {
                self.drive(now, round, machine::Input::Applied(None), effects);
            } else if alive.is_resumable() {
                self.drive(now, round, machine::Input::Withdraw, effects);
            }
        }
    }

    /// Answers the plan of a round in which this client takes no part.
    pub(super) fn decline(
        round: RoundNumber,
        message: &ToClient,
        refusal: Refusal,
        effects: &mut Vec<Effect>,
    ) {
        if matches!(message, ToClient::RosterPlan(_)) {
            let message = FromClient::Declined(refusal.clone());
            effects.push(Effect::Send { round, message });
            effects.push(Effect::Tell(Event::SatOut { round, refusal }));
        }
    }
}
