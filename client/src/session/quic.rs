//! QUIC behind [`Connection`]: every limit set, TLS 1.3 alone, the handshake under a deadline.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    AckFrequencyConfig, ConnectionError, IdleTimeout, ReadError, TransportConfig, VarInt,
    WriteError,
};
use roundelay_protocol::close::CloseCode;
use roundelay_protocol::enrol::SERVER_NAME;
use rustls::AlertDescription;

use super::connection::{Connection, Dialer, Lost, Receiving, Sending};

/// A handshake takes this long at most.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// Silence for this long ends a connection.
const IDLE: Duration = Duration::from_secs(10);
/// A sign of life is sent after this much silence.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// One-way streams that the coordinator may have open: rosters and vectors of several federations.
const STREAMS_MAX: u32 = 64;
/// Bytes in flight on one stream.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// Bytes in flight on a connection: what the coordinator can make this client buffer.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Bytes of sent data kept until they are acknowledged.
const SEND_WINDOW_BYTES: u64 = 8 << 20;
/// The coordinator acknowledges at the latest after so many packets.
const PACKETS_PER_ACK: u32 = 10;
/// Bytes of handshake data that may wait out of order.
const HANDSHAKE_BUFFER_BYTES: usize = 32 << 10;
/// Bytes of the socket's buffers, where the system allows it.
const SOCKET_BUFFER_BYTES: usize = 8 << 20;

/// Dials over QUIC with one TLS configuration.
pub struct QuicDialer {
    config: quinn::ClientConfig,
}

impl QuicDialer {
    /// A dialer; `tls` says whom to trust, who we are and which protocol is spoken.
    ///
    /// # Errors
    /// The TLS configuration has no cipher suite that QUIC needs.
    pub fn new(tls: rustls::ClientConfig) -> Result<Self, Lost> {
        let crypto =
            QuicClientConfig::try_from(tls).map_err(|error| Lost::Broken(error.to_string()))?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport()));
        Ok(Self { config })
    }
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        // The coordinator opens no two-way stream.
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(STREAMS_MAX))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok())
        .keep_alive_interval(Some(KEEP_ALIVE))
        .crypto_buffer_size(HANDSHAKE_BUFFER_BYTES)
        .datagram_receive_buffer_size(None)
        .datagram_send_buffer_size(0)
        .ack_frequency_config(Some(acknowledgements()))
        .allow_spin(false);
    transport
}

/// What the peer is asked for (QUIC Acknowledgement Frequency): each packet with nothing but an
/// acknowledgement wakes a process at either end.
fn acknowledgements() -> AckFrequencyConfig {
    let mut config = AckFrequencyConfig::default();
    config.ack_eliciting_threshold(VarInt::from_u32(PACKETS_PER_ACK));
    config
}

#[async_trait]
impl Dialer for QuicDialer {
    async fn dial(&self, address: &str) -> Result<Arc<dyn Connection>, Lost> {
        let unresolvable = || Lost::Unresolvable(address.to_owned());
        let found = tokio::net::lookup_host(address).await.map_err(|_| unresolvable())?;
        let mut last = unresolvable();
        for to in found {
            match self.dial_one(address, to).await {
                Ok(connection) => return Ok(Arc::new(connection)),
                Err(lost) => last = lost,
            }
        }
        Err(last)
    }
}

impl QuicDialer {
    async fn dial_one(&self, address: &str, to: SocketAddr) -> Result<QuicConnection, Lost> {
        let broken = |error: &dyn std::fmt::Display| Lost::Broken(error.to_string());
        let endpoint = endpoint(to).map_err(|error| broken(&error))?;
        let connecting = endpoint
            .connect_with(self.config.clone(), to, SERVER_NAME)
            .map_err(|error| broken(&error))?;
        match tokio::time::timeout(HANDSHAKE_DEADLINE, connecting).await {
            Ok(Ok(connection)) => {
                Ok(QuicConnection { connection, address: address.to_owned(), _endpoint: endpoint })
            }
            Ok(Err(ConnectionError::TimedOut)) => Err(Lost::Unanswered(address.to_owned())),
            Ok(Err(error)) => Err(lost(&error, address)),
            Err(_) => Err(Lost::Unanswered(address.to_owned())),
        }
    }
}

fn endpoint(to: SocketAddr) -> std::io::Result<quinn::Endpoint> {
    let (domain, own) = if to.is_ipv6() {
        (socket2::Domain::IPV6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)))
    } else {
        (socket2::Domain::IPV4, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)))
    };
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    // The system may grant less; a client's share of a round fits even then.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.bind(&own.into())?;
    let config = quinn::EndpointConfig::default();
    quinn::Endpoint::new(config, None, socket.into(), Arc::new(quinn::TokioRuntime))
}

struct QuicConnection {
    connection: quinn::Connection,
    address: String,
    /// Kept open as long as its one connection.
    _endpoint: quinn::Endpoint,
}

impl QuicConnection {
    fn lost(&self) -> impl Fn(ConnectionError) -> Lost {
        |error| lost(&error, &self.address)
    }
}

#[async_trait]
impl Connection for QuicConnection {
    async fn control(&self) -> Result<(Box<dyn Sending>, Box<dyn Receiving>), Lost> {
        let (send, receive) = self.connection.open_bi().await.map_err(self.lost())?;
        // A closed stream has no priority; the first send will say so.
        let _ = send.set_priority(1);
        let sender = QuicSending { stream: send, finished: false, address: self.address.clone() };
        Ok((Box::new(sender), Box::new(self.receiving(receive))))
    }

