//! ConsistencyCheck: collects signatures over the survivor set until a quorum has signed it.

use std::collections::BTreeMap;
use std::sync::Arc;

use roundelay_crypto::identity::Signature;

use super::core::{Core, Turn, Waiting};
use super::input::Work;
use super::machine::{Event, Stage};
use super::unmask::Unmasking;
use super::*;
use crate::signed::Statement;
use crate::transcript::set_root;

/// A survivor set that is fixed, with the masked sum over exactly it.
pub(super) struct Survivors {
    pub(super) work: Arc<Work>,
    pub(super) set: Arc<SurvivorSet>,
    /// Root of MaskedInput: what is signed.
    pub(super) root: Digest,
    /// Hash of the stored masked sum.
    pub(super) sum: Digest,
}

impl Survivors {
    /// U3.
    pub(super) fn indices(&self) -> impl Iterator<Item = &RosterIndex> {
        self.set.inputs.iter().map(|(index, _)| index)
    }

    pub(super) fn contains(&self, index: RosterIndex) -> bool {
        self.set.inputs.binary_search_by_key(&index, |(index, _)| *index).is_ok()
    }

    pub(super) fn show(&self, core: &Core, to: RosterIndex, turn: &mut Turn<'_>) {
        core.send(to, ToClient::SurvivorSet(Arc::clone(&self.set)), turn);
    }
}

/// Waits for a quorum of signatures.
pub(super) struct ConsistencyCheck {
    survivors: Survivors,
    /// The bytes that everybody signs.
    message: Vec<u8>,
    signatures: BTreeMap<RosterIndex, Signature>,
    until: Time,
}

impl ConsistencyCheck {
    pub(super) fn begin(
        core: &Core,
        work: Arc<Work>,
        set: Arc<SurvivorSet>,
        sum: Digest,
        turn: &mut Turn<'_>,
    ) -> Self {
        let root = set_root(&work.context, &set);
        let clients = u16::try_from(set.inputs.len()).unwrap_or(u16::MAX);
        turn.audit(AuditEntry::Survivors { set: root, clients });
        turn.began(StageName::ConsistencyCheck, set.inputs.len());
        let statement = Statement::Survivors { context: &work.context, set: &root };
        let message = core.scope.message(&statement);
        let survivors = Survivors { work, set, root, sum };
        let shown = ToClient::SurvivorSet(Arc::clone(&survivors.set));
        core.broadcast(survivors.indices(), shown, turn);
        let until = turn.now + core.timing.consistency_check;
        Self { survivors, message, signatures: BTreeMap::new(), until }
    }

    pub(super) fn handle(mut self, core: &mut Core, event: Event, turn: &mut Turn<'_>) -> Stage {
        match event {
            Event::Message(from, FromClient::SurvivorSignature(signed)) => {
                self.signature(core, from, signed.signature, turn);
            }
            Event::Returned(index) => self.resend(core, index, turn),
            _ => {}
        }
        self.settle(core, turn)
    }

    fn signature(
        &mut self,
        core: &mut Core,
        from: RosterIndex,
        signature: Signature,
        turn: &mut Turn<'_>,
    ) {
        if !self.survivors.contains(from) {
            return core.expel(from, Fault::OutOfStage, turn);
        }
        match self.signatures.get(&from) {
            Some(known) if *known == signature => return,
            Some(_) => return core.expel(from, Fault::Equivocation, turn),
            None => {}
        }
        let identity = core.plan.client_at(from).and_then(|client| core.terms.identity(client));
        let signed =
            identity.is_some_and(|identity| identity.verify(&self.message, &signature).is_ok());
        if signed {
            self.signatures.insert(from, signature);
        } else {
            core.expel(from, Fault::BadSignature, turn);
        }
    }

    fn resend(&self, core: &Core, index: RosterIndex, turn: &mut Turn<'_>) {
        let missing = self.survivors.contains(index) && !self.signatures.contains_key(&index);
        if missing && !core.is_out(index) {
            self.survivors.show(core, index, turn);
        }
    }

    pub(super) fn settle(self, core: &mut Core, turn: &mut Turn<'_>) -> Stage {
        let (answers, needed) = (self.signatures.len(), core.floors.quorum());
        if answers >= usize::from(needed) {
            return self.close(core, turn);
        }
        let signed = |index: &RosterIndex| self.signatures.contains_key(index);
        let pending = core.pending(self.survivors.indices(), signed);
        let waiting = Waiting::counting(self.until, &pending, answers, needed);
        if core.waits(&waiting, turn) {
            return Stage::ConsistencyCheck(Box::new(self));
        }
        core.dropped(StageName::ConsistencyCheck, &pending, turn);
        core.too_few(StageName::ConsistencyCheck, answers, needed, turn)
    }

    fn close(self, core: &mut Core, turn: &mut Turn<'_>) -> Stage {
        let signatures = self.signatures.into_iter().collect();
        let quorum = Arc::new(Quorum { signatures });
        turn.persist(Record::Quorum(Arc::clone(&quorum)));
        Unmasking::begin(core, self.survivors, quorum, turn).settle(core, turn)
    }

    /// Takes a record instead of a message.
    pub(super) fn replay(
        self,
        core: &mut Core,
        record: Record,
        turn: &mut Turn<'_>,
    ) -> Option<Stage> {
        match record {
            Record::Left(..) => Some(Stage::ConsistencyCheck(Box::new(self))),
            Record::Quorum(quorum) => {
                let stage = Unmasking::begin(core, self.survivors, quorum, turn);
                Some(Stage::Unmasking(Box::new(stage)))
            }
            _ => None,
        }
    }

    /// Goes on after a restart, with exactly the set that may have been shown.
    pub(super) fn resume(mut self, core: &mut Core, turn: &mut Turn<'_>) -> Stage {
        self.until = turn.now + core.timing.consistency_check;
        core.cohort().for_each(|index| self.resend(core, index, turn));
        self.settle(core, turn)
    }
}
