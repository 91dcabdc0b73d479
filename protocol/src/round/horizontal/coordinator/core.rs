//! What all stages of one round share: plan, floors, attendance, and how to say things.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use roundelay_crypto::identity::Signature;

use super::machine::Stage;
use super::*;
use crate::manifest::Floors;
use crate::round::horizontal::terms::Terms;
use crate::signed::{Scope, Statement};
use crate::transcript::plan_root;

/// The round as all stages see it.
pub(super) struct Core {
    pub(super) terms: Arc<Terms>,
    pub(super) plan: Box<RosterPlan>,
    /// Root of the roster plan.
    pub(super) root: Digest,
    pub(super) scope: Scope,
    pub(super) floors: Floors,
    pub(super) timing: Timing,
    /// What the round will compute, from when the driver says so.
    pub(super) next_plan: Option<Box<TrainingPlan>>,
    /// Messages that came after their stage had ended, or from nobody of the cohort.
    pub(super) late_messages: u64,
    pub(super) deadline: Option<Time>,
    /// Clients that declined or were expelled.
    out: BTreeSet<RosterIndex>,
    /// Clients without a connection, and until when they are waited for.
    lost: BTreeMap<RosterIndex, Time>,
}

/// One call of `handle`.
pub(super) struct Turn<'a> {
    pub(super) now: Time,
    pub(super) actions: &'a mut Vec<Action>,
}

impl Turn<'_> {
    pub(super) fn push(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub(super) fn persist(&mut self, record: Record) {
        self.actions.push(Action::Persist(record));
    }

    pub(super) fn audit(&mut self, entry: AuditEntry) {
        self.actions.push(Action::Audit(entry));
    }

    pub(super) fn began(&mut self, stage: StageName, clients: usize) {
        self.actions.push(Action::StageBegan { stage, clients });
    }
}

/// What a stage waits for, to decide whether it is over.
pub(super) struct Waiting<'a> {
    pub(super) until: Time,
    /// Members that have not answered.
    pub(super) pending: &'a [RosterIndex],
    /// It could go on without them.
    pub(super) is_enough: bool,
    /// It could go on with all of them.
    pub(super) is_reachable: bool,
}

impl<'a> Waiting<'a> {
    /// For so many answers at hand, where each one counts.
    pub(super) fn counting(
        until: Time,
        pending: &'a [RosterIndex],
        answers: usize,
        needed: u16,
    ) -> Self {
        let needed = usize::from(needed);
        let is_reachable = answers + pending.len() >= needed;
        Self { until, pending, is_enough: answers >= needed, is_reachable }
    }
}

impl Core {
    pub(super) fn new(
        terms: Arc<Terms>,
        plan: Box<RosterPlan>,
        floors: Floors,
        timing: Timing,
    ) -> Self {
        Self {
            root: plan_root(&plan),
            scope: Scope::of(&plan),
            terms,
            plan,
            floors,
            timing,
            next_plan: None,
            late_messages: 0,
            deadline: None,
            out: BTreeSet::new(),
            lost: BTreeMap::new(),
        }
    }

    pub(super) fn cohort(&self) -> impl Iterator<Item = RosterIndex> + use<> {
        (0..u16::try_from(self.plan.cohort.len()).unwrap_or(u16::MAX)).map(RosterIndex)
    }

