//! ShareKeys: every advert is verified, then each neighbour gets its shares of k_u and b_u in a box
//! that it alone can open, and the mask encapsulation of the edge where this client is the lower.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use roundelay_crypto::agreement::{AgreementSecret, Exchange, HybridSecret, encapsulate_after};
use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::first_bad;
use roundelay_crypto::sealed::seal_once;
use roundelay_crypto::secret::{Secret, Seed};
use roundelay_crypto::shamir::{self, Threshold};
use roundelay_crypto::tree;

use super::draw::Drawn;
use super::open::Open;
use super::seeds::RoundSeeds;
use super::{Core, Event, History, Seat, Turn};
use crate::error::{Refusal, Stage};
use crate::ids::RosterIndex;
use crate::message::{Advert, AdvertRoster, FromClient, ShareLeaf, ShareRoster};
use crate::round::horizontal::keys::{BoxPlace, Holding, encapsulate_mask};
use crate::signed::Statement;
use crate::transcript::{advert_digest, adverts_root, leaf_digest};

/// Waits for the advert roster.
pub(super) struct Share {
    pub(super) seat: Seat,
    /// Root of the roster plan.
    pub(super) plan: Digest,
    pub(super) seeds: RoundSeeds,
    pub(super) masks: AgreementSecret,
    pub(super) boxes: AgreementSecret,
    pub(super) advert: Advert,
    /// In a sparse graph: what it was drawn from.
    pub(super) drawn: Option<Drawn>,
}

/// What this client sent to one neighbour, as far as later stages need it.
pub(super) struct SentLeaf {
    pub(super) digest: Digest,
    /// The edge's mask secret where this client is the lower one.
    pub(super) mask: Option<HybridSecret>,
    /// Of both sides' box keys: what comes back opens with the same.
    pub(super) exchange: Exchange,
}

impl Share {
    pub(super) fn adverts(
        mut self,
        core: &Core,
        roster: Arc<AdvertRoster>,
        turn: &mut Turn<'_>,
    ) -> Result<Open, Refusal> {
        self.check(core, &roster)?;
        turn.history.rises(Stage::ShareKeys, core.scope.round)?;
        let adverts = match &self.drawn {
            None => adverts_root(&self.plan, &roster),
            Some(drawn) => drawn.root,
        };
        let (own, mut holdings) = (self.seat.own, self.split()?);
        // In a sparse graph nobody holds a share of its own seeds.
        let own_holding = holdings.remove(&own);
        let (mut leaves, mut sent) = (Vec::new(), BTreeMap::new());
        for (to, advert) in roster.adverts.iter().filter(|(index, _)| *index != own) {
            let holding = holdings.remove(to).ok_or(Refusal::BadAdvert(*to))?;
            let (leaf, record) =
                self.leaf(core, &adverts, (*to, advert), &holding, turn.history)?;
            leaves.push(leaf);
            sent.insert(*to, record);
        }
        let digests: Vec<Digest> = sent.values().map(|leaf| leaf.digest).collect();
        let root = tree::root(&digests);
        let statement = Statement::Shares { adverts: &adverts, root: &root };
        let signature = core.scope.sign(&core.setup.identity, &statement);
        turn.remember(core, Event::Shared);
        turn.reply(FromClient::Shares(Arc::new(ShareRoster { root, signature, leaves })));
        Ok(Open {
            seat: self.seat,
            self_mask: self.seeds.self_mask,
            masks: self.masks,
            boxes: self.boxes,
            box_seed: self.seeds.boxes,
            roster,
            adverts,
            own_root: root,
            own_holding,
            sent,
            drawn: self.drawn,
        })
    }

    /// The roster is canonical, holds this client's advert unaltered, and every other one is
    /// signed by its client over the very plan that this client saw.
    fn check(&self, core: &Core, roster: &AdvertRoster) -> Result<(), Refusal> {
        if let Some(drawn) = &self.drawn {
            self.check_drawn(drawn, roster)?;
        }
        let mut previous = None;
        let mut keys = BTreeSet::new();
        let mut others = Vec::new();
        for (index, advert) in &roster.adverts {
            let identity = self.seat.identity(core, *index);
            let identity = identity.filter(|_| previous < Some(*index));
            let identity = identity.ok_or(Refusal::BadAdvert(*index))?;
            previous = Some(*index);
            if *index == self.seat.own {
                if *advert != self.advert {
                    return Err(Refusal::OwnAdvertAltered);
                }
            } else {
                let message = core.scope.message(&Statement::Advert { plan: &self.plan, advert });
                others.push((*index, (identity, message, &advert.signature)));
            }
            if !keys.insert(&advert.mask) || !keys.insert(&advert.boxes) {
                return Err(Refusal::EqualKeys);
            }
        }
        if self.drawn.is_none() && others.len() == roster.adverts.len() {
            return Err(Refusal::OwnAdvertAltered);
        }
        let (indices, signed): (Vec<_>, Vec<_>) = others.into_iter().unzip();
        if let Some(bad) = first_bad(&signed).and_then(|bad| indices.get(bad)) {
            return Err(Refusal::BadAdvert(*bad));
        }
        match &self.drawn {
            None => self.seat.require_members(roster.adverts.len()),
            Some(_) => Ok(()),
        }
    }

