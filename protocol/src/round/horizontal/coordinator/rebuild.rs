//! Rebuilding the seeds that a survivor set opens: b_v of every survivor and k_v of every dropout,
//! each verified against what its client advertised; then the masks that follow from them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use roundelay_crypto::agreement::{AgreementSecret, HybridSecret, decapsulate};
use roundelay_crypto::mask::Sign;
use roundelay_crypto::secret::{Secret, Seed};
use roundelay_crypto::shamir::{LagrangeWeights, combine_verified};

use super::core::Core;
use super::draw::Around;
use super::input::Work;
use super::unmask::Unmasking;
use super::*;
use crate::round::horizontal::keys::{
    Edge, MaskContext, encapsulate_mask, mask_secret, self_mask_commitment, sign,
};

/// All seeds of a round, rebuilt.
pub(super) struct Rebuilt {
    pub(super) plan: UnmaskPlan,
    /// Dealers whose shares do not all lie on one polynomial.
    pub(super) liars: BTreeSet<RosterIndex>,
}

/// Seeds that the shares at hand do not rebuild.
pub(super) struct Missing {
    /// Their dealers.
    pub(super) unbuilt: BTreeSet<RosterIndex>,
    /// Those of them, and others, of whom t shares do not lie on one polynomial.
    pub(super) liars: BTreeSet<RosterIndex>,
}

/// How much is tried for a seed that the first t shares do not rebuild.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effort {
    /// Nothing: more shares are on their way, or its client's own word.
    FirstShares,
    /// Whichever shares fit together are looked for, for so many dealers as that is quick for.
    AllShares,
}

/// Seeds for which fitting shares are looked for. It takes some milliseconds each, more with many
/// clients; whoever has more bad dealers than that loses the round, and has them named.
const SEARCHES_MAX: usize = 4;

/// Whether a seed is the one whose self mask a client committed to.
pub(super) fn is_self_mask(core: &Core, work: &Work, of: RosterIndex, seed: &Seed) -> bool {
    let (client, advert) = (core.plan.client_at(of), work.preparation.advert(of));
    client.zip(advert).is_some_and(|(client, advert)| {
        self_mask_commitment(&core.scope, client, seed) == advert.self_mask_commitment
    })
}

/// Rebuilds everything, or names the dealers whose seeds the shares at hand do not rebuild.
pub(super) fn rebuild(core: &Core, stage: &Unmasking, effort: Effort) -> Result<Rebuilt, Missing> {
    let work = &stage.survivors.work;
    let mut shares = Shares::new(core, stage, effort);
    let mut self_masks = BTreeMap::new();
    for index in stage.survivors.indices() {
        let is_right = |seed: &Seed| is_self_mask(core, work, *index, seed);
        let own = stage.reveals.get(index).and_then(|reveal| reveal.own_self_mask);
        let of = |held: &Held<'_>| held.self_mask_share(*index);
        let seed = own.map(Secret::new).or_else(|| shares.combine(*index, of, is_right));
        self_masks.extend(seed.map(|seed| (*index, seed)));
    }
    let mut keys = BTreeMap::new();
    for index in &stage.dropouts {
        let advert = work.preparation.advert(*index);
        let is_right =
            |seed: &Seed| advert.is_some_and(|advert| *mask_secret(seed).public() == advert.mask);
        let of = |held: &Held<'_>| held.key_share(*index);
        keys.extend(shares.combine(*index, of, is_right).map(|seed| (*index, seed)));
    }
    if !shares.unbuilt.is_empty() {
        return Err(Missing { unbuilt: shares.unbuilt, liars: shares.liars });
    }
    let plan = unmask_plan(core, stage, &self_masks, keys);
    Ok(Rebuilt { plan, liars: shares.liars })
}