    /// The clients at these indices of the cohort.
    pub(super) fn clients<'a>(
        &self,
        indices: impl IntoIterator<Item = &'a RosterIndex>,
    ) -> Vec<ClientId> {
        indices.into_iter().filter_map(|index| self.plan.client_at(*index)).collect()
    }

    pub(super) fn is_out(&self, index: RosterIndex) -> bool {
        self.out.contains(&index)
    }

    pub(super) fn is_present(&self, index: RosterIndex) -> bool {
        !self.is_out(index) && !self.lost.contains_key(&index)
    }

    pub(super) fn lose(&mut self, index: RosterIndex, until: Time) {
        self.lost.insert(index, until);
    }

    pub(super) fn find(&mut self, index: RosterIndex) {
        self.lost.remove(&index);
    }

    pub(super) fn leave(&mut self, index: RosterIndex) {
        self.out.insert(index);
    }

    /// The members, or under `whole_groups` those whose whole fixed group is among them.
    pub(super) fn allowed_set(
        &self,
        members: impl IntoIterator<Item = RosterIndex>,
    ) -> Vec<RosterIndex> {
        let members: BTreeSet<RosterIndex> = members.into_iter().collect();
        if !self.terms.rules().whole_groups {
            return members.into_iter().collect();
        }
        let clients = self.clients(&members).into_iter().collect();
        let whole = self.terms.groups().whole(&clients);
        whole.into_iter().filter_map(|client| self.plan.index_of(client)).collect()
    }

    /// Those of the members that may still answer and have not.
    /// Whether a signature under a statement is that of a member of the cohort.
    pub(super) fn has_signed(
        &self,
        by: RosterIndex,
        statement: &Statement<'_>,
        signature: &Signature,
    ) -> bool {
        let identity = self.plan.client_at(by).and_then(|client| self.terms.identity(client));
        identity.is_some_and(|identity| self.scope.verifies(identity, statement, signature))
    }

    pub(super) fn pending<'a>(
        &self,
        members: impl IntoIterator<Item = &'a RosterIndex>,
        has_answered: impl Fn(&RosterIndex) -> bool,
    ) -> Vec<RosterIndex> {
        let waits = |index: &&RosterIndex| !self.is_out(**index) && !has_answered(index);
        members.into_iter().filter(waits).copied().collect()
    }

    /// Whether a stage goes on waiting; if so, until when is set as the deadline.
    pub(super) fn waits(&mut self, waiting: &Waiting<'_>, turn: &mut Turn<'_>) -> bool {
        let Waiting { until, pending, is_enough, is_reachable } = *waiting;
        if turn.now >= until || pending.is_empty() || !is_reachable {
            return false;
        }
        let mut deadline = until;
        let lost: Option<Vec<Time>> =
            pending.iter().map(|index| self.lost.get(index).copied()).collect();
        if let Some(lost) = lost.filter(|_| is_enough) {
            // Only clients without a connection are missing, and it would go without them.
            deadline = until.min(lost.into_iter().max().unwrap_or(until));
            if turn.now >= deadline {
                return false;
            }
        }
        self.set_deadline(deadline, turn);
        true
    }

    pub(super) fn set_deadline(&mut self, deadline: Time, turn: &mut Turn<'_>) {
        if self.deadline != Some(deadline) {
            self.deadline = Some(deadline);
            turn.push(Action::SetDeadline(deadline));
        }
    }

    pub(super) fn send(&self, to: RosterIndex, message: ToClient, turn: &mut Turn<'_>) {
        if let Some(to) = self.plan.client_at(to) {
            turn.push(Action::Send { to, message });
        }
    }

    pub(super) fn broadcast<'a>(
        &self,
        to: impl IntoIterator<Item = &'a RosterIndex>,
        message: ToClient,
        turn: &mut Turn<'_>,
    ) {
        let to = self.clients(to);
        turn.push(Action::Broadcast { to, message });
    }

    /// The stage ends without these.
    pub(super) fn dropped(&self, stage: StageName, who: &[RosterIndex], turn: &mut Turn<'_>) {
        for client in self.clients(who) {
            turn.audit(AuditEntry::Dropout { client, stage });
        }
    }

    /// A client did what no honest client does: it is out of the round, and told why.
    pub(super) fn expel(&mut self, index: RosterIndex, fault: Fault, turn: &mut Turn<'_>) {
        if self.departs(index, Departure::Expelled(fault.clone()), turn)
            && let Some(client) = self.plan.client_at(index)
        {
            self.send(index, ToClient::Expelled(fault.clone()), turn);
            turn.push(Action::Expel { client, fault });
        }
    }

    /// A client refused: it sits the round out.
    pub(super) fn decline(&mut self, index: RosterIndex, refusal: Refusal, turn: &mut Turn<'_>) {
        self.departs(index, Departure::Declined(refusal), turn);
    }

    fn departs(&mut self, index: RosterIndex, departure: Departure, turn: &mut Turn<'_>) -> bool {
        let first = self.out.insert(index);
        if first && let Some(client) = self.plan.client_at(index) {
            turn.persist(Record::Left(index, departure.clone()));
            turn.audit(AuditEntry::Left { client, departure });
        }
        first
    }

    pub(super) fn too_few(
        &self,
        stage: StageName,
        present: usize,
        required: u16,
        turn: &mut Turn<'_>,
    ) -> Stage {
        let present = u16::try_from(present).unwrap_or(u16::MAX);
        self.abort(AbortReason::TooFewClients { stage, present, required }, turn)
    }

    /// Ends the round without a result. The stage that is left behind dies with all it held.
    pub(super) fn abort(&self, reason: AbortReason, turn: &mut Turn<'_>) -> Stage {
        self.finish(Outcome::Aborted(reason), turn)
    }

    pub(super) fn finish(&self, outcome: Outcome, turn: &mut Turn<'_>) -> Stage {
        turn.persist(Record::Finished(outcome.clone()));
        turn.audit(AuditEntry::Finished(outcome.clone()));
        let (to, message) = (self.plan.cohort.clone(), outcome.message());
        turn.push(Action::Broadcast { to, message });
        turn.push(Action::Finish(outcome));
        Stage::Finished
    }
}
