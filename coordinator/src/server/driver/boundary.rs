//! What the driver and the connections ask of each other: an outbox per connection, bytes that
//! come in, and vectors that go out.

use async_trait::async_trait;
use bytes::Bytes;
use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::{FederationId, RoundNumber};
use roundelay_protocol::message;
use roundelay_protocol::session::{self, StreamHeader};

use crate::blobs::{BlobReader, Shelf};
use crate::store::StoreError;

/// Where messages to one client go: the queue of its connection. No call ever waits; `false` says
/// that the queue is full or the connection gone, and then the connection is closed: the client
/// comes back and is sent again what its stage waits for.
///
/// Messages of one round leave in the order of the calls, rosters and vectors included: a roster is
/// announced on the control stream at its place.
pub trait Outbox: Send + Sync {
    /// A control frame.
    fn send(&self, message: session::ToClient) -> bool;

    /// A message of a round that travels as a roster stream.
    fn roster(
        &self,
        federation: FederationId,
        round: RoundNumber,
        message: message::ToClient,
    ) -> bool;

    /// A vector on a stream of its own.
    fn vector(&self, header: StreamHeader, source: VectorSource) -> bool;

    /// Closes the connection: its client has to connect again.
    fn close(&self);
}

/// The bytes of an upload as they come in.
#[async_trait]
pub trait ChunkSource: Send {
    /// The next bytes, of any length; `None` where the client says that this was all.
    ///
    /// # Errors
    /// The stream or its connection is gone.
    async fn next(&mut self) -> Result<Option<Bytes>, SourceGone>;
}

/// The stream of an upload is gone before its end. Nobody's fault: the client may begin again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream of the upload is gone")]
pub struct SourceGone;

/// A vector on its way out. Its bytes are shared by all who get them, or come from a blob.
pub struct VectorSource {
    bytes: u64,
    from: From,
}

enum From {
    Memory(Bytes),
    /// Opened with the first bytes.
    Shelf(Shelf, Digest),
    Blob(Box<BlobReader>),
}

/// Bytes of a vector that are handed out at a time.
const PIECE_BYTES: usize = 256 << 10;

impl VectorSource {
    /// Bytes in memory, shared and not copied.
    #[must_use]
    pub fn from_memory(bytes: Bytes) -> Self {
        Self { bytes: bytes.len() as u64, from: From::Memory(bytes) }
    }

    /// The content of a blob of so many bytes, which is opened when its turn comes.
    #[must_use]
    pub fn from_shelf(shelf: Shelf, blob: Digest, bytes: u64) -> Self {
        Self { bytes, from: From::Shelf(shelf, blob) }
    }

    /// The content of a blob.
    #[must_use]
    pub fn from_blob(reader: BlobReader) -> Self {
        Self { bytes: reader.bytes(), from: From::Blob(Box::new(reader)) }
    }

    /// Its length in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next bytes; none after the last.
    ///
    /// # Errors
    /// The blob can't be read.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        if let From::Shelf(shelf, blob) = &self.from {
            self.from = From::Blob(Box::new(shelf.get(*blob).await?));
        }
        match &mut self.from {
            From::Shelf(..) => Ok(None),
            From::Memory(rest) if rest.is_empty() => Ok(None),
            From::Memory(rest) => Ok(Some(rest.split_to(PIECE_BYTES.min(rest.len())))),
            From::Blob(reader) => reader.next().await,
        }
    }
}

impl std::fmt::Debug for VectorSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VectorSource({} bytes)", self.bytes)
    }
}
