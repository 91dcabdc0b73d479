//! What a connection and the driver know of each other: the queue through which the driver speaks
//! to a client, and big vectors in either direction as pieces, moved and never held whole.

use async_trait::async_trait;
use bytes::Bytes;
use roundelay_protocol::ids::{FederationId, RoundNumber};
use roundelay_protocol::message;
use roundelay_protocol::session::{Roster, StreamHeader, ToClient};

use crate::store::StoreError;

/// The way to one client. Nothing here waits: `false` says that the queue is full or the
/// connection gone, and the connection is then closed.
pub trait Outbox: Send + Sync {
    /// A control frame.
    fn send(&self, message: ToClient) -> bool;

    /// A roster: announced among the control frames, carried by a stream of its own.
    fn roster(&self, federation: FederationId, round: RoundNumber, roster: Roster) -> bool;

    /// A vector on a stream of its own, behind its header.
    fn vector(&self, header: StreamHeader, source: VectorSource) -> bool;

    /// A message of a round, as a roster or as a control frame, whichever it travels as.
    fn round(
        &self,
        federation: FederationId,
        round: RoundNumber,
        message: message::ToClient,
    ) -> bool {
        match Roster::from_coordinator(message) {
            Ok(roster) => self.roster(federation, round, roster),
            Err(message) => self.send(ToClient::Round { federation, round, message }),
        }
    }
}

/// A vector that comes in: pieces of any length.
#[async_trait]
pub trait ChunkSource: Send {
    /// The next piece; `None` when the stream has ended, stalled or broken off. Whether all of it
    /// came is for the receiver to count.
    async fn next(&mut self) -> Option<Bytes>;
}

/// A vector that goes out.
pub type VectorSource = Box<dyn Vector>;

/// Pieces of a vector, from a blob or from memory.
#[async_trait]
pub trait Vector: Send {
    /// Length of the whole.
    fn bytes(&self) -> u64;

    /// The next piece, `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError>;
}

/// A vector that is in memory.
pub struct InMemory {
    bytes: u64,
    left: Option<Bytes>,
}

impl InMemory {
    /// A vector of these bytes.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes: bytes.len() as u64, left: Some(bytes) }
    }
}

#[async_trait]
impl Vector for InMemory {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        Ok(self.left.take().filter(|left| !left.is_empty()))
    }
}
