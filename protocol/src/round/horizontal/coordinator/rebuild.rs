//! Rebuilding the seeds that a survivor set opens: b_v of every survivor and k_v of every dropout,
//! each verified against what its client advertised; then the masks that follow from them.

use std::sync::Arc;

use roundelay_crypto::agreement::{AgreementSecret, HybridSecret, decapsulate};
use roundelay_crypto::mask::Sign;
use roundelay_crypto::secret::Seed;
use roundelay_crypto::shamir::{LagrangeWeights, blame_holds, combine_verified};

use super::core::Core;
use super::input::Work;
use super::unmask::Unmasking;
use super::*;
use crate::round::horizontal::keys::{
    Edge, MaskContext, encapsulate_mask, mask_secret, self_mask_commitment, sign,
};

/// All seeds of a round, rebuilt.
pub(super) struct Rebuilt {
    pub(super) plan: UnmaskPlan,
    /// Clients whose shares are proved wrong.
    pub(super) liars: Vec<RosterIndex>,
}

/// Rebuilds everything, or nothing where the shares at hand do not do.
pub(super) fn rebuild(core: &Core, stage: &Unmasking) -> Option<Rebuilt> {
    let survivors = &stage.survivors;
    let work = &survivors.work;
    let masks = Arc::new(MaskContext::new(&core.scope, &work.context));
    let mut shares = Shares::new(core, stage)?;
    let mut self_masks = Vec::new();
    for (position, index) in survivors.indices().enumerate() {
        let client = core.plan.client_at(*index)?;
        let committed = work.preparation.advert(*index)?.self_mask_commitment;
        let of = |reveal: &Reveal| reveal.self_mask_shares.get(position).copied();
        let seed = shares
            .combine(of, |seed| self_mask_commitment(&core.scope, client, seed) == committed)?;
        self_masks.push(MaskKey { seed: masks.self_mask(*index, &seed), sign: Sign::Minus });
    }
    let kept: Arc<[RosterIndex]> = survivors.indices().copied().collect();
    let mut dropouts = Vec::new();
    for (position, index) in stage.dropouts.iter().enumerate() {
        let advertised = &work.preparation.advert(*index)?.mask;
        let of = |reveal: &Reveal| reveal.key_shares.get(position).copied();
        let key = shares.combine(of, |seed| mask_secret(seed).public() == advertised)?;
        dropouts.push(DropoutKeys {
            client: core.plan.client_at(*index)?,
            index: *index,
            secret: mask_secret(&key),
            key,
            survivors: Arc::clone(&kept),
            clients: core.clients(kept.iter()),
            work: Arc::clone(work),
            masks: Arc::clone(&masks),
        });
    }
    let plan = UnmaskPlan {
        sum: survivors.sum,
        layout: work.plan.layout.clone(),
        survivors: u16::try_from(kept.len()).ok()?,
        self_masks,
        dropouts,
    };
    Some(Rebuilt { plan, liars: shares.liars })
}

/// The shares at hand. Weights are found once, for the first t clients that are not known to lie.
struct Shares<'a> {
    reveals: Vec<(RosterIndex, &'a Reveal)>,
    threshold: u16,
    corrupt: u16,
    weights: LagrangeWeights,
    liars: Vec<RosterIndex>,
}

impl<'a> Shares<'a> {
    fn new(core: &Core, stage: &'a Unmasking) -> Option<Self> {
        let reveals: Vec<_> =
            stage.reveals.iter().map(|(index, reveal)| (*index, reveal)).collect();
        let threshold = core.plan.threshold;
        let weights = weights(&reveals, threshold)?;
        let corrupt = core.floors.corrupt();
        Some(Self { reveals, threshold, corrupt, weights, liars: Vec::new() })
    }

    /// One seed: from the first t shares if it verifies, else from whichever shares do.
    fn combine(
        &mut self,
        share: impl Fn(&Reveal) -> Option<[u8; 32]>,
        is_right: impl Fn(&Seed) -> bool,
    ) -> Option<Seed> {
        let values: Vec<(u16, [u8; 32])> = self
            .reveals
            .iter()
            .filter_map(|(index, reveal)| Some((place(*index), share(reveal)?)))
            .collect();
        let first: Vec<&[u8; 32]> =
            values.iter().take(usize::from(self.threshold)).map(|(_, value)| value).collect();
        let seed = self.weights.combine(&first).ok()?;
        if is_right(&seed) {
            return Some(seed);
        }
        let shares: Vec<(u16, &[u8; 32])> = values.iter().map(|(at, value)| (*at, value)).collect();
        let (seed, wrong) = combine_verified(&shares, self.threshold, is_right).ok()?;
        self.distrust(&wrong);
        Some(seed)
    }

    /// Later seeds are rebuilt without the wrong shares' clients, as long as there are enough; who
    /// is proved a liar is remembered.
    fn distrust(&mut self, wrong: &[u16]) {
        let (at_hand, number) = (self.reveals.len(), wrong.len());
        let is_wrong = |index: &RosterIndex| wrong.contains(&place(*index));
        if blame_holds(at_hand, number, self.threshold, self.corrupt) {
            let liars = self.reveals.iter().map(|(index, _)| *index).filter(is_wrong);
            self.liars.extend(liars);
        }
        let trusted: Vec<_> =
            self.reveals.iter().filter(|(index, _)| !is_wrong(index)).copied().collect();
        if let Some(weights) = weights(&trusted, self.threshold) {
            self.reveals = trusted;
            self.weights = weights;
        }
    }
}

/// Where a client's shares lie on the polynomial: from 1, since the secret is at 0.
fn place(index: RosterIndex) -> u16 {
    index.0.saturating_add(1)
}

fn weights(reveals: &[(RosterIndex, &Reveal)], threshold: u16) -> Option<LagrangeWeights> {
    let first = reveals.get(..usize::from(threshold))?;
    let places: Vec<u16> = first.iter().map(|(index, _)| place(*index)).collect();
    LagrangeWeights::new(&places).ok()
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
