//! Packets as bytes and back: through the real codec with its limits, rosters frame by frame.

use roundelay_protocol::codec::{self, DecodeError, FrameReader, OversizedFrame};
use roundelay_protocol::ids::{FederationId, RoundNumber};
use roundelay_protocol::limits::{FRAME_BYTES_MAX, FRAME_BYTES_PREAUTH_MAX, ROSTER_ITEM_BYTES_MAX};
use roundelay_protocol::session::{
    Assembler, Roster, RosterError, StreamHeader, ToClient, ToCoordinator,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Packet;

/// Why a packet does not survive the wire. Whoever made it is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// It does not fit into a frame.
    #[error("it does not fit into a frame")]
    Oversized,
    /// Its bytes do not decode.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Its frames are no roster.
    #[error(transparent)]
    Roster(#[from] RosterError),
    /// It came back as something else.
    #[error("it came back as something else")]
    Changed,
}

impl From<OversizedFrame> for WireError {
    fn from(_: OversizedFrame) -> Self {
        Self::Oversized
    }
}

/// A message as it lies on its stream.
#[derive(Debug)]
pub enum Frames {
    /// One frame of the control stream.
    Control(Vec<u8>),
    /// A stream of its own, frame by frame.
    Roster(Vec<Vec<u8>>),
}

impl Frames {
    /// What the coordinator writes.
    ///
    /// # Errors
    /// It does not fit.
    pub fn of_coordinator(message: ToClient) -> Result<Self, WireError> {
        let ToClient::Round { federation, round, message } = message else {
            return Self::control(&message);
        };
        match Roster::from_coordinator(message) {
            Ok(roster) => Self::roster(&roster, federation, round),
            Err(message) => Self::control(&ToClient::Round { federation, round, message }),
        }
    }

    /// What a client writes.
    ///
    /// # Errors
    /// It does not fit.
    pub fn of_client(message: ToCoordinator) -> Result<Self, WireError> {
        let ToCoordinator::Round { federation, round, message } = message else {
            return Self::control(&message);
        };
        match Roster::from_client(message) {
            Ok(roster) => Self::roster(&roster, federation, round),
            Err(message) => Self::control(&ToCoordinator::Round { federation, round, message }),
        }
    }

    /// Its length.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Control(frame) => frame.len() as u64,
            Self::Roster(frames) => frames.iter().map(|frame| frame.len() as u64).sum(),
        }
    }

    /// What a client reads.
    ///
    /// # Errors
    /// It is no message of the coordinator.
    pub fn read_by_client(&self) -> Result<ToClient, WireError> {
        let frames = match self {
            Self::Control(frame) => return Ok(codec::decode(&unframed(frame)?, FRAME_BYTES_MAX)?),
            Self::Roster(frames) => frames,
        };
        let (federation, round, roster) = assembled(frames)?;
        let message = roster.into_to_client().ok_or(WireError::Changed)?;
        Ok(ToClient::Round { federation, round, message })
    }

    /// What the coordinator reads.
    ///
    /// # Errors
    /// It is no message of a client.
    pub fn read_by_coordinator(&self) -> Result<ToCoordinator, WireError> {
        let frames = match self {
            Self::Control(frame) => return Ok(codec::decode(&unframed(frame)?, FRAME_BYTES_MAX)?),
            Self::Roster(frames) => frames,
        };
        let (federation, round, roster) = assembled(frames)?;
        let message = roster.into_from_client().ok_or(WireError::Changed)?;
        Ok(ToCoordinator::Round { federation, round, message })
    }

    fn control<T: Serialize + DeserializeOwned>(message: &T) -> Result<Self, WireError> {
        Ok(Self::Control(codec::frame(&codec::encode(message), FRAME_BYTES_MAX)?))
    }

    fn roster(
        roster: &Roster,
        federation: FederationId,
        round: RoundNumber,
    ) -> Result<Self, WireError> {
        Ok(Self::Roster(roster.to_frames(federation, round)?))
    }
}

impl Packet {
    /// The packet as its receiver reads it. Raw vectors are bytes already.
    ///
    /// # Errors
    /// It does not survive.
    pub fn over_the_wire(self) -> Result<Self, WireError> {
        let sent = self.clone();
        let read = match self {
            Self::Up(message) => Self::Up(Frames::of_client(message)?.read_by_coordinator()?),
            Self::Down(message) => Self::Down(Frames::of_coordinator(message)?.read_by_client()?),
            vector @ (Self::Piece(_) | Self::Vector(..)) => return Ok(vector),
        };
        if read == sent { Ok(read) } else { Err(WireError::Changed) }
    }
}

fn assembled(frames: &[Vec<u8>]) -> Result<(FederationId, RoundNumber, Roster), WireError> {
    let (header, items) = frames.split_first().ok_or(WireError::Changed)?;
    let header = codec::decode(&unframed(header)?, FRAME_BYTES_PREAUTH_MAX)?;
    let StreamHeader::Roster { federation, round, kind, items: announced } = header else {
        return Err(WireError::Changed);
    };
    let mut assembler = Assembler::new(kind, announced)?;
    for item in items {
        assembler.push(&unframed(item)?)?;
    }
    Ok((federation, round, assembler.finish()?))
}

/// The body of one whole frame.
fn unframed(frame: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut reader = FrameReader::new(FRAME_BYTES_MAX.max(ROSTER_ITEM_BYTES_MAX));
    reader.read(&mut &*frame)?.ok_or(WireError::Changed)
}
