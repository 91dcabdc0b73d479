//! The beacon of a sparse graph: every client sees which adverts there are and what commits to the
//! nonces, then nonces are revealed, and the graph is drawn from all of them. Whoever reveals none is
//! out of the round.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::core::{Core, Turn, Waiting};
use super::machine::{Event, Stage};
use super::share::ShareKeys;
use super::*;
use crate::message::{AdvertRoster, Beacon, Listing};
use crate::round::horizontal::neighbours::{Neighbours, draw_commitment, place};
use crate::transcript::{advert_digest, beacon_root, listing_root};

/// Waits for nonces.
pub(super) struct Drawing {
    roster: Arc<AdvertRoster>,
    listing: Arc<Listing>,
    /// Root of the listing.
    root: Digest,
    nonces: BTreeMap<RosterIndex, [u8; 32]>,
    until: Time,
}

impl Drawing {
    pub(super) fn begin(core: &Core, roster: Arc<AdvertRoster>, turn: &mut Turn<'_>) -> Self {
        let listed = roster.adverts.iter().filter_map(|(index, advert)| {
            Some((*index, advert_digest(*index, advert), advert.draw?))
        });
        let listing = Arc::new(Listing { adverts: listed.collect() });
        let members = roster.adverts.iter().map(|(index, _)| index);
        core.broadcast(members, ToClient::Listing(Arc::clone(&listing)), turn);
        let root = listing_root(&core.root, &listing);
        let until = turn.now + core.timing.advertise_keys;
        Self { roster, listing, root, nonces: BTreeMap::new(), until }
    }

    pub(super) fn handle(mut self, core: &mut Core, event: Event, turn: &mut Turn<'_>) -> Stage {
        match event {
            Event::Message(from, FromClient::Nonce(nonce)) => self.nonce(core, from, nonce, turn),
            // An advert that came too late.
            Event::Message(..) => core.late_messages += 1,
            Event::Returned(index) => self.resend(core, index, turn),
            Event::Left(index) => drop(self.nonces.remove(&index)),
            _ => {}
        }
        self.settle(core, turn)
    }

    fn nonce(&mut self, core: &mut Core, from: RosterIndex, nonce: [u8; 32], turn: &mut Turn<'_>) {
        let adverts = &self.listing.adverts;
        let position = adverts.binary_search_by_key(&from, |(index, ..)| *index).ok();
        let listed = position.and_then(|position| adverts.get(position));
        let Some((.., commitment)) = listed else {
            return core.expel(from, Fault::OutOfStage, turn);
        };
        let client = core.plan.client_at(from);
        let is_right =
            client.is_some_and(|it| draw_commitment(&core.scope, it, &nonce) == *commitment);
        if is_right {
            self.nonces.insert(from, nonce);
        } else {
            core.expel(from, Fault::BadNonce, turn);
        }
    }

    fn resend(&self, core: &Core, index: RosterIndex, turn: &mut Turn<'_>) {
        let listed = self.listing.adverts.iter().any(|(listed, ..)| *listed == index);
        if listed && !core.is_out(index) && !self.nonces.contains_key(&index) {
            core.send(index, ToClient::Listing(Arc::clone(&self.listing)), turn);
        }
    }

    pub(super) fn settle(self, core: &mut Core, turn: &mut Turn<'_>) -> Stage {
        let members = self.listing.adverts.iter().map(|(index, ..)| index);
        let pending = core.pending(members, |index| self.nonces.contains_key(index));
        let (answers, needed) = (self.nonces.len(), core.floors.members_min());
        let waiting = Waiting::counting(self.until, &pending, answers, needed);
        if core.waits(&waiting, turn) {
            return Stage::Drawing(Box::new(self));
        }
        core.dropped(StageName::AdvertiseKeys, &pending, turn);
        if answers < usize::from(needed) {
            return core.too_few(StageName::AdvertiseKeys, answers, needed, turn);
        }
        let members: Vec<RosterIndex> = self.nonces.keys().copied().collect();
        let beacon = Arc::new(Beacon { nonces: self.nonces.into_iter().collect() });
        let drawn = Drawn::of(core, &self.root, Arc::clone(&beacon));
        if let Some((present, required)) = drawn.around.lacks(core, &members, &members) {
            return core.too_few(StageName::AdvertiseKeys, present, required, turn);
        }
        turn.persist(Record::Drawn(beacon));
        close(core, &self.roster, drawn, turn).settle(core, turn)
    }

