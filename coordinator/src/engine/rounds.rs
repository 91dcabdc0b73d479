//! One round as the engine holds it: the machine, and what its actions have told so far.

use std::collections::BTreeSet;
use std::sync::Arc;

use roundelay_protocol::error::{AbortReason, Fault, Refusal, Stage};
use roundelay_protocol::ids::{ClientId, RosterIndex, RoundNumber};
use roundelay_protocol::message::ToClient;
use roundelay_protocol::plan::RosterPlan;
use roundelay_protocol::round::horizontal::coordinator::{
    Action, AuditEntry, Departure, Input, Outcome, Record, RestoreError, Round, Timing,
};
use roundelay_protocol::round::horizontal::terms::{PlanError, Terms};
use roundelay_protocol::time::Time;
use serde::Serialize;

use super::audit::{Entry, Left, RoundStatus, RoundSummary};
use super::federation::{Earlier, Goal, Shown};
use super::{Effect, Fact};

/// Where a round stands, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RoundState {
    /// Not over.
    Running,
    /// Its result is published.
    Published,
    /// It ended without a result.
    Aborted(AbortReason),
}

impl RoundState {
    pub(super) fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Published(_) => Self::Published,
            Outcome::Aborted(reason) => Self::Aborted(reason.clone()),
        }
    }
}

/// A round that was not over when the coordinator stopped.
#[derive(Debug)]
pub struct Interrupted {
    /// Its number.
    pub round: RoundNumber,
    /// When it was planned.
    pub began: Time,
    /// Clients planned.
    pub cohort: u16,
    /// Its records in order.
    pub records: Vec<Record>,
}

impl Interrupted {
    fn plan(&self) -> Option<&RosterPlan> {
        self.records.iter().find_map(|record| match record {
            Record::Planned(plan) => Some(&**plan),
            _ => None,
        })
    }

    /// Its cohort, if its survivor set may have been shown.
    pub(super) fn shown_to(&self) -> Option<BTreeSet<ClientId>> {
        let shown = |record: &Record| matches!(record, Record::Survivors { .. });
        self.records.iter().any(shown).then_some(())?;
        Some(self.plan()?.cohort.iter().copied().collect())
    }

    /// How it stands when it is given up.
    pub(super) fn given_up(&self, now: Time) -> RoundSummary {
        RoundSummary {
            round: self.round,
            kind: None,
            model_version: None,
            state: RoundState::Aborted(AbortReason::Restarted),
            began_ms: self.began.0,
            ended_ms: Some(now.0),
            cohort: self.cohort,
            survivors: 0,
            dropouts: 0,
            left: Vec::new(),
        }
    }
}

/// A round that is not over.
pub(super) struct Live {
    machine: Round,
    cohort: BTreeSet<ClientId>,
    began: Time,
    facts: Facts,
    deadline: Option<Time>,
    /// Cohorts that tried for the same goal under earlier manifests.
    earlier: Vec<Earlier>,
    /// The set that this round is to show again, if it is.
    again: Option<BTreeSet<ClientId>>,
}

/// What the actions of a round have told so far.
#[derive(Debug, Default)]
struct Facts {
    /// What it computes, once its training plan was given.
    goal: Option<Goal>,
    /// The survivor set, once it is fixed and may be shown.
    survivors: Option<BTreeSet<ClientId>>,
    /// Clients that dropped out, refused or were expelled.
    dropouts: BTreeSet<ClientId>,
    left: Vec<Left>,
}

impl Facts {
    fn take(&mut self, plan: &RosterPlan, record: &Record) {
        match record {
            Record::Training(plan) => {
                let (kind, version, model) = (plan.kind, plan.model_version, plan.model);
                self.goal = Some(Goal { kind, version, model });
            }
            Record::Survivors { set, .. } => {
                let survivors = set.inputs.iter().filter_map(|(index, _)| plan.client_at(*index));
                self.survivors = Some(survivors.collect());
            }
            Record::Left(index, departure) => {
                let Some(client) = plan.client_at(*index) else { return };
                self.dropouts.insert(client);
                self.left.push(Left { client, departure: departure.clone() });
            }
            _ => {}
        }
    }
}

/// Where the effects of one call go, and who can be reached.
pub(super) struct Sink<'a> {
    pub(super) effects: &'a mut Vec<Effect>,
    pub(super) ready: &'a BTreeSet<ClientId>,
}

impl Sink<'_> {
    fn persist(&mut self, fact: Fact) {
        self.effects.push(Effect::Persist(fact));
    }
}

