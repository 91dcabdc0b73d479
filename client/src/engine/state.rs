//! The model that a client holds, and how it catches up with peers that trained without it.
//!
//! A client derives each state itself from the published aggregates. One that was away takes the
//! newest state whole, by the hash that the coordinator names. That the coordinator told everyone
//! the same is not taken on trust: the hash is bound into every mask and every signature, so that
//! masks over different models do not cancel, and nothing of this client is opened before a quorum
//! of more than c members has signed the very same model.

use std::mem;
use std::sync::Arc;

use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::{ModelVersion, RoundNumber};
use roundelay_protocol::lineage::State;
use roundelay_protocol::message::ToClient;
use roundelay_protocol::plan::{PlanKind, TrainingPlan};
use roundelay_protocol::round::horizontal::client::{self as machine, Standing};
use roundelay_protocol::session::VectorKind;
use roundelay_protocol::time::Time;

use super::federation::{Federation, PUSH_PATIENCE};
use super::rounds::Alive;
use super::work::{Derivation, DeriveError};
use super::{Effect, Event, Newest};

/// A state with its hash.
#[derive(Clone)]
pub(super) struct Model {
    pub(super) state: Arc<State>,
    pub(super) hash: Digest,
}

impl Model {
    pub(super) fn new(state: State) -> Self {
        let hash = state.hash();
        Self { state: Arc::new(state), hash }
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
    /// The client takes it over.
    Adopt(Standing),
    /// It is the result of this round, which the client could not derive.
    Apply(RoundNumber),
}

impl Federation {
    pub(super) fn joined(&mut self, now: Time, newest: Newest, effects: &mut Vec<Effect>) {
        self.ask_again(now, effects);
        self.compare(newest, effects);
    }

    /// Holds what the coordinator names against what this client derived. While a result is being
    /// applied there is no telling: then it waits.
    pub(super) fn compare(&mut self, newest: Newest, effects: &mut Vec<Effect>) {
        self.newest = self.is_applying().then_some(newest);
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
        } else if self.newest.is_none() {
            let standing = Standing { model_version, state, transcript, round: stands.round };
            self.catch_up(model_version, state, Then::Adopt(standing), effects);
        }
    }

    /// What was under way on the connection before is lost.
    fn ask_again(&mut self, now: Time, effects: &mut Vec<Effect>) {
        self.not_caught = None;
        if let Some(lost) = self.catching.take_if(|catching| !catching.under_way)
            && let Then::Apply(round) = lost.then
            && let Some(applying) = self.rounds.get_mut(&round).and_then(|it| it.applying.as_mut())
        {
            applying.under_way = false;
        }
        let rounds: Vec<RoundNumber> = self.rounds.keys().copied().collect();
        rounds.into_iter().for_each(|round| self.fetch_aggregate(now, round, effects));
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

    pub(super) fn hold(
        &mut self,
        round: RoundNumber,
        plan: Box<TrainingPlan>,
        effects: &mut Vec<Effect>,
    ) {
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

    pub(super) fn catch_up(
        &mut self,
        version: ModelVersion,
        state: Digest,
        then: Then,
        effects: &mut Vec<Effect>,
    ) {
        let Ok(bytes_max) = State::bytes_max(&self.task) else { return };
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
            Ok(state) => self.take(now, state, &catching, effects),
            Err(error) => {
                self.not_caught = Some(catching.state);
                effects.push(Effect::Tell(Event::NotCaughtUp(error.to_string())));
                if let Then::Apply(round) = catching.then {
                    self.drive(now, round, machine::Input::Applied(None), effects);
                    self.break_lineage(&error.to_string(), effects);
                }
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
        self.end_known(effects);
    }

    /// Results that this client has caught up with need not be applied any more, and rounds before
    /// the one that it stands at are over, though it missed their end.
    pub(super) fn end_known(&mut self, effects: &mut Vec<Effect>) {
        let stands = self.stands().round;
        let is_known = |(round, alive): &(&RoundNumber, &Alive)| match &alive.applying {
            Some(applying) => self.is_known(&applying.published),
            None => **round <= stands,
        };
        let known: Vec<RoundNumber> =
            self.rounds.iter().filter(is_known).map(|(round, _)| *round).collect();
        known.into_iter().for_each(|round| self.end(round, effects));
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

    pub(super) fn break_lineage(&mut self, words: &str, effects: &mut Vec<Effect>) {
        if !mem::replace(&mut self.broken, true) {
            effects.push(Effect::Tell(Event::LineageBroken(words.to_owned())));
        }
    }
}
