//! The UDP socket and what comes in on it: every limit of QUIC set, handshakes counted, by address
//! too, and timed; addresses validated by Retry only under load.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    AckFrequencyConfig, ServerConfig, TokioRuntime, TransportConfig, ValidationTokenConfig,
};
use roundelay_protocol::close::CloseCode;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::time::{Instant, timeout, timeout_at};

use super::addresses::{Addresses, Verdict};
use super::places::{NoPlace, Place, Places};
use super::quic::QuicConnection;
use super::reset::endpoint_config;
use super::tls::{self, TlsError};
use crate::authority::{Authority, ServerIdentity};
use crate::config::Limits;

/// Clients acknowledge at the latest after so many packets.
const PACKETS_PER_ACK: u32 = 10;

/// Why the coordinator cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The port is taken.
    #[error("UDP port {0} is in use by another process; stop it, or listen elsewhere (`--listen`)")]
    InUse(SocketAddr),
    /// The port or address is not for this process.
    #[error("not allowed to listen on UDP {0}; ports below 1024 need a privilege (`--listen`)")]
    Denied(SocketAddr),
    /// The address is another machine's, or nobody's.
    #[error(
        "{} is no address of this machine; listen on one that it has, or on all with 0.0.0.0 or \
         [::] (`--listen`)",
        .0.ip()
    )]
    NotHere(SocketAddr),
    /// The socket could not be made.
    #[error("cannot listen on UDP {listen}: {why}")]
    Socket {
        /// The address.
        listen: SocketAddr,
        /// The operating system's words.
        why: io::Error,
    },
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The listening socket. Dropping it loses its connections.
pub struct Endpoint {
    quinn: quinn::Endpoint,
    handshakes: Places,
    addresses: Addresses,
    limits: Limits,
    listen: SocketAddr,
}

/// A connection attempt that was let in. It counts against `handshakes_max` until it is dropped
/// or the [`Newcomer`] that it becomes gives its place back.
pub struct Attempt {
    connecting: quinn::Connecting,
    waiting: Waiting,
    deadline: Duration,
}

/// A connection whose handshake is done.
pub struct Newcomer {
    /// The connection.
    pub connection: Arc<QuicConnection>,
    /// What it takes up until its peer has said what it wants.
    pub waiting: Waiting,
}

/// What a peer takes up that has not said what it wants, and until when it may.
pub struct Waiting {
    /// Its place among the handshakes.
    pub place: Place,
    /// When its first frame must be whole: one deadline for the handshake and that.
    pub hello_by: Instant,
}

impl Endpoint {
    /// Listens. Must be called inside a tokio runtime.
    pub fn bind(
        listen: SocketAddr,
        identity: ServerIdentity,
        authority: &Authority,
        limits: &Limits,
    ) -> Result<Self, EndpointError> {
        let config = server_config(identity, authority, limits)?;
        let socket = socket(listen, limits).map_err(|why| match why.kind() {
            io::ErrorKind::AddrInUse => EndpointError::InUse(listen),
            io::ErrorKind::AddrNotAvailable => EndpointError::NotHere(listen),
            io::ErrorKind::PermissionDenied => EndpointError::Denied(listen),
            _ => EndpointError::Socket { listen, why },
        })?;
        let failed = |why| EndpointError::Socket { listen, why };
        let listen = socket.local_addr().map_err(failed)?;
        let (endpoint, runtime) = (endpoint_config(authority), Arc::new(TokioRuntime));
        let quinn = quinn::Endpoint::new(endpoint, Some(config), socket, runtime);
        Ok(Self {
            quinn: quinn.map_err(failed)?,
            handshakes: Places::new(limits.handshakes_max, limits.address_handshakes_max),
            addresses: Addresses::new(limits),
            limits: *limits,
            listen,
        })
    }

    /// Where it listens, with the port that the system chose if none was asked for.
    #[must_use]
    pub fn listens_on(&self) -> SocketAddr {
        self.listen
    }

    /// Open connections, those in their handshake too.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.quinn.open_connections()
    }

    /// Shows another certificate in handshakes from now on.
    pub fn replace_identity(
        &self,
        identity: ServerIdentity,
        authority: &Authority,
    ) -> Result<(), EndpointError> {
        let config = server_config(identity, authority, &self.limits)?;
        self.quinn.set_server_config(Some(config));
        Ok(())
    }

    /// The next attempt that is let in; `None` when the endpoint is closed. Attempts above the
    /// limits are answered here: refused, or sent through Retry.
    pub async fn attempt(&self) -> Option<Attempt> {
        loop {
            let incoming = self.quinn.accept().await?;
            let place = match self.judge(&incoming) {
                (Verdict::Admit, Some(place)) => place,
                (Verdict::Prove, _) if incoming.may_retry() => {
                    // An error would say that Retry is not possible, which was asked just before.
                    let _ = incoming.retry();
                    continue;
                }
                _ => {
                    incoming.refuse();
                    continue;
                }
            };
            if let Ok(connecting) = incoming.accept() {
                let deadline = Limits::duration(self.limits.handshake_ms);
                let hello_by = Instant::now() + Limits::duration(self.limits.hello_ms);
                let waiting = Waiting { place, hello_by };
                return Some(Attempt { connecting, waiting, deadline });
            }
        }
    }

    /// What is done about an attempt, and its place if it is admitted.
    fn judge(&self, incoming: &quinn::Incoming) -> (Verdict, Option<Place>) {
        let (address, is_proven) =
            (incoming.remote_address().ip(), incoming.remote_address_validated());
        if self.quinn.open_connections() >= self.limits.connections_max as usize {
            return (Verdict::Refuse, None);
        }
        let place = match self.handshakes.take(address, is_proven) {
            Ok(place) => place,
            Err(NoPlace::Share) if !is_proven => return (Verdict::Prove, None),
            Err(NoPlace::Share | NoPlace::Full) => return (Verdict::Refuse, None),
        };
        if self.is_loaded() && !is_proven && incoming.may_retry() {
            return (Verdict::Prove, None);
        }
        (self.addresses.judge(address, is_proven, Instant::now()), Some(place))
    }

    /// Whether so many handshakes are in progress that addresses must prove themselves. Measured
    /// with the place of the attempt in question taken.
    fn is_loaded(&self) -> bool {
        self.handshakes.taken() > self.limits.retry_above as usize
    }

    /// Takes no more attempts; open connections go on.
    pub fn refuse_all(&self) {
        self.quinn.set_server_config(None);
    }

    /// Closes every connection and waits until the peers have been told, at most `wait`.
    pub async fn close(&self, code: CloseCode, reason: &str, wait: Duration) {
        self.quinn.close(code.number().into(), reason.as_bytes());
        // A peer that does not answer is not waited for any longer.
        let _ = timeout(wait, self.quinn.wait_idle()).await;
    }
}

