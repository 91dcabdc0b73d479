//! The end of ShareKeys: this client opens every box that was addressed to it. What opens wrongly
//! makes it sit the round out, since later it could not do its part; where the sender signed what
//! does not open, it shows the proof.

use std::collections::BTreeMap;
use std::sync::Arc;

use roundelay_crypto::agreement::{AgreementSecret, HybridSecret, decapsulate, decapsulate_after};
use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::first_bad;
use roundelay_crypto::secret::Seed;
use roundelay_crypto::tree;

use super::draw::Drawn;
use super::input::Prepared;
use super::share::SentLeaf;
use super::{Action, Core, Event, Seat, Turn};
use crate::error::Refusal;
use crate::ids::{RosterIndex, RoundNumber};
use crate::message::{Accusation, Advert, AdvertRoster, BoxDelivery, BoxRoster, FromClient};
use crate::round::horizontal::keys::{BoxPlace, Edge, Holding};
use crate::signed::Statement;
use crate::transcript::{leaf_digest, shares_root};

/// Waits for the boxes.
pub(super) struct Open {
    pub(super) seat: Seat,
    /// b_u.
    pub(super) self_mask: Seed,
    pub(super) masks: AgreementSecret,
    pub(super) boxes: AgreementSecret,
    /// What the box keys come from: to be shown where a box does not hold what it should.
    pub(super) box_seed: Seed,
    pub(super) roster: Arc<AdvertRoster>,
    /// Root of AdvertiseKeys.
    pub(super) adverts: Digest,
    /// Root of this client's own leaves.
    pub(super) own_root: Digest,
    /// This client's shares of its own seeds; none in a sparse graph.
    pub(super) own_holding: Option<Holding>,
    pub(super) sent: BTreeMap<RosterIndex, SentLeaf>,
    /// In a sparse graph: what it was drawn from.
    pub(super) drawn: Option<Drawn>,
}

/// An edge to a member of U2: its ciphertexts, and the secret of its mask.
pub(super) struct OpenEdge {
    pub(super) edge: Edge,
    pub(super) secret: HybridSecret,
}

impl Open {
    pub(super) fn boxes(
        mut self,
        core: &Core,
        roster: &BoxRoster,
        turn: &mut Turn<'_>,
    ) -> Result<Prepared, Refusal> {
        let mut roots = BTreeMap::from([(self.seat.own, &self.own_root)]);
        let (mut holdings, mut edges) = (BTreeMap::new(), BTreeMap::new());
        for (delivery, received) in roster.boxes.iter().zip(self.check_roots(core, roster)?) {
            let from = delivery.from;
            let sent = self.sent.remove(&from).ok_or(Refusal::BadBox(from))?;
            let position = self.roster.adverts.binary_search_by_key(&from, |(index, _)| *index);
            let advert = position.ok().and_then(|position| self.roster.adverts.get(position));
            let (_, advert) = advert.ok_or(Refusal::BadBox(from))?;
            let (holding, edge) = self.open(core, (delivery, received), advert, sent, turn)?;
            roots.insert(from, &delivery.root);
            holdings.insert(from, holding);
            edges.insert(from, edge);
        }
        self.seat.require_neighbours(edges.keys())?;
        self.check_others(roster)?;
        roots.extend(roster.others.iter().map(|(index, root)| (*index, root)));
        self.seat.require_members(roots.len())?;
        self.remembers(core, roster, turn)?;
        let prepared = roots.keys().copied().collect();
        let shares = shares_root(&self.adverts, roots);
        let signature =
            core.scope.sign(&core.setup.identity, &Statement::Opened { shares: &shares });
        turn.reply(FromClient::Opened(signature));
        holdings.extend(self.own_holding.map(|holding| (self.seat.own, holding)));
        Ok(Prepared {
            seat: self.seat,
            self_mask: self.self_mask,
            holdings,
            edges,
            prepared,
            shares,
        })
    }

    /// The other members of U2 are no neighbours: in a complete graph there are none, in a sparse one
    /// those that revealed a nonce.
    fn check_others(&self, roster: &BoxRoster) -> Result<(), Refusal> {
        let others = &roster.others;
        let is_other = |index: &RosterIndex| {
            self.drawn.as_ref().is_some_and(|drawn| {
                *index != self.seat.own
                    && drawn.members.binary_search(index).is_ok()
                    && drawn.around.binary_search(index).is_err()
            })
        };
        match others.iter().find(|(index, _)| !is_other(index)) {
            Some((index, _)) => Err(Refusal::BadShareRoot(*index)),
            None if others.is_sorted_by(|(one, _), (next, _)| one < next) => Ok(()),
            None => Err(Refusal::BadShareRoot(self.seat.own)),
        }
    }