    /// The roster is of exactly the neighbours that take part, with the adverts that were listed.
    fn check_drawn(&self, drawn: &Drawn, roster: &AdvertRoster) -> Result<(), Refusal> {
        let members = drawn.graph.among(self.seat.own, &drawn.members);
        if !members.iter().eq(roster.adverts.iter().map(|(index, _)| index)) {
            return Err(Refusal::BadBeacon);
        }
        let listed = &drawn.listing.adverts;
        for (index, advert) in &roster.adverts {
            let position = listed.binary_search_by_key(index, |(index, ..)| *index).ok();
            let listed = position.and_then(|position| listed.get(position));
            let digest = advert_digest(*index, advert);
            let same = |(_, known, draw): &(RosterIndex, Digest, Digest)| {
                digest == *known && advert.draw == Some(*draw)
            };
            if !listed.is_some_and(same) {
                return Err(Refusal::BadAdvert(*index));
            }
        }
        Ok(())
    }

    /// Shares of both seeds: for every index of the cohort, or for every neighbour of a sparse graph.
    fn split(&mut self) -> Result<BTreeMap<RosterIndex, Holding>, Refusal> {
        let plan = &self.seat.plan;
        let around = self.drawn.as_ref().map(|drawn| &drawn.around);
        let holders = around.map_or(plan.cohort.len(), Vec::len);
        let shares = u16::try_from(holders).unwrap_or(u16::MAX);
        let threshold =
            Threshold::new(plan.threshold, shares).map_err(|_| Refusal::ThresholdOffRule)?;
        let noise = &mut self.seeds.noise;
        let keys = shamir::split(&self.seeds.key, threshold, noise);
        let self_masks = shamir::split(&self.seeds.self_mask, threshold, noise);
        let pairs = keys.into_iter().zip(self_masks);
        Ok(pairs
            .filter_map(|(key, self_mask)| {
                // Shares count from 1, holders from 0.
                let place = key.index.saturating_sub(1);
                let index = match around {
                    None => RosterIndex(place),
                    Some(around) => *around.get(usize::from(place))?,
                };
                Some((index, Holding { key: key.value, self_mask: self_mask.value }))
            })
            .collect())
    }

    fn leaf(
        &mut self,
        core: &Core,
        adverts: &Digest,
        (to, advert): (RosterIndex, &Advert),
        holding: &Holding,
        history: &History,
    ) -> Result<(ShareLeaf, SentLeaf), Refusal> {
        let bad_key = |_| Refusal::BadAdvert(to);
        let neighbour = self.seat.client_at(to).ok_or(Refusal::BadAdvert(to))?;
        let (mask_ciphertext, mask) = if self.seat.own < to {
            let (ciphertext, secret) =
                encapsulate_mask(&self.seeds.key, &self.masks, neighbour, &advert.mask)
                    .map_err(bad_key)?;
            (Some(ciphertext), Some(secret))
        } else {
            (None, None)
        };
        let message: Seed = Secret::random(&mut self.seeds.noise);
        let exchange = self.boxes.exchange(&advert.boxes).map_err(bad_key)?;
        let (box_ciphertext, secret) = encapsulate_after(&exchange, &advert.boxes, &message);
        let own = (self.seat.own, core.own);
        let place = BoxPlace::new(&core.scope, adverts, own, (to, neighbour));
        let shares = holding.joined();
        let sealed = seal_once(&place.key(&secret), &place.aad(), shares.expose());
        let commitments = place.commitments(holding);
        let met = history.met(neighbour);
        let leaf = ShareLeaf { to, mask_ciphertext, box_ciphertext, sealed, commitments, met };
        let digest = leaf_digest(self.seat.own, &leaf);
        Ok((leaf, SentLeaf { digest, mask, exchange }))
    }
}
