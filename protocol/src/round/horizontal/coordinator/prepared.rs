//! The end of a preparation: a quorum says that its boxes opened, then everything stands prepared
//! until the training plan comes.

use std::collections::BTreeMap;

use roundelay_crypto::identity::Signature;

use super::core::{Core, Turn, Waiting};
use super::input::MaskedInput;
use super::machine::{Event, Stage};
use super::share::Preparation;
use super::*;
use crate::signed::Statement;

/// Waits until members of U2 have signed that their boxes opened: without a quorum of these
/// signatures nobody uploads.
pub(super) struct Opening {
    pub(super) preparation: Preparation,
    opened: BTreeMap<RosterIndex, Signature>,
    until: Time,
}

impl Opening {
    pub(super) fn new(preparation: Preparation, until: Time) -> Self {
        Self { preparation, opened: BTreeMap::new(), until }
    }

    pub(super) fn handle(mut self, core: &mut Core, event: Event, turn: &mut Turn<'_>) -> Stage {
        match event {
            Event::Message(from, FromClient::Opened(signature)) => {
                self.opened(core, from, signature, turn);
            }
            Event::Returned(index) if !core.is_out(index) => {
                self.preparation.resend_boxes(core, index, turn);
            }
            // Shares that came too late.
            Event::Message(..) => core.late_messages += 1,
            _ => {}
        }
        self.settle(core, turn)
    }

    fn opened(
        &mut self,
        core: &mut Core,
        from: RosterIndex,
        signature: Signature,
        turn: &mut Turn<'_>,
    ) {
        if self.preparation.prepared.binary_search(&from).is_err() {
            return core.expel(from, Fault::OutOfStage, turn);
        }
        let statement = Statement::Opened { shares: &self.preparation.shares };
        if core.has_signed(from, &statement, &signature) {
            self.opened.insert(from, signature);
        } else {
            core.expel(from, Fault::BadSignature, turn);
        }
    }

    pub(super) fn settle(self, core: &mut Core, turn: &mut Turn<'_>) -> Stage {
        let members = &self.preparation.prepared;
        let pending = core.pending(members, |index| self.opened.contains_key(index));
        let (answers, quorum) = (self.opened.len(), core.plan.quorum);
        let waiting = Waiting::counting(self.until, &pending, answers, quorum);
        if core.waits(&waiting, turn) {
            return Stage::Opening(Box::new(self));
        }
        if answers < usize::from(quorum) {
            core.dropped(StageName::ShareKeys, &pending, turn);
            return core.too_few(StageName::ShareKeys, answers, quorum, turn);
        }
        // In a sparse graph everybody looks for those of its neighbours.
        let shown = if core.plan.is_complete() { quorum.into() } else { answers };
        let opened = self.opened.into_iter().take(shown).collect();
        turn.began(StageName::Prepared, members.len());
        Prepared { preparation: self.preparation, opened }.settle(core, turn)
    }

    /// Takes a record instead of a message.
    pub(super) fn replay(
        self,
        core: &mut Core,
        record: Record,
        turn: &mut Turn<'_>,
    ) -> Option<Stage> {
        match record {
            Record::Left(..) => Some(Stage::Opening(Box::new(self))),
            Record::Training(plan) => {
                let stage = MaskedInput::begin(core, self.preparation, plan, turn);
                Some(Stage::MaskedInput(Box::new(stage)))
            }
            _ => None,
        }
    }

    /// Goes on after a restart: what the members have signed is asked for again, with their boxes.
    pub(super) fn resume(mut self, core: &mut Core, turn: &mut Turn<'_>) -> Stage {
        self.until = turn.now + core.timing.share_keys;
        for index in core.pending(&self.preparation.prepared, |_| false) {
            self.preparation.resend_boxes(core, index, turn);
        }
        self.settle(core, turn)
    }
}

/// Waits for the training plan.
pub(super) struct Prepared {
    pub(super) preparation: Preparation,
    /// A quorum's signatures that their boxes opened.
    opened: Vec<(RosterIndex, Signature)>,
}

impl Prepared {
    pub(super) fn handle(self, core: &mut Core, event: Event, turn: &mut Turn<'_>) -> Stage {
        if let Event::Returned(index) = event
            && !core.is_out(index)
        {
            self.preparation.resend_boxes(core, index, turn);
        }
        self.settle(core, turn)
    }

    fn settle(self, core: &mut Core, turn: &mut Turn<'_>) -> Stage {
        let left = core.pending(&self.preparation.prepared, |_| false).len();
        let required = core.floors.members_min();
        if left < usize::from(required) {
            return core.too_few(StageName::Prepared, left, required, turn);
        }
        let Some(mut plan) = core.next_plan.take() else {
            return Stage::Prepared(Box::new(self));
        };
        let only = std::mem::take(&mut plan.active);
        plan.active = self.active(core, &only);
        let required = required.max(u16::try_from(only.len()).unwrap_or(u16::MAX));
        if plan.active.len() < usize::from(required) {
            return core.too_few(StageName::Prepared, plan.active.len(), required, turn);
        }
        let signers: Vec<RosterIndex> = self.opened.iter().map(|(signer, _)| *signer).collect();
        for among in [&plan.active, &signers] {
            let around = &self.preparation.around;
            if let Some((present, required)) = around.lacks(core, &plan.active, among) {
                return core.too_few(StageName::Prepared, present, required, turn);
            }
        }
        plan.opened = self.opened;
        turn.persist(Record::Training(plan.clone()));
        MaskedInput::begin(core, self.preparation, plan, turn).settle(core, turn)
    }

    /// A: those of U2 who are there; all who have not left where those who are there are too few,
    /// since the others may come back in time. Where `only` some may be in it, those.
    fn active(&self, core: &Core, only: &[RosterIndex]) -> Vec<RosterIndex> {
        let members = &self.preparation.prepared;
        if !only.is_empty() {
            let wanted = |index: &RosterIndex| only.contains(index);
            return core.pending(members, |_| false).into_iter().filter(wanted).collect();
        }
        let there = |index: &&RosterIndex| core.is_present(**index);
        let present = core.allowed_set(members.iter().filter(there).copied());
        if present.len() >= usize::from(core.floors.members_min()) {
            return present;
        }
        core.allowed_set(core.pending(members, |_| false))
    }
}