/// The masks that follow from the seeds.
fn unmask_plan(
    core: &Core,
    stage: &Unmasking,
    self_masks: &BTreeMap<RosterIndex, Seed>,
    keys: BTreeMap<RosterIndex, Seed>,
) -> UnmaskPlan {
    let survivors = &stage.survivors;
    let work = &survivors.work;
    let masks = Arc::new(MaskContext::new(&core.scope, &work.context));
    let self_masks = self_masks
        .iter()
        .map(|(index, seed)| MaskKey { seed: masks.self_mask(*index, seed), sign: Sign::Minus });
    let kept: Arc<[RosterIndex]> = survivors.indices().copied().collect();
    let dropouts = keys.into_iter().filter_map(|(index, key)| {
        let around = &work.preparation.around;
        let neighbours = kept.iter().filter(|peer| around.holds(index, **peer));
        let survivors: Arc<[RosterIndex]> = match around.of(index) {
            None => Arc::clone(&kept),
            Some(_) => neighbours.copied().collect(),
        };
        Some(DropoutKeys {
            client: core.plan.client_at(index)?,
            index,
            secret: mask_secret(&key),
            key,
            clients: core.clients(survivors.iter()),
            survivors,
            work: Arc::clone(work),
            masks: Arc::clone(&masks),
        })
    });
    UnmaskPlan {
        sum: survivors.sum,
        layout: work.plan.layout.clone(),
        survivors: u16::try_from(kept.len()).unwrap_or(u16::MAX),
        self_masks: self_masks.collect(),
        dropouts: dropouts.collect(),
    }
}

/// What one holder has revealed, and of whom.
struct Held<'a> {
    holder: RosterIndex,
    reveal: &'a Reveal,
    survivors: Arc<[RosterIndex]>,
    dropouts: Arc<[RosterIndex]>,
}

impl Held<'_> {
    fn self_mask_share(&self, dealer: RosterIndex) -> Option<[u8; 32]> {
        let position = self.survivors.binary_search(&dealer).ok()?;
        self.reveal.self_mask_shares.get(position).copied()
    }

    fn key_share(&self, dealer: RosterIndex) -> Option<[u8; 32]> {
        let position = self.dropouts.binary_search(&dealer).ok()?;
        self.reveal.key_shares.get(position).copied()
    }
}

/// What every holder has revealed. In a complete graph all hold shares of the same dealers.
fn held<'a>(core: &Core, stage: &'a Unmasking) -> Vec<Held<'a>> {
    let survivors: Arc<[RosterIndex]> = stage.survivors.indices().copied().collect();
    let dropouts: Arc<[RosterIndex]> = stage.dropouts.iter().copied().collect();
    let of = |(holder, reveal): (&RosterIndex, &'a Reveal)| {
        let holder = *holder;
        if core.plan.is_complete() {
            let (survivors, dropouts) = (Arc::clone(&survivors), Arc::clone(&dropouts));
            return Held { holder, reveal, survivors, dropouts };
        }
        let survivors = stage.held_by(holder, survivors.iter()).copied().collect();
        let dropouts = stage.held_by(holder, dropouts.iter()).copied().collect();
        Held { holder, reveal, survivors, dropouts }
    };
    stage.reveals.iter().map(of).collect()
}

/// The shares at hand, each of them what its dealer committed to. Weights are found once for the same
/// t places: in a complete graph they are those of the first t holders for every dealer.
struct Shares<'a> {
    held: Vec<Held<'a>>,
    around: &'a Around,
    threshold: u16,
    weights: Option<(Vec<u16>, LagrangeWeights)>,
    searches_left: usize,
    liars: BTreeSet<RosterIndex>,
    unbuilt: BTreeSet<RosterIndex>,
}

impl<'a> Shares<'a> {
    fn new(core: &Core, stage: &'a Unmasking, effort: Effort) -> Self {
        Self {
            held: held(core, stage),
            around: &stage.survivors.work.preparation.around,
            threshold: core.plan.threshold,
            weights: None,
            searches_left: if effort == Effort::AllShares { SEARCHES_MAX } else { 0 },
            liars: BTreeSet::new(),
            unbuilt: BTreeSet::new(),
        }
    }