    /// Takes a record instead of a message.
    pub(super) fn replay(
        self,
        core: &mut Core,
        record: Record,
        turn: &mut Turn<'_>,
    ) -> Option<Stage> {
        match record {
            Record::Left(..) => Some(Stage::Drawing(Box::new(self))),
            Record::Drawn(beacon) => {
                let drawn = Drawn::of(core, &self.root, beacon);
                let next = close(core, &self.roster, drawn, turn);
                Some(Stage::ShareKeys(Box::new(next)))
            }
            _ => None,
        }
    }

    /// Goes on after a restart: nonces are asked for again.
    pub(super) fn resume(mut self, core: &mut Core, turn: &mut Turn<'_>) -> Stage {
        self.until = turn.now + core.timing.advertise_keys;
        core.cohort().for_each(|index| self.resend(core, index, turn));
        self.settle(core, turn)
    }
}

/// The graph is drawn; those without a nonce are out.
fn close(core: &Core, roster: &AdvertRoster, drawn: Drawn, turn: &mut Turn<'_>) -> ShareKeys {
    let has_nonce = |index| {
        let nonces = drawn.beacon.as_ref().map_or(&[][..], |beacon| &beacon.nonces);
        nonces.binary_search_by_key(&index, |(it, _)| *it).is_ok()
    };
    let adverts = roster.adverts.iter().filter(|(index, _)| has_nonce(*index)).cloned().collect();
    ShareKeys::begin(core, Arc::new(AdvertRoster { adverts }), drawn, turn)
}

/// The graph of a round and the root of AdvertiseKeys that goes with it.
pub(super) struct Drawn {
    /// In a sparse graph: what it was drawn from.
    pub(super) beacon: Option<Arc<Beacon>>,
    /// Root of AdvertiseKeys.
    pub(super) root: Digest,
    pub(super) around: Around,
}

impl Drawn {
    /// The graph that a beacon draws.
    fn of(core: &Core, listing: &Digest, beacon: Arc<Beacon>) -> Self {
        let root = beacon_root(listing, &beacon);
        let around = Around::drawn(core, &root);
        Self { beacon: Some(beacon), root, around }
    }
}

/// Every client's neighbours in a sparse graph, in roster order; nothing in a complete one.
pub(super) struct Around(Option<Vec<Vec<RosterIndex>>>);

impl Around {
    pub(super) fn complete() -> Self {
        Self(None)
    }

    fn drawn(core: &Core, root: &Digest) -> Self {
        // The floors have a degree that there is.
        let graph = Neighbours::drawn(&core.plan, root).unwrap_or(Neighbours::Complete);
        Self(core.cohort().map(|index| graph.around(index)).collect())
    }

    /// A client's neighbours; none where everybody is one.
    pub(super) fn of(&self, client: RosterIndex) -> Option<&[RosterIndex]> {
        let around = self.0.as_ref()?;
        Some(around.get(usize::from(client.0)).map_or(&[], Vec::as_slice))
    }

    /// Whether two different clients are neighbours.
    pub(super) fn holds(&self, one: RosterIndex, other: RosterIndex) -> bool {
        one != other && self.of(one).is_none_or(|around| around.binary_search(&other).is_ok())
    }

    /// In a sparse graph: how many neighbours the loneliest of some clients has `among` others, and
    /// how many it needs, where it has fewer. It refuses to go on then, and its seeds would stay
    /// unknown: no sum comes of the round.
    pub(super) fn lacks(
        &self,
        core: &Core,
        clients: &[RosterIndex],
        among: &[RosterIndex],
    ) -> Option<(usize, u16)> {
        let is_there = |index: &&RosterIndex| among.binary_search(index).is_ok();
        let around = clients.iter().filter_map(|index| self.of(*index));
        let fewest = around.map(|around| around.iter().filter(is_there).count()).min()?;
        let required = core.floors.neighbours_min();
        (fewest < usize::from(required)).then_some((fewest, required))
    }

    /// Where a holder's shares lie on a dealer's polynomials.
    pub(super) fn place(&self, dealer: RosterIndex, holder: RosterIndex) -> Option<u16> {
        place(self.of(dealer), holder)
    }

    /// Whether a client holds shares of a dealer: of everybody, itself included, in a complete
    /// graph, and of its neighbours in a sparse one.
    pub(super) fn has_shares(&self, holder: RosterIndex, dealer: RosterIndex) -> bool {
        self.of(holder).is_none_or(|around| around.binary_search(&dealer).is_ok())
    }
}
