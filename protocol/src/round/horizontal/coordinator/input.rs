//! MaskedInput: collects masked vectors and their signed roots; then the sum over exactly the
//! clients with both is stored, before anyone sees who they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::consistency::ConsistencyCheck;
use super::core::{Core, Turn, Waiting};
use super::machine::{Event, Stage};
use super::share::Preparation;
use super::*;
use crate::message::InputCommit;
use crate::signed::Statement;
use crate::transcript::TrainingContext;

/// What the round computes, for whom, and on what preparation.
pub(super) struct Work {
    pub(super) preparation: Preparation,
    pub(super) plan: Box<TrainingPlan>,
    pub(super) context: TrainingContext,
}

/// Waits for masked vectors and commits.
pub(super) struct MaskedInput {
    pub(super) work: Work,
    /// Roots of the vectors that are in the accumulator.
    uploaded: BTreeMap<RosterIndex, Digest>,
    commits: BTreeMap<RosterIndex, InputCommit>,
    until: Time,
}

impl MaskedInput {
    pub(super) fn begin(
        core: &Core,
        preparation: Preparation,
        plan: Box<TrainingPlan>,
        turn: &mut Turn<'_>,
    ) -> Self {
        turn.began(StageName::MaskedInput, plan.active.len());
        let (layout, active) = (plan.layout.clone(), core.clients(&plan.active));
        turn.push(Action::OpenUploads { layout, active });
        core.broadcast(&plan.active, ToClient::TrainingPlan(plan.clone()), turn);
        let Preparation { shares, prepared, .. } = &preparation;
        let context = TrainingContext::new(&core.plan, *shares, prepared, &plan);
        Self {
            work: Work { preparation, plan, context },
            uploaded: BTreeMap::new(),
            commits: BTreeMap::new(),
            until: turn.now + core.timing.masked_input,
        }
    }

    pub(super) fn handle(mut self, core: &mut Core, event: Event, turn: &mut Turn<'_>) -> Stage {
        match event {
            Event::Message(from, FromClient::InputCommit(commit)) => {
                self.commit(core, from, commit, turn);
            }
            Event::Uploaded(from, root) => self.uploaded(core, from, root, turn),
            Event::UploadRefused(from, fault) => {
                if !self.is_settled(core, from) {
                    self.forget(from);
                }
                core.expel(from, fault, turn);
            }
            Event::Left(index) => self.discard_unless_settled(core, index, turn),
            Event::Returned(index) => self.resend(core, index, turn),
            _ => {}
        }
        self.settle(core, turn)
    }

    fn commit(
        &mut self,
        core: &mut Core,
        from: RosterIndex,
        commit: InputCommit,
        turn: &mut Turn<'_>,
    ) {
        match self.commits.get(&from) {
            Some(known) if *known == commit => return,
            Some(_) => return self.expel(core, from, Fault::Equivocation, turn),
            None => {}
        }
        if !self.is_active(from) {
            return self.expel(core, from, Fault::OutOfStage, turn);
        }
        let statement = Statement::Input { context: &self.work.context, root: &commit.root };
        if !core.has_signed(from, &statement, &commit.signature) {
            return self.expel(core, from, Fault::BadSignature, turn);
        }
        self.commits.insert(from, commit);
        self.compare(core, from, turn);
    }

    fn uploaded(&mut self, core: &mut Core, from: RosterIndex, root: Digest, turn: &mut Turn<'_>) {
        if core.is_out(from) || !self.is_active(from) {
            return self.discard(core, from, turn);
        }
        // A driver takes no second vector: the first is the one in the sum.
        if self.uploaded.contains_key(&from) {
            return;
        }
        self.uploaded.insert(from, root);
        self.compare(core, from, turn);
    }

    /// Whether a vector is the one that its client committed to.
    fn compare(&mut self, core: &mut Core, from: RosterIndex, turn: &mut Turn<'_>) {
        let Some((root, commit)) = self.uploaded.get(&from).zip(self.commits.get(&from)) else {
            return;
        };
        if *root != commit.root {
            self.forget(from);
            self.expel(core, from, Fault::WrongRoot, turn);
        } else if self.is_settled(core, from)
            && let Some(client) = core.plan.client_at(from)
        {
            turn.push(Action::Settle(client));
        }
    }

    /// Whether a client is in the sum whatever becomes of it: its vector is here and it signed its
    /// root. Where dropouts take their group with them, nobody is certain before the end.
    fn is_settled(&self, core: &Core, index: RosterIndex) -> bool {
        self.is_complete(&index) && !core.terms.rules().whole_groups
    }

    fn expel(&mut self, core: &mut Core, from: RosterIndex, fault: Fault, turn: &mut Turn<'_>) {
        self.discard_unless_settled(core, from, turn);
        core.expel(from, fault, turn);
    }

    fn discard_unless_settled(&mut self, core: &Core, index: RosterIndex, turn: &mut Turn<'_>) {
        if !self.is_settled(core, index) {
            self.discard(core, index, turn);
        }
    }