    /// One dealer's seed. Where t shares are at hand and the first t do not give it, the dealer has
    /// lied.
    fn combine(
        &mut self,
        dealer: RosterIndex,
        share: impl Fn(&Held<'_>) -> Option<[u8; 32]>,
        is_right: impl Fn(&Seed) -> bool,
    ) -> Option<Seed> {
        let values: Vec<(u16, [u8; 32])> = self
            .held
            .iter()
            .filter_map(|held| Some((self.around.place(dealer, held.holder)?, share(held)?)))
            .collect();
        let Some(first) = values.get(..usize::from(self.threshold)) else {
            self.unbuilt.insert(dealer);
            return None;
        };
        if let Some(seed) = self.weigh(first).filter(|seed| is_right(seed)) {
            return Some(seed);
        }
        self.liars.insert(dealer);
        let found = self.search(&values, is_right);
        if found.is_none() {
            self.unbuilt.insert(dealer);
        }
        found
    }

    /// What t shares give.
    fn weigh(&mut self, shares: &[(u16, [u8; 32])]) -> Option<Seed> {
        let places: Vec<u16> = shares.iter().map(|(place, _)| *place).collect();
        let values: Vec<&[u8; 32]> = shares.iter().map(|(_, value)| value).collect();
        if self.weights.as_ref().is_none_or(|(known, _)| *known != places) {
            let weights = LagrangeWeights::new(&places).ok()?;
            self.weights = Some((places, weights));
        }
        self.weights.as_ref().and_then(|(_, weights)| weights.combine(&values).ok())
    }

    fn search(
        &mut self,
        values: &[(u16, [u8; 32])],
        is_right: impl Fn(&Seed) -> bool,
    ) -> Option<Seed> {
        self.searches_left = self.searches_left.checked_sub(1)?;
        let shares: Vec<(u16, &[u8; 32])> = values.iter().map(|(at, value)| (*at, value)).collect();
        combine_verified(&shares, self.threshold, is_right).ok().map(|(seed, _)| seed)
    }
}

/// The rebuilt keys of one dropout: they give its pairwise masks with every survivor.
pub struct DropoutKeys {
    client: ClientId,
    index: RosterIndex,
    /// k_u.
    key: Seed,
    secret: AgreementSecret,
    survivors: Arc<[RosterIndex]>,
    clients: Vec<ClientId>,
    work: Arc<Work>,
    masks: Arc<MaskContext>,
}

impl DropoutKeys {
    /// Clients with which the dropout shares a mask that has to go.
    pub(super) fn survivors(&self) -> usize {
        self.survivors.len()
    }

    /// The dropout's pairwise masks with all survivors, with the signs that cancel them.
    ///
    /// # Errors
    /// The dropout's id, where an encapsulation of it is not the one that its key seed gives.
    pub fn mask_keys(&self) -> Result<Vec<MaskKey>, ClientId> {
        let peers = self.survivors.iter().zip(&self.clients);
        peers.map(|(peer, client)| self.mask_key(*peer, *client).ok_or(self.client)).collect()
    }

    fn mask_key(&self, peer: RosterIndex, client: ClientId) -> Option<MaskKey> {
        let edges = &self.work.preparation.edges;
        let own = (self.index, edges.digest(self.index, peer)?);
        let edge = Edge::between(own, (peer, edges.digest(peer, self.index)?));
        let secret = self.agree(peer, client)?;
        // The survivor added the mask with the other sign.
        Some(MaskKey { seed: edge.seed(&secret, &self.masks), sign: sign(self.index, peer) })
    }

    fn agree(&self, peer: RosterIndex, client: ClientId) -> Option<HybridSecret> {
        let preparation = &self.work.preparation;
        let public = &preparation.advert(peer)?.mask;
        if self.index < peer {
            let sent = preparation.edges.ciphertext(self.index, peer)?;
            let (ciphertext, secret) =
                encapsulate_mask(&self.key, &self.secret, client, public).ok()?;
            (ciphertext == *sent).then_some(secret)
        } else {
            let received = preparation.edges.ciphertext(peer, self.index)?;
            decapsulate(&self.secret, public, received).ok()
        }
    }
}
