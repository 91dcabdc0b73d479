//! ShareKeys: collects each client's leaves and sorts them by recipient; then everything stands
//! prepared until the training plan comes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use roundelay_crypto::identity::Signature;
use roundelay_crypto::tree;

use super::core::{Core, Turn, Waiting};
use super::edges::Edges;
use super::input::MaskedInput;
use super::machine::{Event, Stage};
use super::*;
use crate::limits::SEALED_SHARES_BYTES;
use crate::message::{AdvertRoster, BoxDelivery, BoxRoster, ShareLeaf};
use crate::signed::Statement;
use crate::transcript::{adverts_root, leaf_digest, shares_root};

/// Waits for shares.
pub(super) struct ShareKeys {
    roster: Arc<AdvertRoster>,
    /// Root of AdvertiseKeys.
    root: Digest,
    /// What each sender signed.
    senders: BTreeMap<RosterIndex, (Digest, Signature)>,
    /// Leaves by recipient, in the order of arrival.
    deliveries: BTreeMap<RosterIndex, Vec<BoxDelivery>>,
    edges: Edges,
    until: Time,
}

impl ShareKeys {
    pub(super) fn begin(core: &Core, roster: Arc<AdvertRoster>, turn: &mut Turn<'_>) -> Self {
        core.stage_began(StageName::ShareKeys, roster.adverts.len(), turn);
        let members = roster.adverts.iter().map(|(index, _)| index);
        core.broadcast(members, ToClient::Adverts(Arc::clone(&roster)), turn);
        Self {
            root: adverts_root(&core.root, &roster),
            roster,
            senders: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            edges: Edges::default(),
            until: turn.now + core.timing.share_keys,
        }
    }

    pub(super) fn handle(mut self, core: &mut Core, event: Event, turn: &mut Turn<'_>) -> Stage {
        match event {
            Event::Message(from, FromClient::Shares(shares)) => {
                self.shares(core, from, &shares, turn);
            }
            Event::Returned(index) => self.resend(core, index, turn),
            _ => {}
        }
        self.settle(core, turn)
    }

    fn shares(
        &mut self,
        core: &mut Core,
        from: RosterIndex,
        shares: &Arc<ShareRoster>,
        turn: &mut Turn<'_>,
    ) {
        match self.senders.get(&from) {
            Some((root, _)) if *root == shares.root => return,
            Some(_) => return core.expel(from, Fault::Equivocation, turn),
            None => {}
        }
        match self.check(core, from, shares) {
            Ok(digests) => {
                turn.persist(Record::Shares(from, Arc::clone(shares)));
                self.accept(from, shares, &digests);
            }
            Err(fault) => core.expel(from, fault, turn),
        }
    }

    /// One leaf for each other advert, in roster order, under the root that the sender signed.
    fn check(
        &self,
        core: &Core,
        from: RosterIndex,
        shares: &ShareRoster,
    ) -> Result<Vec<Digest>, Fault> {
        let advertised = self.roster.adverts.iter().map(|(index, _)| *index);
        if !advertised.clone().any(|index| index == from) {
            return Err(Fault::OutOfStage);
        }
        let others = advertised.filter(|index| *index != from);
        let shaped = others.eq(shares.leaves.iter().map(|leaf| leaf.to))
            && shares.leaves.iter().all(|leaf| is_shaped(from, leaf));
        let digests = digests(from, shares);
        if !shaped || tree::root(&digests) != shares.root {
            return Err(Fault::BadLeaves);
        }
        let statement = Statement::Shares { adverts: &self.root, root: &shares.root };
        let identity = core.plan.client_at(from).and_then(|client| core.terms.identity(client));
        let signed = identity
            .is_some_and(|identity| core.scope.verifies(identity, &statement, &shares.signature));
        if signed { Ok(digests) } else { Err(Fault::BadSignature) }
    }

    fn accept(&mut self, from: RosterIndex, shares: &ShareRoster, digests: &[Digest]) {
        let ShareRoster { root, signature, leaves } = shares;
        self.senders.insert(from, (*root, *signature));
        for ((leaf, digest), path) in leaves.iter().zip(digests).zip(tree::paths(digests)) {
            self.edges.insert(from, leaf, *digest);
            self.deliveries.entry(leaf.to).or_default().push(BoxDelivery {
                from,
                leaf: leaf.clone(),
                path,
                root: *root,
                signature: *signature,
            });
        }
    }

    fn resend(&self, core: &Core, index: RosterIndex, turn: &mut Turn<'_>) {
        let advertised = self.roster.adverts.iter().any(|(advertised, _)| *advertised == index);
        if advertised && !core.is_out(index) && !self.senders.contains_key(&index) {
            core.send(index, ToClient::Adverts(Arc::clone(&self.roster)), turn);
        }
    }

    pub(super) fn settle(self, core: &mut Core, turn: &mut Turn<'_>) -> Stage {
        let members = self.roster.adverts.iter().map(|(index, _)| index);
        let pending = core.pending(members, |index| self.senders.contains_key(index));
        let answers = self.prepared(core).len();
        let needed = core.floors.members_min();
        let waiting = Waiting::counting(self.until, &pending, answers, needed);
        if core.waits(&waiting, turn) {
            return Stage::ShareKeys(Box::new(self));
        }
        core.dropped(StageName::ShareKeys, &pending, turn);
        if answers < usize::from(needed) {
            return core.too_few(StageName::ShareKeys, answers, needed, turn);
        }
        turn.persist(Record::SharesClosed);
        let until = turn.now + core.timing.share_keys;
        let preparation = self.close(core, turn);
        Opening { preparation, opened: BTreeMap::new(), until }.settle(core, turn)
    }