    /// One box, with the digest of its leaf: for this client, and whole.
    fn open(
        &self,
        core: &Core,
        (delivery, received): (&BoxDelivery, Digest),
        advert: &Advert,
        sent: SentLeaf,
        turn: &mut Turn<'_>,
    ) -> Result<(Holding, OpenEdge), Refusal> {
        let (from, own) = (delivery.from, self.seat.own);
        let bad_box = Refusal::BadBox(from);
        let sender = self.seat.client_at(from).ok_or(bad_box.clone())?;
        if delivery.leaf.to != own || delivery.leaf.mask_ciphertext.is_some() != (from < own) {
            return Err(bad_box);
        }
        let box_ciphertext = &delivery.leaf.box_ciphertext;
        let secret = decapsulate_after(&sent.exchange, &self.boxes, box_ciphertext);
        let place = BoxPlace::new(&core.scope, &self.adverts, (from, sender), (own, core.own));
        let Some(holding) = place.open(&secret, &delivery.leaf) else {
            return Err(self.accuse(core, delivery, turn));
        };
        let secret = match (&delivery.leaf.mask_ciphertext, sent.mask) {
            (Some(ciphertext), None) => {
                decapsulate(&self.masks, &advert.mask, ciphertext).map_err(|_| bad_box)?
            }
            (None, Some(secret)) => secret,
            _ => return Err(bad_box),
        };
        let edge = Edge::between((from, received), (own, sent.digest));
        Ok((holding, OpenEdge { edge, secret }))
    }

    /// Shows a box that does not open. A proof for everyone has a signature that holds alone.
    fn accuse(&self, core: &Core, delivery: &BoxDelivery, turn: &mut Turn<'_>) -> Refusal {
        let identity = self.seat.identity(core, delivery.from);
        let message = self.signed(core, delivery);
        if identity.is_none_or(|it| it.verify(&message, &delivery.signature).is_err()) {
            return Refusal::BadShareRoot(delivery.from);
        }
        let (delivery, boxes) = (delivery.clone(), *self.box_seed.expose());
        let from = delivery.from;
        let accusation = Box::new(Accusation { delivery, boxes });
        turn.actions.push(Action::Send(FromClient::Accusation(accusation)));
        Refusal::BadBox(from)
    }

    /// No more peers than may lie have signed sets with this client that it does not remember.
    fn remembers(
        &self,
        core: &Core,
        roster: &BoxRoster,
        turn: &mut Turn<'_>,
    ) -> Result<(), Refusal> {
        let remembered = turn.history.remembered();
        let mut met: Vec<RoundNumber> =
            roster.boxes.iter().map(|delivery| delivery.leaf.met).collect();
        met.sort_unstable_by(|one, other| other.cmp(one));
        match met.get(usize::from(self.seat.floors.corrupt_neighbours())) {
            Some(seen) if *seen > remembered => {
                turn.remember(core, Event::RolledBack { seen: *seen });
                Err(Refusal::RolledBack { seen: seen.0, remembered: remembered.0 })
            }
            _ => Ok(()),
        }
    }

    /// Every leaf is the one for this client under the root that its sender has signed for this
    /// roster; gives the leaves' digests.
    fn check_roots(&self, core: &Core, roster: &BoxRoster) -> Result<Vec<Digest>, Refusal> {
        let (mut digests, mut signed, mut previous) = (Vec::new(), Vec::new(), None);
        for delivery in &roster.boxes {
            let from = delivery.from;
            if previous.replace(from) >= Some(from) || !self.sent.contains_key(&from) {
                return Err(Refusal::BadBox(from));
            }
            digests.push(self.leaf_in_tree(delivery).ok_or(Refusal::BadShareRoot(from))?);
            let sender = self.seat.identity(core, from).ok_or(Refusal::BadShareRoot(from))?;
            signed.push((sender, self.signed(core, delivery), &delivery.signature));
        }
        match first_bad(&signed).and_then(|bad| roster.boxes.get(bad)) {
            Some(bad) => Err(Refusal::BadShareRoot(bad.from)),
            None => Ok(digests),
        }
    }

    /// What the sender of a box has signed.
    fn signed(&self, core: &Core, delivery: &BoxDelivery) -> Vec<u8> {
        core.scope.message(&Statement::Shares { adverts: &self.adverts, root: &delivery.root })
    }

    /// The digest of a leaf, if it has this client's place under its root.
    fn leaf_in_tree(&self, delivery: &BoxDelivery) -> Option<Digest> {
        let BoxDelivery { from, leaf, path, root, .. } = delivery;
        // A sender has a leaf for every member that is its neighbour, in roster order.
        let (position, leaves) = match &self.drawn {
            None => {
                let others = self.roster.adverts.iter().filter(|(index, _)| index != from);
                let position = others.clone().position(|(index, _)| *index == self.seat.own)?;
                (position, others.count())
            }
            Some(drawn) => {
                let around = drawn.graph.among(*from, &drawn.members);
                (around.binary_search(&self.seat.own).ok()?, around.len())
            }
        };
        let digest = leaf_digest(*from, leaf);
        tree::verify(root, &digest, position, leaves, path).then_some(digest)
    }
}
