//! Connections over QUIC (RFC 9000), by quinn.

use std::net::SocketAddr;

use async_trait::async_trait;
use bytes::Bytes;
use quinn::crypto::rustls::HandshakeData;
use quinn::{ConnectionError, ReadError, VarInt, WriteError};
use roundelay_protocol::close::CloseCode;
use rustls::pki_types::CertificateDer;

use super::transport::{Connection, Incoming, Lost, Outgoing};

/// Most that one read hands out; a piece is what arrived in one datagram or several.
const READ_BYTES_MAX: usize = 64 << 10;

/// A QUIC connection after its handshake.
pub struct QuicConnection(pub(super) quinn::Connection);

#[async_trait]
impl Connection for QuicConnection {
    fn remote(&self) -> SocketAddr {
        self.0.remote_address()
    }

    fn protocol(&self) -> Vec<u8> {
        let data = self.0.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
        data.and_then(|data| data.protocol).unwrap_or_default()
    }

    fn certificate(&self) -> Option<CertificateDer<'static>> {
        let chain = self.0.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
        chain.into_iter().next()
    }

    async fn accept_bi(&self) -> Result<(Box<dyn Outgoing>, Box<dyn Incoming>), Lost> {
        let (send, receive) = self.0.accept_bi().await?;
        Ok((Box::new(QuicOutgoing(send)), Box::new(QuicIncoming(receive))))
    }

    async fn accept_uni(&self) -> Result<Box<dyn Incoming>, Lost> {
        Ok(Box::new(QuicIncoming(self.0.accept_uni().await?)))
    }

    async fn open_uni(&self) -> Result<Box<dyn Outgoing>, Lost> {
        Ok(Box::new(QuicOutgoing(self.0.open_uni().await?)))
    }

    fn allow_streams(&self, streams: u32) {
        self.0.set_max_concurrent_uni_streams(streams.into());
    }

    fn allow_in_flight(&self, bytes: u32) {
        self.0.set_receive_window(bytes.into());
    }

    fn close(&self, code: CloseCode, reason: &str) {
        self.0.close(wire(code), reason.as_bytes());
    }

    async fn closed(&self) -> Lost {
        self.0.closed().await.into()
    }
}

struct QuicOutgoing(quinn::SendStream);

#[async_trait]
impl Outgoing for QuicOutgoing {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Lost> {
        Ok(self.0.write_chunk(bytes).await?)
    }

    fn finish(&mut self) {
        // An error says that the stream is closed already, which is what is wanted.
        let _ = self.0.finish();
    }

    fn abandon(&mut self, code: CloseCode) {
        // As above.
        let _ = self.0.reset(wire(code));
    }

    fn prioritise(&mut self, priority: i32) {
        // As above: a closed stream needs no priority.
        let _ = self.0.set_priority(priority);
    }

    async fn delivered(&mut self) {
        // Delivered, stopped by the peer, or lost with the connection: nothing is left to wait for.
        let _ = self.0.stopped().await;
    }
}

struct QuicIncoming(quinn::RecvStream);

#[async_trait]
impl Incoming for QuicIncoming {
    async fn read(&mut self) -> Result<Option<Bytes>, Lost> {
        let chunk = self.0.read_chunk(READ_BYTES_MAX, true).await?;
        Ok(chunk.map(|chunk| chunk.bytes))
    }

    fn stop(&mut self, code: CloseCode) {
        // An error says that the stream has ended, which is what is wanted.
        let _ = self.0.stop(wire(code));
    }
}

fn wire(code: CloseCode) -> VarInt {
    VarInt::from_u32(code.number())
}

impl From<ConnectionError> for Lost {
    fn from(error: ConnectionError) -> Self {
        let code = match &error {
            ConnectionError::ApplicationClosed(close) => {
                CloseCode::of(close.error_code.into_inner())
            }
            _ => None,
        };
        Self { code, reason: one_line(&error.to_string()), stopped: false }
    }
}

impl From<ReadError> for Lost {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::ConnectionLost(error) => error.into(),
            ReadError::Reset(code) => {
                let code = CloseCode::of(code.into_inner());
                Self { code, reason: error.to_string(), stopped: false }
            }
            other => Self { code: None, reason: other.to_string(), stopped: false },
        }
    }
}

impl From<WriteError> for Lost {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::ConnectionLost(error) => error.into(),
            WriteError::Stopped(code) => {
                let code = CloseCode::of(code.into_inner());
                Self { code, reason: error.to_string(), stopped: true }
            }
            other => Self { code: None, reason: other.to_string(), stopped: false },
        }
    }
}

/// A peer's words in a log: no control characters, and not long.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}
