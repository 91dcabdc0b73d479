//! AdvertiseKeys: collects one signed advert from each client of the cohort.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::core::{Core, Turn, Waiting};
use super::draw::{Around, Drawing, Drawn};
use super::machine::{Event, Stage};
use super::share::ShareKeys;
use super::*;
use crate::message::AdvertRoster;
use crate::signed::Statement;
use crate::transcript::adverts_root;

/// Waits for adverts.
pub(super) struct AdvertiseKeys {
    adverts: BTreeMap<RosterIndex, Advert>,
    until: Time,
}

impl AdvertiseKeys {
    pub(super) fn begin(core: &Core, turn: &mut Turn<'_>) -> Self {
        turn.persist(Record::Planned(core.plan.clone()));
        turn.began(StageName::AdvertiseKeys, core.plan.cohort.len());
        let plan = ToClient::RosterPlan(core.plan.clone());
        turn.push(Action::Broadcast { to: core.plan.cohort.clone(), message: plan });
        let until = turn.now + core.timing.advertise_keys;
        Self { adverts: BTreeMap::new(), until }
    }

    pub(super) fn handle(mut self, core: &mut Core, event: Event, turn: &mut Turn<'_>) -> Stage {
        match event {
            Event::Message(from, FromClient::Advert(advert)) => {
                self.advert(core, from, *advert, turn);
            }
            Event::Returned(index) => self.resend(core, index, turn),
            Event::Left(index) => drop(self.adverts.remove(&index)),
            _ => {}
        }
        self.settle(core, turn)
    }

    fn advert(&mut self, core: &mut Core, from: RosterIndex, advert: Advert, turn: &mut Turn<'_>) {
        match self.adverts.get(&from) {
            Some(known) if *known == advert => return,
            Some(_) => return self.expel(core, from, Fault::Equivocation, turn),
            None => {}
        }
        if let Err(fault) = self.check(core, from, &advert) {
            return self.expel(core, from, fault, turn);
        }
        turn.persist(Record::Advert(from, Box::new(advert.clone())));
        self.adverts.insert(from, advert);
    }

    fn check(&self, core: &Core, from: RosterIndex, advert: &Advert) -> Result<(), Fault> {
        let statement = Statement::Advert { plan: &core.root, advert };
        if !core.has_signed(from, &statement, &advert.signature) {
            return Err(Fault::BadSignature);
        }
        let taken = self.adverts.values().any(|other| {
            [&other.mask, &other.boxes]
                .into_iter()
                .any(|key| *key == advert.mask || *key == advert.boxes)
        });
        if advert.draw.is_some() == core.plan.is_complete() {
            return Err(Fault::BadNonce);
        }
        if taken || advert.mask == advert.boxes { Err(Fault::BadKey) } else { Ok(()) }
    }

    fn expel(&mut self, core: &mut Core, from: RosterIndex, fault: Fault, turn: &mut Turn<'_>) {
        self.adverts.remove(&from);
        core.expel(from, fault, turn);
    }

    fn resend(&self, core: &Core, index: RosterIndex, turn: &mut Turn<'_>) {
        if !self.adverts.contains_key(&index) {
            core.send(index, ToClient::RosterPlan(core.plan.clone()), turn);
        }
    }

    fn settle(self, core: &mut Core, turn: &mut Turn<'_>) -> Stage {
        let cohort: Vec<RosterIndex> = core.cohort().collect();
        let pending = core.pending(&cohort, |index| self.adverts.contains_key(index));
        let (answers, needed) = (self.adverts.len(), core.floors.members_min());
        let waiting = Waiting::counting(self.until, &pending, answers, needed);
        if core.waits(&waiting, turn) {
            return Stage::AdvertiseKeys(self);
        }
        core.dropped(StageName::AdvertiseKeys, &pending, turn);
        if answers < usize::from(needed) {
            return core.too_few(StageName::AdvertiseKeys, answers, needed, turn);
        }
        turn.persist(Record::AdvertsClosed);
        match self.close(core, turn) {
            Stage::ShareKeys(next) => next.settle(core, turn),
            Stage::Drawing(next) => next.settle(core, turn),
            stage => stage,
        }
    }

    /// On to the shares, or in a sparse graph to the beacon.
    fn close(self, core: &Core, turn: &mut Turn<'_>) -> Stage {
        let roster = Arc::new(AdvertRoster { adverts: self.adverts.into_iter().collect() });
        if !core.plan.is_complete() {
            return Stage::Drawing(Box::new(Drawing::begin(core, roster, turn)));
        }
        let root = adverts_root(&core.root, &roster);
        let drawn = Drawn { beacon: None, root, around: Around::complete() };
        Stage::ShareKeys(Box::new(ShareKeys::begin(core, roster, drawn, turn)))
    }

    /// Takes a record instead of a message.
    pub(super) fn replay(
        mut self,
        core: &mut Core,
        record: Record,
        turn: &mut Turn<'_>,
    ) -> Option<Stage> {
        match record {
            Record::Advert(index, advert) => {
                self.adverts.insert(index, *advert);
                Some(Stage::AdvertiseKeys(self))
            }
            Record::Left(index, _) => {
                self.adverts.remove(&index);
                Some(Stage::AdvertiseKeys(self))
            }
            Record::AdvertsClosed => Some(self.close(core, turn)),
            _ => None,
        }
    }

    /// Goes on after a restart.
    pub(super) fn resume(mut self, core: &mut Core, turn: &mut Turn<'_>) -> Stage {
        self.until = turn.now + core.timing.advertise_keys;
        core.cohort().for_each(|index| self.resend(core, index, turn));
        self.settle(core, turn)
    }
}