    /// U2: those whose shares arrived and who have not left.
    fn prepared(&self, core: &Core) -> BTreeSet<RosterIndex> {
        self.senders.keys().filter(|index| !core.is_out(**index)).copied().collect()
    }

    /// The boxes leave, and what stays is what it takes to rebuild dropouts.
    fn close(mut self, core: &Core, turn: &mut Turn<'_>) -> Preparation {
        let prepared = self.prepared(core);
        for index in &prepared {
            let mut boxes = self.deliveries.remove(index).unwrap_or_default();
            boxes.retain(|delivery| prepared.contains(&delivery.from));
            boxes.sort_by_key(|delivery| delivery.from);
            core.send(*index, ToClient::Boxes(Arc::new(BoxRoster { boxes })), turn);
        }
        let roots = self.senders.iter().filter(|(index, _)| prepared.contains(index));
        let shares = shares_root(&self.root, roots.map(|(index, (root, _))| (*index, root)));
        Preparation {
            roster: self.roster,
            adverts: self.root,
            shares,
            prepared: prepared.into_iter().collect(),
            edges: self.edges,
        }
    }

    /// Takes a record instead of a message.
    pub(super) fn replay(
        mut self,
        core: &mut Core,
        record: Record,
        turn: &mut Turn<'_>,
    ) -> Option<Stage> {
        match record {
            Record::Shares(index, shares) => {
                let digests = digests(index, &shares);
                self.accept(index, &shares, &digests);
                Some(Stage::ShareKeys(Box::new(self)))
            }
            Record::Left(..) => Some(Stage::ShareKeys(Box::new(self))),
            Record::SharesClosed => {
                let until = turn.now + core.timing.share_keys;
                let preparation = self.close(core, turn);
                let opening = Opening { preparation, opened: BTreeMap::new(), until };
                Some(Stage::Opening(Box::new(opening)))
            }
            _ => None,
        }
    }

    /// Goes on after a restart.
    pub(super) fn resume(mut self, core: &mut Core, turn: &mut Turn<'_>) -> Stage {
        self.until = turn.now + core.timing.share_keys;
        core.cohort().for_each(|index| self.resend(core, index, turn));
        self.settle(core, turn)
    }
}

fn is_shaped(from: RosterIndex, leaf: &ShareLeaf) -> bool {
    leaf.mask_ciphertext.is_some() == (from < leaf.to) && leaf.sealed.len() == SEALED_SHARES_BYTES
}

fn digests(from: RosterIndex, shares: &ShareRoster) -> Vec<Digest> {
    shares.leaves.iter().map(|leaf| leaf_digest(from, leaf)).collect()
}

/// What preparation left behind: U2 with its adverts and edges.
pub(super) struct Preparation {
    pub(super) roster: Arc<AdvertRoster>,
    /// Root of AdvertiseKeys.
    pub(super) adverts: Digest,
    /// Root of ShareKeys.
    pub(super) shares: Digest,
    /// U2.
    pub(super) prepared: Vec<RosterIndex>,
    pub(super) edges: Edges,
}

impl Preparation {
    pub(super) fn resend_boxes(&self, core: &Core, to: RosterIndex, turn: &mut Turn<'_>) {
        if let Some(client) = core.plan.client_at(to)
            && self.prepared.binary_search(&to).is_ok()
        {
            turn.push(Action::ResendBoxes(client));
        }
    }

    pub(super) fn advert(&self, index: RosterIndex) -> Option<&Advert> {
        let adverts = &self.roster.adverts;
        let position = adverts.binary_search_by_key(&index, |(index, _)| *index).ok()?;
        adverts.get(position).map(|(_, advert)| advert)
    }
}

/// Waits until members of U2 have signed that their boxes opened: without a quorum of these
/// signatures nobody uploads.
pub(super) struct Opening {
    pub(super) preparation: Preparation,
    opened: BTreeMap<RosterIndex, Signature>,
    until: Time,
}

impl Opening {
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
        let identity = core.plan.client_at(from).and_then(|client| core.terms.identity(client));
        if identity.is_some_and(|it| core.scope.verifies(it, &statement, &signature)) {
            self.opened.insert(from, signature);
        } else {
            core.expel(from, Fault::BadSignature, turn);
        }
    }

    fn settle(self, core: &mut Core, turn: &mut Turn<'_>) -> Stage {
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
        let opened = self.opened.into_iter().take(usize::from(quorum)).collect();
        core.stage_began(StageName::Prepared, members.len(), turn);
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
        plan.active = self.active(core);
        if plan.active.len() < usize::from(required) {
            return core.too_few(StageName::Prepared, plan.active.len(), required, turn);
        }
        plan.opened = self.opened;
        turn.persist(Record::Training(plan.clone()));
        MaskedInput::begin(core, self.preparation, plan, turn).settle(core, turn)
    }

    /// A: those of U2 who are there; all who have not left where those who are there are too few,
    /// since the others may come back in time.
    fn active(&self, core: &Core) -> Vec<RosterIndex> {
        let members = &self.preparation.prepared;
        let there = |index: &&RosterIndex| core.is_present(**index);
        let present = core.allowed_set(members.iter().filter(there).copied());
        if present.len() >= usize::from(core.floors.members_min()) {
            return present;
        }
        core.allowed_set(core.pending(members, |_| false))
    }
}
