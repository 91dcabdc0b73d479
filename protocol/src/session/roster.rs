//! Rosters on the wire: a list with one entry per client goes over a stream of its own, one entry
//! per frame, and is put together again under a limit on each entry and on their number.

use std::sync::Arc;

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::Signature;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{RosterKind, StreamHeader};
use crate::codec::{DecodeError, OversizedFrame, decode, encode, frame};
use crate::ids::{FederationId, RosterIndex, RoundNumber};
use crate::limits::{COHORT_MAX, FRAME_BYTES_MAX, ROSTER_ITEM_BYTES_MAX};
use crate::message::{
    AdvertRoster, Beacon, BoxDelivery, BoxRoster, FromClient, Listing, Quorum, ShareRoster,
    SurvivorSet, ToClient,
};

/// A message with one entry per client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roster {
    /// Coordinator to client.
    Adverts(Arc<AdvertRoster>),
    /// Client to coordinator.
    Shares(Arc<ShareRoster>),
    /// Coordinator to client.
    Boxes(Arc<BoxRoster>),
    /// Coordinator to client.
    Quorum(Arc<Quorum>),
    /// Coordinator to client.
    SurvivorSet(Arc<SurvivorSet>),
    /// Coordinator to client.
    Listing(Arc<Listing>),
    /// Coordinator to client.
    Beacon(Arc<Beacon>),
}

/// An entry of a [`BoxRoster`] on its stream.
#[derive(Serialize, Deserialize)]
enum BoxEntry<B> {
    /// A neighbour's box.
    Delivery(B),
    /// The root of a member of U2 that is no neighbour.
    Other(RosterIndex, Digest),
}

/// Why frames are not a roster. The sender is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RosterError {
    /// More entries announced than a cohort has.
    #[error("a roster of {items} entries, at most {max} are possible")]
    TooManyItems {
        /// Entries announced.
        items: u32,
        /// The most that are possible.
        max: u32,
    },
    /// An entry after the last that was announced.
    #[error("more entries than the {0} announced")]
    MoreThanAnnounced(u32),
    /// The stream ended early.
    #[error("{read} entries of {items} announced")]
    Incomplete {
        /// Entries read.
        read: u32,
        /// Entries announced.
        items: u32,
    },
    /// An entry that does not decode.
    #[error("entry {index}: {error}")]
    BadItem {
        /// Its number, from 0.
        index: u32,
        /// Why.
        error: DecodeError,
    },
}

impl Roster {
    /// What its entries are.
    #[must_use]
    pub fn kind(&self) -> RosterKind {
        match self {
            Self::Adverts(_) => RosterKind::Adverts,
            Self::Shares(_) => RosterKind::Shares,
            Self::Boxes(_) => RosterKind::Boxes,
            Self::Quorum(_) => RosterKind::Quorum,
            Self::SurvivorSet(_) => RosterKind::SurvivorSet,
            Self::Listing(_) => RosterKind::Listing,
            Self::Beacon(_) => RosterKind::Beacon,
        }
    }

    /// The roster in a message to a client, or the message back where it travels as one frame.
    pub fn from_coordinator(message: ToClient) -> Result<Self, ToClient> {
        match message {
            ToClient::Adverts(roster) => Ok(Self::Adverts(roster)),
            ToClient::Boxes(roster) => Ok(Self::Boxes(roster)),
            ToClient::Quorum(roster) => Ok(Self::Quorum(roster)),
            ToClient::SurvivorSet(roster) => Ok(Self::SurvivorSet(roster)),
            ToClient::Listing(roster) => Ok(Self::Listing(roster)),
            ToClient::Beacon(roster) => Ok(Self::Beacon(roster)),
            other => Err(other),
        }
    }

    /// The roster in a message of a client, or the message back where it travels as one frame.
    pub fn from_client(message: FromClient) -> Result<Self, FromClient> {
        match message {
            FromClient::Shares(roster) => Ok(Self::Shares(roster)),
            other => Err(other),
        }
    }

    /// The message to a client; `None` for a roster that only clients send.
    #[must_use]
    pub fn into_to_client(self) -> Option<ToClient> {
        match self {
            Self::Adverts(roster) => Some(ToClient::Adverts(roster)),
            Self::Boxes(roster) => Some(ToClient::Boxes(roster)),
            Self::Quorum(roster) => Some(ToClient::Quorum(roster)),
            Self::SurvivorSet(roster) => Some(ToClient::SurvivorSet(roster)),
            Self::Listing(roster) => Some(ToClient::Listing(roster)),
            Self::Beacon(roster) => Some(ToClient::Beacon(roster)),
            Self::Shares(_) => None,
        }
    }

    /// The message of a client; `None` for a roster that only the coordinator sends.
    #[must_use]
    pub fn into_from_client(self) -> Option<FromClient> {
        match self {
            Self::Shares(roster) => Some(FromClient::Shares(roster)),
            _ => None,
        }
    }

    /// The stream that carries it: the header's frame, then one frame per entry.
    pub fn to_frames(
        &self,
        federation: FederationId,
        round: RoundNumber,
    ) -> Result<Vec<Vec<u8>>, OversizedFrame> {
        self.frames(federation, round).collect()
    }