    fn forget(&mut self, index: RosterIndex) {
        self.uploaded.remove(&index);
        self.commits.remove(&index);
    }

    fn discard(&mut self, core: &Core, index: RosterIndex, turn: &mut Turn<'_>) {
        self.forget(index);
        if let Some(client) = core.plan.client_at(index) {
            turn.push(Action::Discard(client));
        }
    }

    fn is_active(&self, index: RosterIndex) -> bool {
        self.work.plan.active.binary_search(&index).is_ok()
    }

    fn is_complete(&self, index: &RosterIndex) -> bool {
        self.uploaded.contains_key(index) && self.commits.contains_key(index)
    }

    /// Asks again for what is missing. Where the vector is here and its commit is not, the vector
    /// is taken back: the client sends both again, byte for byte the same.
    fn resend(&mut self, core: &Core, index: RosterIndex, turn: &mut Turn<'_>) {
        if !self.is_active(index) || core.is_out(index) || self.is_complete(&index) {
            return;
        }
        if self.uploaded.contains_key(&index) {
            self.discard(core, index, turn);
        }
        self.work.preparation.resend_boxes(core, index, turn);
        core.send(index, ToClient::TrainingPlan(self.work.plan.clone()), turn);
        core.send(index, ToClient::ResendInput, turn);
    }

    pub(super) fn settle(self, core: &mut Core, turn: &mut Turn<'_>) -> Stage {
        let active = &self.work.plan.active;
        let pending = core.pending(active, |index| self.is_complete(index));
        let complete = active.iter().filter(|index| self.is_complete(index)).copied();
        let survivors = core.allowed_set(complete);
        let (answers, needed) = (survivors.len(), core.floors.survivors_min(active.len()));
        let possible =
            active.iter().filter(|index| self.is_complete(index) || !core.is_out(**index));
        let waiting = Waiting {
            until: self.until,
            pending: &pending,
            is_enough: answers >= usize::from(needed),
            is_reachable: core.allowed_set(possible.copied()).len() >= usize::from(needed),
        };
        if core.waits(&waiting, turn) {
            return Stage::MaskedInput(Box::new(self));
        }
        core.dropped(StageName::MaskedInput, &pending, turn);
        if answers < usize::from(needed) {
            return core.too_few(StageName::MaskedInput, answers, needed, turn);
        }
        let around = &self.work.preparation.around;
        if let Some((present, required)) = around.lacks(core, &self.work.plan.active, &survivors) {
            return core.too_few(StageName::MaskedInput, present, required, turn);
        }
        self.close(core, &survivors, turn)
    }

    fn close(self, core: &Core, survivors: &[RosterIndex], turn: &mut Turn<'_>) -> Stage {
        let active = self.work.plan.active.iter();
        let others: Vec<&RosterIndex> =
            active.filter(|index| survivors.binary_search(index).is_err()).collect();
        for client in core.clients(others) {
            turn.push(Action::Discard(client));
        }
        turn.push(Action::StoreSum(core.clients(survivors)));
        let root = |index: &RosterIndex| self.uploaded.get(index).map(|root| (*index, *root));
        let inputs = survivors.iter().filter_map(root).collect();
        let set = Arc::new(SurvivorSet { inputs });
        Stage::StoringSum(Box::new(StoringSum { work: Arc::new(self.work), set }))
    }

    /// Takes a record instead of a message.
    pub(super) fn replay(
        self,
        core: &mut Core,
        record: Record,
        turn: &mut Turn<'_>,
    ) -> Option<Stage> {
        match record {
            Record::Left(..) => Some(Stage::MaskedInput(Box::new(self))),
            Record::Survivors { set, sum } => {
                let work = Arc::new(self.work);
                let stage = ConsistencyCheck::begin(core, work, set, sum, turn);
                Some(Stage::ConsistencyCheck(Box::new(stage)))
            }
            _ => None,
        }
    }

    /// Goes on after a restart: what was in the accumulator is lost, so the identical bytes are
    /// asked for again.
    pub(super) fn resume(mut self, core: &mut Core, turn: &mut Turn<'_>) -> Stage {
        self.until = turn.now + core.timing.masked_input;
        let plan = &self.work.plan;
        let (layout, active) = (plan.layout.clone(), core.clients(&plan.active));
        turn.push(Action::OpenUploads { layout, active });
        for index in self.work.plan.active.clone() {
            self.resend(core, index, turn);
        }
        self.settle(core, turn)
    }
}

/// Waits until the sum is durable.
pub(super) struct StoringSum {
    work: Arc<Work>,
    set: Arc<SurvivorSet>,
}

impl StoringSum {
    pub(super) fn handle(self, core: &mut Core, event: Event, turn: &mut Turn<'_>) -> Stage {
        match event {
            Event::SumStored(sum) => {
                let set = Arc::clone(&self.set);
                turn.persist(Record::Survivors { set, sum });
                let stage = ConsistencyCheck::begin(core, self.work, self.set, sum, turn);
                stage.settle(core, turn)
            }
            _ => Stage::StoringSum(Box::new(self)),
        }
    }
}
