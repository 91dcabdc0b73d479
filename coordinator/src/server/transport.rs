//! The seam between messages and the network: a connection is something with streams.
//!
//! QUIC ([`super::quic`]) is the one implementation; where a site blocks UDP, the same frames can
//! go over TLS on TCP behind these traits.

use std::net::SocketAddr;

use async_trait::async_trait;
use bytes::Bytes;
use roundelay_protocol::close::CloseCode;
use rustls::pki_types::CertificateDer;

/// One authenticated and encrypted connection with a client.
#[async_trait]
pub trait Connection: Send + Sync {
    /// The peer's address, for logs and quotas; it may change during the connection's life.
    fn remote(&self) -> SocketAddr;

    /// The application protocol that the handshake agreed on.
    fn protocol(&self) -> Vec<u8>;

    /// The peer's certificate, verified by the handshake against the authority; none if the peer
    /// showed none.
    fn certificate(&self) -> Option<CertificateDer<'static>>;

    /// The next bidirectional stream that the peer opens.
    async fn accept_bi(&self) -> Result<(Box<dyn Outgoing>, Box<dyn Incoming>), Lost>;

    /// The next unidirectional stream that the peer opens.
    async fn accept_uni(&self) -> Result<Box<dyn Incoming>, Lost>;

    /// A unidirectional stream to the peer.
    async fn open_uni(&self) -> Result<Box<dyn Outgoing>, Lost>;

    /// Unidirectional streams that the peer may have open at a time from now on; none at first.
    fn allow_streams(&self, streams: u32);

    /// Bytes that the peer may have in flight from now on.
    fn allow_in_flight(&self, bytes: u32);

    /// Closes the connection with a code and a sentence for people. The first call counts.
    fn close(&self, code: CloseCode, reason: &str);

    /// Returns when the connection is gone, and why.
    async fn closed(&self) -> Lost;
}

/// A stream to the peer.
#[async_trait]
pub trait Outgoing: Send {
    /// Sends bytes behind those before; waits while the peer does not read.
    async fn write(&mut self, bytes: Bytes) -> Result<(), Lost>;

    /// Nothing more will be written.
    fn finish(&mut self);

    /// Breaks off: the peer learns that what it has is not all.
    fn abandon(&mut self, code: CloseCode);

    /// Goes before streams of a lower priority; all have 0 at first.
    fn prioritise(&mut self, priority: i32);

    /// Waits until the peer has everything, or has gone.
    async fn delivered(&mut self);
}

/// A stream from the peer.
#[async_trait]
pub trait Incoming: Send {
    /// The next bytes, `None` at the end.
    async fn read(&mut self) -> Result<Option<Bytes>, Lost>;

    /// Tells the peer to stop sending; what is under way is dropped.
    fn stop(&mut self, code: CloseCode);
}

/// A stream or its connection has gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Lost {
    /// The code with which the peer closed, if it did and it is known.
    pub code: Option<CloseCode>,
    /// What the transport says, on one line.
    pub reason: String,
    /// The peer takes no more of this one stream; its connection lives on.
    pub stopped: bool,
}
