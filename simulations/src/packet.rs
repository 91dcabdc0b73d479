//! What travels between a client and the coordinator: the messages of `protocol::session`, with
//! rosters whole and vectors in pieces.

use std::sync::Arc;

use roundelay_protocol::ids::RoundNumber;
use roundelay_protocol::message::{self, FromClient};
use roundelay_protocol::session::{ToClient, ToCoordinator, VectorKind};

use crate::network::Lane;

mod wire;

pub use wire::{Frames, WireError};

/// One thing on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// A control frame or roster of a client.
    Up(ToCoordinator),
    /// A piece of a masked vector.
    Piece(Piece),
    /// A control frame or roster of the coordinator.
    Down(ToClient),
    /// A whole vector: of the coordinator, or a state that a client gives back.
    Vector(VectorKind, Arc<[u8]>),
}

/// A piece of a masked vector on its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The stream.
    pub stream: u64,
    /// The round.
    pub round: RoundNumber,
    /// Length of the whole vector.
    pub bytes_total: u64,
    /// This piece.
    pub words: Vec<u8>,
    /// Whether the client says that this was all.
    pub is_last: bool,
}

impl Packet {
    /// The order that it keeps. The session puts rosters into the order of their round; shares and
    /// vectors have streams of their own.
    #[must_use]
    pub fn lane(&self, fresh_stream: u64) -> Lane {
        match self {
            Self::Up(ToCoordinator::Round { message: FromClient::Shares(_), .. }) => {
                Lane::Stream(fresh_stream)
            }
            Self::Up(_) => Lane::Control(None),
            Self::Piece(piece) => Lane::Stream(piece.stream),
            Self::Down(ToClient::Round { round, message, .. }) if is_roster(message) => {
                Lane::Announced(*round)
            }
            Self::Down(ToClient::Round { round, .. }) => Lane::Control(Some(*round)),
            Self::Down(_) => Lane::Control(None),
            Self::Vector(..) => Lane::Stream(fresh_stream),
        }
    }

    /// About how long it is on the wire.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Up(ToCoordinator::Round { message, .. }) => match message {
                FromClient::Advert(_) => 2_600,
                FromClient::Shares(shares) => 2_300 * shares.leaves.len() as u64,
                FromClient::Reveal(reveal) => {
                    32 * (reveal.self_mask_shares.len() + reveal.key_shares.len()) as u64
                }
                _ => 120,
            },
            Self::Up(_) => 200,
            Self::Piece(piece) => piece.words.len() as u64,
            Self::Down(ToClient::Round { message, .. }) => match message {
                message::ToClient::Adverts(roster) => 2_600 * roster.adverts.len() as u64,
                message::ToClient::Boxes(roster) => {
                    2_600 * roster.boxes.len() as u64 + 34 * roster.others.len() as u64
                }
                message::ToClient::Listing(listing) => 66 * listing.adverts.len() as u64,
                message::ToClient::Beacon(beacon) => 34 * beacon.nonces.len() as u64,
                message::ToClient::Quorum(quorum) => 66 * quorum.signatures.len() as u64,
                message::ToClient::SurvivorSet(set) => 34 * set.inputs.len() as u64,
                _ => 300,
            },
            Self::Down(_) => 200,
            Self::Vector(_, words) => words.len() as u64,
        }
    }
}

fn is_roster(message: &message::ToClient) -> bool {
    matches!(
        message,
        message::ToClient::Listing(_)
            | message::ToClient::Beacon(_)
            | message::ToClient::Adverts(_)
            | message::ToClient::Boxes(_)
            | message::ToClient::Quorum(_)
            | message::ToClient::SurvivorSet(_)
    )
}