impl Live {
    /// Plans a round. It may end at once.
    ///
    /// # Errors
    /// The cohort breaks the manifest; nothing was planned.
    pub(super) fn plan(
        terms: &Arc<Terms>,
        timing: Timing,
        plan: RosterPlan,
        now: Time,
        sink: &mut Sink<'_>,
    ) -> Result<(Self, Option<Outcome>), PlanError> {
        let mut actions = Vec::new();
        let here = |client: &&ClientId| !sink.ready.contains(client);
        let absent: Vec<_> = plan.cohort.iter().filter(here).copied().collect();
        let machine = Round::start(Arc::clone(terms), plan, timing, &absent, now, &mut actions)?;
        let mut live = Self::around(machine, now);
        sink.persist(Fact::Round(live.summary(RoundState::Running, None)));
        let outcome = live.carry_out(actions, now, sink);
        Ok((live, outcome))
    }

    /// Goes on with a round from its records. Nobody is connected yet.
    ///
    /// # Errors
    /// The records are not those of a round under these terms.
    pub(super) fn resume(
        terms: &Arc<Terms>,
        timing: Timing,
        interrupted: Interrupted,
        now: Time,
        sink: &mut Sink<'_>,
    ) -> Result<(Self, Option<Outcome>), RestoreError> {
        let Interrupted { began, records, .. } = interrupted;
        let mut actions = Vec::new();
        let known = records.clone();
        let machine = Round::restore(Arc::clone(terms), timing, records, now, &mut actions)?;
        let mut live = Self::around(machine, began);
        known.iter().for_each(|record| live.facts.take(live.machine.plan(), record));
        let mut outcome = live.carry_out(actions, now, sink);
        for client in live.cohort.clone() {
            outcome = outcome.or(live.handle(now, Input::Lost(client), sink));
        }
        Ok((live, outcome))
    }

    fn around(machine: Round, began: Time) -> Self {
        let cohort = machine.plan().cohort.iter().copied().collect();
        Self {
            machine,
            cohort,
            began,
            facts: Facts::default(),
            deadline: None,
            earlier: Vec::new(),
            again: None,
        }
    }

    /// The set of this round has to show that no set of these cohorts is opened any more.
    pub(super) fn follow(&mut self, earlier: Vec<Earlier>) {
        self.earlier = earlier;
    }

    /// Where this cohort was shown a set before, it is shown that one again or none.
    pub(super) fn repeat(&mut self, shown: Option<&Shown>) {
        let same = shown.filter(|shown| shown.cohort == self.cohort);
        self.again = same.map(|shown| shown.set.clone());
    }

    /// Whether it is to show a set again.
    pub(super) fn repeats(&self) -> bool {
        self.again.is_some()
    }

    /// The active roster that it has to have, if it repeats; else none.
    pub(super) fn required_roster(&self) -> Vec<RosterIndex> {
        let again = self.again.iter().flatten();
        again.filter_map(|client| self.machine.plan().index_of(*client)).collect()
    }

    /// One input; returns how the round ended, if it did.
    pub(super) fn handle(
        &mut self,
        now: Time,
        input: Input,
        sink: &mut Sink<'_>,
    ) -> Option<Outcome> {
        let mut actions = Vec::new();
        self.machine.handle(now, input, &mut actions);
        self.carry_out(actions, now, sink)
    }

    fn carry_out(
        &mut self,
        actions: Vec<Action>,
        now: Time,
        sink: &mut Sink<'_>,
    ) -> Option<Outcome> {
        let (mut outcome, mut unburied) = (None, None);
        for action in actions {
            match action {
                // Nobody has seen this set, and its clients would not sign it.
                Action::StoreSum(clients) if self.too_few(&clients).is_some() => {
                    unburied = self.too_few(&clients);
                }
                Action::Finish(end) => outcome = Some(end),
                Action::SetDeadline(at) => self.deadline = Some(at),
                Action::Persist(record) => self.persist(record, sink),
                Action::Send { to, message } => self.send(vec![to], message, sink),
                Action::Broadcast { to, message } => self.send(to, message, sink),
                Action::ResendBoxes(to) if !sink.ready.contains(&to) => {}
                action => sink.effects.extend(self.effect(action)),
            }
        }
        if let Some(reason) = unburied {
            return self.handle(now, Input::Abort(reason), sink);
        }
        if let Some(outcome) = &outcome {
            let round = self.number();
            sink.persist(Fact::Round(self.summary(RoundState::of(outcome), Some(now))));
            sink.persist(Fact::Forget(round));
            sink.effects.push(Effect::Close(round));
        }
        outcome
    }

    /// Why a set over these clients can't be opened.
    fn too_few(&self, clients: &[ClientId]) -> Option<AbortReason> {
        let too_few = |present, required| AbortReason::TooFewClients {
            stage: Stage::MaskedInput,
            present,
            required,
        };
        if let Some(again) = &self.again
            && !again.iter().eq(clients)
        {
            return Some(too_few(count(clients.len()), count(again.len())));
        }
        let alive = self.earlier.iter().find(|earlier| !earlier.is_dead_with(clients))?;
        Some(too_few(alive.among(clients), alive.witnesses))
    }

