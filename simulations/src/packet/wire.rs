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

impl Packet {
    /// The packet as its receiver reads it. Raw vectors are bytes already.
    ///
    /// # Errors
    /// It does not survive.
    pub fn over_the_wire(self) -> Result<Self, WireError> {
        match self {
            Self::Up(ToCoordinator::Round { federation, round, message }) => {
                let message = match Roster::from_client(message) {
                    Ok(roster) => {
                        let read = roster_again(&roster, federation, round)?;
                        read.into_from_client().ok_or(WireError::Changed)?
                    }
                    Err(message) => control_again(&message)?,
                };
                Ok(Self::Up(ToCoordinator::Round { federation, round, message }))
            }
            Self::Down(ToClient::Round { federation, round, message }) => {
                let message = match Roster::from_coordinator(message) {
                    Ok(roster) => {
                        let read = roster_again(&roster, federation, round)?;
                        read.into_to_client().ok_or(WireError::Changed)?
                    }
                    Err(message) => control_again(&message)?,
                };
                Ok(Self::Down(ToClient::Round { federation, round, message }))
            }
            Self::Up(message) => Ok(Self::Up(control_again(&message)?)),
            Self::Down(message) => Ok(Self::Down(control_again(&message)?)),
            vector @ (Self::Piece(_) | Self::Vector(..)) => Ok(vector),
        }
    }
}

fn control_again<T: Serialize + DeserializeOwned>(message: &T) -> Result<T, WireError> {
    let frame = codec::frame(&codec::encode(message), FRAME_BYTES_MAX)?;
    Ok(codec::decode(&unframed(&frame)?, FRAME_BYTES_MAX)?)
}

fn roster_again(
    roster: &Roster,
    federation: FederationId,
    round: RoundNumber,
) -> Result<Roster, WireError> {
    let frames = roster.to_frames(federation, round)?;
    let (header, items) = frames.split_first().ok_or(WireError::Changed)?;
    let header = codec::decode(&unframed(header)?, FRAME_BYTES_PREAUTH_MAX)?;
    let StreamHeader::Roster { kind, items: announced, .. } = header else {
        return Err(WireError::Changed);
    };
    let mut assembler = Assembler::new(kind, announced)?;
    for item in items {
        assembler.push(&unframed(item)?)?;
    }
    let read = assembler.finish()?;
    if read == *roster { Ok(read) } else { Err(WireError::Changed) }
}

/// The body of one whole frame.
fn unframed(frame: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut reader = FrameReader::new(FRAME_BYTES_MAX.max(ROSTER_ITEM_BYTES_MAX));
    reader.read(&mut &*frame)?.ok_or(WireError::Changed)
}
