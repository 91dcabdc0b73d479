//! The beacon of a sparse graph. Adverts commit to nonces; this client reveals its own once it knows
//! which adverts and commitments there are, and draws the graph from all that were revealed. Nobody
//! could know the graph when the keys and nonces were chosen.

use std::sync::Arc;

use roundelay_crypto::digest::Digest;

use super::share::Share;
use super::{Core, Turn};
use crate::error::Refusal;
use crate::ids::RosterIndex;
use crate::message::{Beacon, FromClient, Listing};
use crate::round::horizontal::neighbours::{Neighbours, draw_commitment};
use crate::transcript::{advert_digest, beacon_root, listing_root};

/// Waits for the listing.
pub(super) struct Draw {
    pub(super) share: Share,
    /// What this client's advert commits to.
    pub(super) nonce: [u8; 32],
}

/// Waits for the beacon.
pub(super) struct Revealing {
    share: Share,
    nonce: [u8; 32],
    listing: Arc<Listing>,
    /// Root of the listing.
    root: Digest,
}

/// What a sparse graph was drawn from, and this client's place in it.
pub(super) struct Drawn {
    pub(super) listing: Arc<Listing>,
    /// Root of AdvertiseKeys.
    pub(super) root: Digest,
    pub(super) graph: Neighbours,
    /// Those who revealed a nonce, in roster order.
    pub(super) members: Vec<RosterIndex>,
    /// This client's neighbours, whether they take part or not.
    pub(super) around: Vec<RosterIndex>,
}

impl Draw {
    pub(super) fn listing(
        self,
        core: &Core,
        listing: Arc<Listing>,
        turn: &mut Turn<'_>,
    ) -> Result<Revealing, Refusal> {
        let seat = &self.share.seat;
        let sorted = listing.adverts.is_sorted_by(|(one, ..), (next, ..)| one < next);
        let known = listing.adverts.iter().all(|(index, ..)| seat.identity(core, *index).is_some());
        let own = advert_digest(seat.own, &self.share.advert);
        let draw = self.share.advert.draw;
        let listed = listing.adverts.iter().any(|(index, advert, commitment)| {
            *index == seat.own && *advert == own && Some(*commitment) == draw
        });
        if !sorted || !known {
            return Err(Refusal::BadBeacon);
        }
        if !listed {
            return Err(Refusal::OwnAdvertAltered);
        }
        seat.require_members(listing.adverts.len())?;
        turn.reply(FromClient::Nonce(self.nonce));
        let root = listing_root(&self.share.plan, &listing);
        Ok(Revealing { share: self.share, nonce: self.nonce, listing, root })
    }
}

impl Revealing {
    /// The graph of all nonces, this client's own among them, and none but those committed to.
    pub(super) fn beacon(self, core: &Core, beacon: &Beacon) -> Result<Share, Refusal> {
        let seat = &self.share.seat;
        let nonces = &beacon.nonces;
        let sorted = nonces.is_sorted_by(|(one, _), (next, _)| one < next);
        let own = nonces.iter().any(|(index, nonce)| *index == seat.own && *nonce == self.nonce);
        if !sorted || !own || !nonces.iter().all(|it| self.is_committed(core, it)) {
            return Err(Refusal::BadBeacon);
        }
        seat.require_members(nonces.len())?;
        let root = beacon_root(&self.root, beacon);
        let graph = Neighbours::drawn(&seat.plan, &root).map_err(|_| Refusal::ThresholdOffRule)?;
        let around = graph.around(seat.own).unwrap_or_default();
        let members: Vec<RosterIndex> = nonces.iter().map(|(index, _)| *index).collect();
        let drawn = Drawn { listing: self.listing, root, graph, members, around };
        let mut share = self.share;
        share.seat.around = Some(drawn.around.clone());
        share.seat.require_neighbours(&drawn.members)?;
        Ok(Share { drawn: Some(drawn), ..share })
    }

    fn is_committed(&self, core: &Core, (index, nonce): &(RosterIndex, [u8; 32])) -> bool {
        let adverts = &self.listing.adverts;
        let position = adverts.binary_search_by_key(index, |(index, ..)| *index).ok();
        let listed = position.and_then(|position| adverts.get(position));
        let client = self.share.seat.client_at(*index);
        client.zip(listed).is_some_and(|(client, (.., commitment))| {
            draw_commitment(&core.scope, client, nonce) == *commitment
        })
    }
}