    async fn open(&self) -> Result<Box<dyn Sending>, Lost> {
        let stream = self.connection.open_uni().await.map_err(self.lost())?;
        Ok(Box::new(QuicSending { stream, finished: false, address: self.address.clone() }))
    }

    async fn accept(&self) -> Result<Box<dyn Receiving>, Lost> {
        let stream = self.connection.accept_uni().await.map_err(self.lost())?;
        Ok(Box::new(self.receiving(stream)))
    }

    fn close(&self, code: CloseCode) {
        self.connection.close(VarInt::from_u32(code.number()), code.name().as_bytes());
    }
}

impl QuicConnection {
    fn receiving(&self, stream: quinn::RecvStream) -> QuicReceiving {
        QuicReceiving { stream, address: self.address.clone() }
    }
}

struct QuicSending {
    stream: quinn::SendStream,
    finished: bool,
    address: String,
}

#[async_trait]
impl Sending for QuicSending {
    async fn send(&mut self, bytes: Bytes) -> Result<(), Lost> {
        self.stream.write_chunk(bytes).await.map_err(|error| match error {
            WriteError::ConnectionLost(error) => lost(&error, &self.address),
            WriteError::Stopped(_) => Lost::StreamEnded,
            other => Lost::Broken(other.to_string()),
        })
    }

    fn finish(&mut self) -> Result<(), Lost> {
        self.finished = true;
        self.stream.finish().map_err(|error| Lost::Broken(error.to_string()))
    }
}

impl Drop for QuicSending {
    fn drop(&mut self) {
        if !self.finished {
            // quinn would finish the stream here, and a part would look like the whole.
            let _ = self.stream.reset(VarInt::from_u32(0));
        }
    }
}

struct QuicReceiving {
    stream: quinn::RecvStream,
    address: String,
}

#[async_trait]
impl Receiving for QuicReceiving {
    async fn receive(&mut self, bytes_max: usize) -> Result<Option<Bytes>, Lost> {
        match self.stream.read_chunk(bytes_max, true).await {
            Ok(chunk) => Ok(chunk.map(|chunk| chunk.bytes)),
            Err(ReadError::ConnectionLost(error)) => Err(lost(&error, &self.address)),
            Err(ReadError::Reset(_)) => Err(Lost::StreamEnded),
            Err(other) => Err(Lost::Broken(other.to_string())),
        }
    }
}

/// What a QUIC error means for the user of this client.
fn lost(error: &ConnectionError, address: &str) -> Lost {
    match error {
        ConnectionError::TimedOut => Lost::Silent,
        ConnectionError::LocallyClosed => Lost::Here,
        ConnectionError::ApplicationClosed(close) => {
            let reason = String::from_utf8_lossy(&close.reason).into_owned();
            closed(CloseCode::of(close.error_code.into_inner()), reason)
        }
        ConnectionError::ConnectionClosed(close) => match alert(close.error_code) {
            Some(alert) => alerted(alert, address),
            None => Lost::Broken(close.to_string()),
        },
        ConnectionError::TransportError(error) => {
            refused_here(alert(error.code), error.to_string(), address)
        }
        other => Lost::Broken(other.to_string()),
    }
}

/// The coordinator closed the connection and said why.
fn closed(code: Option<CloseCode>, reason: String) -> Lost {
    let refused = |why: &str| Lost::CertificateRefused(why.to_owned());
    match code {
        Some(CloseCode::CertificateExpired) => refused("it has expired"),
        Some(CloseCode::CertificateUnknown) => refused("it names no client that is known there"),
        Some(CloseCode::CertificateRequired) => refused("none was shown"),
        Some(CloseCode::Revoked) => Lost::Revoked,
        Some(CloseCode::Replaced) => Lost::Replaced,
        Some(code) => Lost::Closed { code, reason },
        None => Lost::Broken(reason),
    }
}

/// The TLS alert in a QUIC error code (RFC 9001, 4.8: `0x100` plus the alert).
fn alert(code: quinn::TransportErrorCode) -> Option<AlertDescription> {
    let number = u64::from(code).checked_sub(0x100)?;
    u8::try_from(number).ok().map(AlertDescription::from)
}

/// The coordinator ended the handshake with an alert: it is about this client's certificate.
fn alerted(alert: AlertDescription, address: &str) -> Lost {
    match alert {
        AlertDescription::CertificateExpired => {
            Lost::CertificateRefused("it has expired".to_owned())
        }
        AlertDescription::CertificateRevoked => Lost::Revoked,
        // The second one where both authorities bear one name and only the keys differ.
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            Lost::CertificateRefused("it is from another authority".to_owned())
        }
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateRequired
        | AlertDescription::AccessDenied => Lost::CertificateRefused(format!("{alert:?}")),
        AlertDescription::NoApplicationProtocol => {
            let reason = format!("{address} speaks no protocol that this build knows");
            Lost::Closed { code: CloseCode::VersionUnsupported, reason }
        }
        other => Lost::Broken(format!("TLS alert {other:?}")),
    }
}

/// This side ended the handshake: it is about the coordinator's certificate.
fn refused_here(alert: Option<AlertDescription>, text: String, address: &str) -> Lost {
    match alert {
        Some(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::DecryptError
            | AlertDescription::UnsupportedCertificate,
        ) => Lost::ForeignAuthority(address.to_owned()),
        Some(AlertDescription::CertificateExpired) => {
            // One alert for both; which of them it is stands in the words alone.
            let early = text.contains("not valid yet");
            Lost::OutOfDates(if early { "is not valid yet" } else { "has expired" })
        }
        _ => Lost::Broken(text),
    }
}

#[cfg(test)]
mod tests;
