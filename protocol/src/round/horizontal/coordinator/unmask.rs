//! Unmasking: collects shares until every seed that has to go is rebuilt and verified.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::consistency::Survivors;
use super::core::{Core, Turn, Waiting};
use super::machine::{Event, Stage};
use super::publish::Removing;
use super::rebuild::{Rebuilt, rebuild};
use super::*;
use crate::transcript::quorum_root;

/// Waits for shares.
pub(super) struct Unmasking {
    pub(super) survivors: Survivors,
    quorum: Arc<Quorum>,
    /// A \ U3.
    pub(super) dropouts: Vec<RosterIndex>,
    pub(super) reveals: BTreeMap<RosterIndex, Reveal>,
    until: Time,
}

impl Unmasking {
    pub(super) fn begin(
        core: &Core,
        survivors: Survivors,
        quorum: Arc<Quorum>,
        turn: &mut Turn<'_>,
    ) -> Self {
        core.stage_began(StageName::Unmasking, survivors.set.inputs.len(), turn);
        core.broadcast(survivors.indices(), ToClient::Quorum(Arc::clone(&quorum)), turn);
        let active = survivors.work.plan.active.iter();
        let dropouts = active.filter(|index| !survivors.contains(**index)).copied().collect();
        let until = turn.now + core.timing.unmasking;
        Self { survivors, quorum, dropouts, reveals: BTreeMap::new(), until }
    }

    pub(super) fn handle(self, core: &mut Core, event: Event, turn: &mut Turn<'_>) -> Stage {
        match event {
            Event::Message(from, FromClient::Reveal(reveal)) => {
                self.reveal(core, from, reveal, turn)
            }
            Event::Returned(index) => {
                self.resend(core, index, turn);
                self.settle(core, turn)
            }
            _ => self.settle(core, turn),
        }
    }

    /// Shares that are new and of the right number may be the last that it takes.
    fn reveal(
        mut self,
        core: &mut Core,
        from: RosterIndex,
        reveal: Reveal,
        turn: &mut Turn<'_>,
    ) -> Stage {
        let fault = match self.reveals.get(&from) {
            Some(known) if *known == reveal => return self.settle(core, turn),
            Some(_) => Fault::Equivocation,
            None if !self.survivors.contains(from) => Fault::OutOfStage,
            None if !self.is_shaped(&reveal) => Fault::BadShares,
            None => {
                turn.persist(Record::Revealed(from, reveal.clone()));
                self.reveals.insert(from, reveal);
                return self.attempt(core, turn);
            }
        };
        core.expel(from, fault, turn);
        self.settle(core, turn)
    }

    fn is_shaped(&self, reveal: &Reveal) -> bool {
        reveal.self_mask_shares.len() == self.survivors.set.inputs.len()
            && reveal.key_shares.len() == self.dropouts.len()
    }

    /// Rebuilds all seeds if it can. With wrong shares among those at hand it waits for more.
    fn attempt(self, core: &mut Core, turn: &mut Turn<'_>) -> Stage {
        if self.reveals.len() < usize::from(core.plan.threshold) {
            return self.settle(core, turn);
        }
        match rebuild(core, &self) {
            Some(rebuilt) => self.close(core, rebuilt, turn),
            None => self.settle(core, turn),
        }
    }

    fn close(self, core: &mut Core, rebuilt: Rebuilt, turn: &mut Turn<'_>) -> Stage {
        for liar in rebuilt.liars {
            core.expel(liar, Fault::BadShares, turn);
        }
        turn.push(Action::Unmask(rebuilt.plan));
        let quorum = quorum_root(&self.survivors.root, &self.quorum);
        Stage::Removing(Box::new(Removing { survivors: self.survivors, quorum }))
    }

    fn resend(&self, core: &Core, index: RosterIndex, turn: &mut Turn<'_>) {
        let missing = self.survivors.contains(index) && !self.reveals.contains_key(&index);
        if missing && !core.is_out(index) {
            self.survivors.show(core, index, turn);
            core.send(index, ToClient::Quorum(Arc::clone(&self.quorum)), turn);
        }
    }

    pub(super) fn settle(self, core: &mut Core, turn: &mut Turn<'_>) -> Stage {
        let revealed = |index: &RosterIndex| self.reveals.contains_key(index);
        let pending = core.pending(self.survivors.indices(), revealed);
        let (answers, needed) = (self.reveals.len(), core.plan.threshold);
        let waiting = Waiting {
            // Shares at hand that do not do are worth the wait for every one that is missing.
            is_enough: false,
            ..Waiting::counting(self.until, &pending, answers, needed)
        };
        if core.waits(&waiting, turn) {
            return Stage::Unmasking(Box::new(self));
        }
        core.dropped(StageName::Unmasking, &pending, turn);
        if answers >= usize::from(needed) {
            core.abort(AbortReason::SeedNotRebuilt, turn)
        } else {
            core.too_few(StageName::Unmasking, answers, needed, turn)
        }
    }

    /// Takes a record instead of a message.
    pub(super) fn replay(mut self, record: Record) -> Option<Stage> {
        match record {
            Record::Revealed(index, reveal) => {
                self.reveals.insert(index, reveal);
                Some(Stage::Unmasking(Box::new(self)))
            }
            Record::Left(..) => Some(Stage::Unmasking(Box::new(self))),
            _ => None,
        }
    }

    /// Goes on after a restart.
    pub(super) fn resume(mut self, core: &mut Core, turn: &mut Turn<'_>) -> Stage {
        self.until = turn.now + core.timing.unmasking;
        core.cohort().for_each(|index| self.resend(core, index, turn));
        self.attempt(core, turn)
    }
}