    fn persist(&mut self, record: Record, sink: &mut Sink<'_>) {
        let trains = matches!(record, Record::Training(_));
        self.facts.take(self.machine.plan(), &record);
        sink.persist(Fact::Record(self.number(), Box::new(record)));
        if trains {
            sink.persist(Fact::Round(self.summary(RoundState::Running, None)));
        }
    }

    /// Whoever is not there is sent again when it comes back.
    fn send(&self, mut to: Vec<ClientId>, message: ToClient, sink: &mut Sink<'_>) {
        to.retain(|client| sink.ready.contains(client));
        if to.is_empty() {
            return;
        }
        let round = self.number();
        let push = matches!(message, ToClient::Published(_))
            .then(|| Effect::Push { to: to.clone(), round });
        sink.effects.push(Effect::Send { to, round, message });
        sink.effects.extend(push);
    }

    fn effect(&mut self, action: Action) -> Option<Effect> {
        let round = self.number();
        Some(match action {
            Action::Audit(entry) => {
                if let AuditEntry::Dropout { client, .. } = &entry {
                    self.facts.dropouts.insert(*client);
                }
                Effect::Audit(Entry::Round(round, entry))
            }
            Action::StageBegan { stage, clients } => Effect::StageBegan { round, stage, clients },
            Action::OpenUploads { layout, active } => Effect::OpenUploads { round, layout, active },
            Action::ResendBoxes(to) => Effect::ResendBoxes { to, round },
            Action::Settle(client) => Effect::Settle { round, client },
            Action::Discard(client) => Effect::Discard { round, client },
            Action::StoreSum(clients) => Effect::StoreSum { round, clients },
            Action::Unmask(plan) => Effect::Unmask { round, plan },
            Action::Apply { plan, aggregate, survivors } => {
                Effect::Apply { round, plan, aggregate, survivors }
            }
            Action::Expel { client, fault } => Effect::Expelled { round, client, fault },
            Action::Persist(_)
            | Action::Send { .. }
            | Action::Broadcast { .. }
            | Action::SetDeadline(_)
            | Action::Finish(_) => return None,
        })
    }

    pub(super) fn number(&self) -> RoundNumber {
        self.machine.number()
    }

    pub(super) fn plan_of(&self) -> &RosterPlan {
        self.machine.plan()
    }

    pub(super) fn cohort(&self) -> &BTreeSet<ClientId> {
        &self.cohort
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// Whether its deadline has passed; asked once for each deadline.
    pub(super) fn has_expired(&mut self, now: Time) -> bool {
        self.deadline.take_if(|deadline| *deadline <= now).is_some()
    }

    /// What it computes, once its training plan was given.
    pub(super) fn goal(&self) -> Option<Goal> {
        self.facts.goal
    }

    /// Its survivor set, if that may have been shown.
    pub(super) fn shown(&self) -> Option<Shown> {
        let set = self.facts.survivors.clone()?;
        Some(Shown { cohort: self.cohort.clone(), set })
    }

    /// Whether it waits for its training plan.
    pub(super) fn is_prepared(&self) -> bool {
        self.machine.stage() == Some(Stage::Prepared)
    }

    /// Clients that declined by the set rule: they have opened the goal with another cohort, or
    /// signed a set for it.
    pub(super) fn opened_before(&self) -> BTreeSet<ClientId> {
        let refused = [Refusal::SetRule, Refusal::OtherContribution].map(Departure::Declined);
        self.left()
            .iter()
            .filter(|left| refused.contains(&left.departure))
            .map(|left| left.client)
            .collect()
    }

    /// Clients that declined or were expelled.
    pub(super) fn left(&self) -> &[Left] {
        &self.facts.left
    }

    /// What a client was expelled for, if it was.
    pub(super) fn expelled(&self, client: ClientId) -> Option<&Fault> {
        self.left().iter().find_map(|left| match &left.departure {
            Departure::Expelled(fault) if left.client == client => Some(fault),
            _ => None,
        })
    }

    pub(super) fn status(&self) -> RoundStatus {
        RoundStatus {
            round: self.number().0,
            kind: self.facts.goal.map(|goal| goal.kind),
            stage: self.machine.stage(),
            cohort: count(self.cohort.len()),
            dropouts: count(self.facts.dropouts.len()),
        }
    }

    pub(super) fn summary(&self, state: RoundState, ended: Option<Time>) -> RoundSummary {
        RoundSummary {
            round: self.number(),
            kind: self.facts.goal.map(|goal| goal.kind),
            model_version: self.facts.goal.map(|goal| goal.version),
            state,
            began_ms: self.began.0,
            ended_ms: ended.map(|at| at.0),
            cohort: count(self.cohort.len()),
            survivors: count(self.facts.survivors.as_ref().map_or(0, BTreeSet::len)),
            dropouts: count(self.facts.dropouts.len()),
            left: self.facts.left.clone(),
        }
    }
}

pub(super) fn count(clients: usize) -> u16 {
    u16::try_from(clients).unwrap_or(u16::MAX)
}