impl Attempt {
    /// The peer's address.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        self.connecting.remote_address()
    }

    /// Completes the handshake within its deadline. The error is one line for the log.
    pub async fn handshake(self) -> Result<Newcomer, String> {
        let by = self.waiting.hello_by.min(Instant::now() + self.deadline);
        let handshake = timeout_at(by, self.connecting).await;
        let connection = handshake
            .map_err(|_| format!("no handshake within {} ms", self.deadline.as_millis()))?
            .map_err(|error| error.to_string())?;
        let connection = Arc::new(QuicConnection(connection));
        Ok(Newcomer { connection, waiting: self.waiting })
    }
}

fn server_config(
    identity: ServerIdentity,
    authority: &Authority,
    limits: &Limits,
) -> Result<ServerConfig, EndpointError> {
    let tls = tls::server_config(identity, authority.certificate())?;
    let crypto = QuicServerConfig::try_from(tls)
        .map_err(|_| TlsError::Tls(rustls::Error::General("no initial cipher suite".to_owned())))?;
    let mut tokens = ValidationTokenConfig::default();
    tokens.lifetime(Duration::from_secs(24 * 3600)).sent(1);
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport(limits)))
        .validation_token_config(tokens)
        .retry_token_lifetime(Duration::from_secs(15))
        .migration(true)
        .max_incoming(limits.handshakes_max as usize)
        .incoming_buffer_size(u64::from(limits.handshake_bytes))
        .incoming_buffer_size_total(
            u64::from(limits.handshake_bytes) * u64::from(limits.handshakes_max),
        );
    Ok(config)
}

/// A connection as it is before its peer is known: one bidirectional stream, small windows. More
/// is allowed to enrolled clients one by one.
fn transport(limits: &Limits) -> TransportConfig {
    let mut config = TransportConfig::default();
    let idle = Limits::duration(limits.idle_ms);
    config
        .max_concurrent_bidi_streams(1_u8.into())
        .max_concurrent_uni_streams(0_u8.into())
        .max_idle_timeout(Some(idle.try_into().unwrap_or(quinn::VarInt::MAX.into())))
        .keep_alive_interval(None)
        .stream_receive_window(limits.upload_window_bytes.into())
        .receive_window(limits.idle_window_bytes.into())
        .send_window(u64::from(limits.send_window_bytes))
        .crypto_buffer_size(limits.handshake_bytes as usize)
        .datagram_receive_buffer_size(None)
        .datagram_send_buffer_size(0)
        .ack_frequency_config(Some(acknowledgements()))
        .allow_spin(false);
    config
}

/// What clients are asked for (QUIC Acknowledgement Frequency): each packet with nothing but an
/// acknowledgement wakes a process at either end.
fn acknowledgements() -> AckFrequencyConfig {
    let mut config = AckFrequencyConfig::default();
    config.ack_eliciting_threshold(PACKETS_PER_ACK.into());
    config
}

fn socket(listen: SocketAddr, limits: &Limits) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(listen), Type::DGRAM, Some(Protocol::UDP))?;
    if listen.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    let wanted = limits.socket_bytes as usize;
    socket.set_recv_buffer_size(wanted)?;
    socket.set_send_buffer_size(wanted)?;
    warn_of_small_buffers(wanted, socket.recv_buffer_size()?, socket.send_buffer_size()?);
    socket.bind(&listen.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// The kernel caps a buffer silently, and reports twice what it granted (`man 7 socket`).
fn warn_of_small_buffers(wanted: usize, receive: usize, send: usize) {
    let granted = |reported: usize| if cfg!(target_os = "linux") { reported / 2 } else { reported };
    let (receive, send) = (granted(receive), granted(send));
    if receive.min(send) < wanted {
        tracing::warn!(
            receive_bytes = receive,
            send_bytes = send,
            "the UDP buffers are small, many clients at once will see delays: \
             sysctl -w net.core.rmem_max={wanted} net.core.wmem_max={wanted}"
        );
    }
}
