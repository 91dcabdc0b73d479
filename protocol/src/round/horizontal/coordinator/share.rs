//! ShareKeys: collects each client's leaves and sorts them by recipient.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use roundelay_crypto::identity::Signature;
use roundelay_crypto::tree;

use super::core::{Core, Turn, Waiting};
use super::draw::{Around, Drawn};
use super::edges::Edges;
use super::machine::{Event, Stage};
use super::prepared::Opening;
use super::*;
use crate::limits::SEALED_SHARES_BYTES;
use crate::message::{AdvertRoster, BoxDelivery, BoxRoster, ShareLeaf};
use crate::signed::Statement;
use crate::transcript::{leaf_digest, shares_root};

/// Waits for shares.
pub(super) struct ShareKeys {
    roster: Arc<AdvertRoster>,
    drawn: Drawn,
    /// What each sender signed.
    senders: BTreeMap<RosterIndex, (Digest, Signature)>,
    /// Leaves by recipient, in the order of arrival.
    deliveries: BTreeMap<RosterIndex, Vec<BoxDelivery>>,
    edges: Edges,
    until: Time,
}

impl ShareKeys {
    pub(super) fn begin(
        core: &Core,
        roster: Arc<AdvertRoster>,
        drawn: Drawn,
        turn: &mut Turn<'_>,
    ) -> Self {
        turn.began(StageName::ShareKeys, roster.adverts.len());
        let members = || roster.adverts.iter().map(|(index, _)| index);
        match &drawn.beacon {
            None => core.broadcast(members(), ToClient::Adverts(Arc::clone(&roster)), turn),
            Some(beacon) => {
                core.broadcast(members(), ToClient::Beacon(Arc::clone(beacon)), turn);
                for index in members() {
                    let adverts = adverts_for(&roster, &drawn.around, *index);
                    core.send(*index, ToClient::Adverts(adverts), turn);
                }
            }
        }
        Self {
            drawn,
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
        let others = advertised.filter(|index| self.drawn.around.holds(from, *index));
        let shaped = others.eq(shares.leaves.iter().map(|leaf| leaf.to))
            && shares.leaves.iter().all(|leaf| is_shaped(from, leaf));
        let digests = digests(from, shares);
        if !shaped || tree::root(&digests) != shares.root {
            return Err(Fault::BadLeaves);
        }
        let statement = Statement::Shares { adverts: &self.drawn.root, root: &shares.root };
        let signed = core.has_signed(from, &statement, &shares.signature);
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
            if let Some(beacon) = &self.drawn.beacon {
                core.send(index, ToClient::Beacon(Arc::clone(beacon)), turn);
            }
            let adverts = adverts_for(&self.roster, &self.drawn.around, index);
            core.send(index, ToClient::Adverts(adverts), turn);
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
        let prepared: Vec<RosterIndex> = self.prepared(core).into_iter().collect();
        if let Some((present, required)) = self.drawn.around.lacks(core, &prepared, &prepared) {
            return core.too_few(StageName::ShareKeys, present, required, turn);
        }
        turn.persist(Record::SharesClosed);
        let until = turn.now + core.timing.share_keys;
        let preparation = self.close(core, turn);
        Opening::new(preparation, until).settle(core, turn)
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
            let others = self.others(*index, &prepared);
            core.send(*index, ToClient::Boxes(Arc::new(BoxRoster { boxes, others })), turn);
        }
        let roots = self.senders.iter().filter(|(index, _)| prepared.contains(index));
        let shares = shares_root(&self.drawn.root, roots.map(|(index, (root, _))| (*index, root)));
        Preparation {
            roster: self.roster,
            adverts: self.drawn.root,
            around: self.drawn.around,
            shares,
            prepared: prepared.into_iter().collect(),
            edges: self.edges,
        }
    }

    /// The roots of those of U2 that a client gets no box of.
    fn others(
        &self,
        index: RosterIndex,
        prepared: &BTreeSet<RosterIndex>,
    ) -> Vec<(RosterIndex, Digest)> {
        let is_other = |other: &RosterIndex| {
            *other != index && prepared.contains(other) && !self.drawn.around.holds(index, *other)
        };
        let senders = self.senders.iter().filter(|(other, _)| is_other(other));
        senders.map(|(other, (root, _))| (*other, *root)).collect()
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
                Some(Stage::Opening(Box::new(Opening::new(preparation, until))))
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

/// The adverts that a client gets: all of a complete graph, its neighbours' of a sparse one.
fn adverts_for(
    roster: &Arc<AdvertRoster>,
    around: &Around,
    index: RosterIndex,
) -> Arc<AdvertRoster> {
    if around.of(index).is_none() {
        return Arc::clone(roster);
    }
    let adverts = roster.adverts.iter().filter(|(other, _)| around.holds(index, *other));
    Arc::new(AdvertRoster { adverts: adverts.cloned().collect() })
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
    pub(super) around: Around,
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