    /// The frames of [`to_frames`](Self::to_frames) one by one, so that nobody holds them all: a
    /// coordinator sends rosters of a megabyte to every client of a large cohort at once.
    pub fn frames(
        &self,
        federation: FederationId,
        round: RoundNumber,
    ) -> impl Iterator<Item = Result<Vec<u8>, OversizedFrame>> + Send + '_ {
        let items = u32::try_from(self.item_count()).unwrap_or(u32::MAX);
        let header = StreamHeader::Roster { federation, round, kind: self.kind(), items };
        let header = frame(&encode(&header), FRAME_BYTES_MAX);
        let items = (0..self.item_count()).filter_map(|index| self.item(index));
        std::iter::once(header).chain(items.map(|item| frame(&item, ROSTER_ITEM_BYTES_MAX)))
    }

    fn item_count(&self) -> usize {
        match self {
            Self::Adverts(roster) => roster.adverts.len(),
            Self::Boxes(roster) => roster.boxes.len().saturating_add(roster.others.len()),
            Self::Quorum(roster) => roster.signatures.len(),
            Self::SurvivorSet(roster) => roster.inputs.len(),
            Self::Listing(roster) => roster.adverts.len(),
            Self::Beacon(roster) => roster.nonces.len(),
            Self::Shares(roster) => roster.leaves.len().saturating_add(1),
        }
    }

    fn item(&self, index: usize) -> Option<Vec<u8>> {
        match self {
            Self::Adverts(roster) => roster.adverts.get(index).map(encode),
            Self::Boxes(roster) => match index.checked_sub(roster.boxes.len()) {
                None => roster.boxes.get(index).map(|it| encode(&BoxEntry::Delivery(it))),
                Some(other) => roster
                    .others
                    .get(other)
                    .map(|(index, root)| encode(&BoxEntry::<&BoxDelivery>::Other(*index, *root))),
            },
            Self::Quorum(roster) => roster.signatures.get(index).map(encode),
            Self::SurvivorSet(roster) => roster.inputs.get(index).map(encode),
            Self::Listing(roster) => roster.adverts.get(index).map(encode),
            Self::Beacon(roster) => roster.nonces.get(index).map(encode),
            Self::Shares(roster) => match index.checked_sub(1) {
                None => Some(encode(&(&roster.root, &roster.signature))),
                Some(leaf) => roster.leaves.get(leaf).map(encode),
            },
        }
    }
}

/// Puts a roster together from the frames behind a [`StreamHeader::Roster`]. It holds at most as
/// many entries as were announced, none above [`ROSTER_ITEM_BYTES_MAX`], and never more than a
/// cohort has.
#[derive(Debug)]
pub struct Assembler {
    items: u32,
    read: u32,
    roster: Roster,
    /// A share roster's root and signature come first.
    head: bool,
}

impl Assembler {
    /// An assembler for what a header announced.
    pub fn new(kind: RosterKind, items: u32) -> Result<Self, RosterError> {
        let (roster, head) = empty(kind);
        let max = u32::try_from(COHORT_MAX).unwrap_or(u32::MAX).saturating_add(head.into());
        if items > max {
            return Err(RosterError::TooManyItems { items, max });
        }
        if items < u32::from(head) {
            return Err(RosterError::Incomplete { read: 0, items: 1 });
        }
        Ok(Self { items, read: 0, roster, head })
    }

    /// Takes the next frame's body.
    pub fn push(&mut self, item: &[u8]) -> Result<(), RosterError> {
        if self.is_complete() {
            return Err(RosterError::MoreThanAnnounced(self.items));
        }
        self.take(item).map_err(|error| RosterError::BadItem { index: self.read, error })?;
        self.read += 1;
        Ok(())
    }

    fn take(&mut self, item: &[u8]) -> Result<(), DecodeError> {
        match &mut self.roster {
            // Nobody else holds the roster yet, so nothing is cloned.
            Roster::Adverts(roster) => Arc::make_mut(roster).adverts.push(entry(item)?),
            Roster::Boxes(roster) => {
                let roster = Arc::make_mut(roster);
                match entry(item)? {
                    BoxEntry::Delivery(delivery) => roster.boxes.push(delivery),
                    BoxEntry::Other(index, root) => roster.others.push((index, root)),
                }
            }
            Roster::Quorum(roster) => Arc::make_mut(roster).signatures.push(entry(item)?),
            Roster::SurvivorSet(roster) => Arc::make_mut(roster).inputs.push(entry(item)?),
            Roster::Listing(roster) => Arc::make_mut(roster).adverts.push(entry(item)?),
            Roster::Beacon(roster) => Arc::make_mut(roster).nonces.push(entry(item)?),
            Roster::Shares(roster) if std::mem::take(&mut self.head) => {
                let roster = Arc::make_mut(roster);
                (roster.root, roster.signature) = entry(item)?;
            }
            Roster::Shares(roster) => Arc::make_mut(roster).leaves.push(entry(item)?),
        }
        Ok(())
    }

    /// Whether everything that was announced is there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.read == self.items
    }

    /// The roster, once it is complete.
    pub fn finish(self) -> Result<Roster, RosterError> {
        if self.is_complete() {
            Ok(self.roster)
        } else {
            Err(RosterError::Incomplete { read: self.read, items: self.items })
        }
    }
}

fn entry<T: DeserializeOwned>(item: &[u8]) -> Result<T, DecodeError> {
    decode(item, ROSTER_ITEM_BYTES_MAX)
}

/// An empty roster of a kind, and whether a head comes before its entries.
fn empty(kind: RosterKind) -> (Roster, bool) {
    match kind {
        RosterKind::Adverts => (Roster::Adverts(AdvertRoster { adverts: vec![] }.into()), false),
        RosterKind::Boxes => {
            (Roster::Boxes(BoxRoster { boxes: vec![], others: vec![] }.into()), false)
        }
        RosterKind::Listing => (Roster::Listing(Listing { adverts: vec![] }.into()), false),
        RosterKind::Beacon => (Roster::Beacon(Beacon { nonces: vec![] }.into()), false),
        RosterKind::Quorum => (Roster::Quorum(Quorum { signatures: vec![] }.into()), false),
        RosterKind::SurvivorSet => {
            (Roster::SurvivorSet(SurvivorSet { inputs: vec![] }.into()), false)
        }
        RosterKind::Shares => {
            // Replaced by the head, without which the roster never completes.
            let (root, signature) = (Digest([0; 32]), Signature([0; 64]));
            (Roster::Shares(ShareRoster { root, signature, leaves: vec![] }.into()), true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::FrameReader;
    use crate::fixtures::wire;

    fn federation() -> FederationId {
        FederationId([7; 16])
    }

    fn read(frames: &[Vec<u8>]) -> Result<Roster, RosterError> {
        let bodies: Vec<_> = frames
            .iter()
            .map(|frame| {
                let mut reader = FrameReader::new(FRAME_BYTES_MAX);
                reader.read(&mut frame.as_slice()).unwrap().unwrap()
            })
            .collect();
        let StreamHeader::Roster { kind, items, .. } = decode(&bodies[0], 4096).unwrap() else {
            panic!("a roster's stream starts with its header")
        };
        let mut assembler = Assembler::new(kind, items)?;
        bodies[1..].iter().try_for_each(|item| assembler.push(item))?;
        assembler.finish()
    }

    #[test]
    fn a_roster_survives_its_stream_and_a_cut_one_is_refused() {
        for roster in wire::rosters() {
            let frames = roster.to_frames(federation(), RoundNumber(3)).unwrap();
            assert!(frames.iter().skip(1).all(|frame| frame.len() <= 4 + ROSTER_ITEM_BYTES_MAX));
            assert_eq!(read(&frames), Ok(roster));
            let cut = read(&frames[..frames.len() - 1]);
            assert!(matches!(cut, Err(RosterError::Incomplete { .. })), "{cut:?}");
            let doubled = [frames.clone(), frames[frames.len() - 1..].to_vec()].concat();
            assert!(matches!(read(&doubled), Err(RosterError::MoreThanAnnounced(_))));
        }
    }

    #[test]
    fn a_roster_without_entries_is_one() {
        let roster = Roster::Quorum(Quorum { signatures: vec![] }.into());
        assert_eq!(read(&roster.to_frames(federation(), RoundNumber(0)).unwrap()), Ok(roster));
        assert!(Assembler::new(RosterKind::Shares, 0).is_err());
    }

    #[test]
    fn more_entries_than_a_cohort_has_are_refused_before_the_first() {
        let cohort = u32::try_from(COHORT_MAX).unwrap();
        assert!(Assembler::new(RosterKind::Adverts, cohort).is_ok());
        assert!(Assembler::new(RosterKind::Adverts, cohort + 1).is_err());
        assert!(Assembler::new(RosterKind::Shares, cohort + 1).is_ok());
        assert!(Assembler::new(RosterKind::Shares, cohort + 2).is_err());
    }

    #[test]
    fn an_entry_that_is_too_long_or_does_not_decode_is_named() {
        let mut assembler = Assembler::new(RosterKind::Quorum, 2).unwrap();
        let long = assembler.push(&vec![0; ROSTER_ITEM_BYTES_MAX + 1]);
        assert!(matches!(long, Err(RosterError::BadItem { index: 0, .. })));
        assert!(assembler.push(&[1, 2, 3]).is_err());
        assert!(assembler.push(&[0; 66]).is_ok() && assembler.push(&[0; 66]).is_ok());
        assert!(assembler.finish().is_ok());
    }

    #[test]
    fn only_rosters_travel_as_rosters() {
        for roster in wire::rosters() {
            let back = match roster.clone().into_to_client() {
                Some(message) => Roster::from_coordinator(message).ok(),
                None => roster.clone().into_from_client().and_then(|m| Roster::from_client(m).ok()),
            };
            assert_eq!(back, Some(roster));
        }
        assert_eq!(Roster::from_coordinator(ToClient::ResendInput), Err(ToClient::ResendInput));
    }
}
