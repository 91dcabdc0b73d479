//! Connections over loopback as the coordinator and its clients make them: their endpoints, limits
//! and certificates, without the sessions above them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use roundelay_client::session::QuicDialer;
use roundelay_client::session::connection as client;
use roundelay_coordinator::authority::{Authority, CertificateRequest, Peer};
use roundelay_coordinator::config::Limits;
use roundelay_coordinator::server::endpoint::Endpoint;
use roundelay_coordinator::server::tls::provider;
use roundelay_coordinator::server::transport::Connection;
use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::ClientId;
use roundelay_protocol::session::ALPN;
use rustls::pki_types::PrivatePkcs8KeyDer;

/// One line, whatever went wrong.
pub fn line(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// A client by its number.
#[must_use]
pub fn client_id(number: usize) -> ClientId {
    ClientId(Digest::of("roundelay/bench/loopback", &[&number.to_le_bytes()]))
}

/// The TLS of a client to whom the authority gives a certificate.
///
/// # Errors
/// The authority can't.
pub fn tls(authority: &Authority, number: usize) -> Result<rustls::ClientConfig, String> {
    let key = rcgen::KeyPair::generate().map_err(line)?;
    let request = rcgen::CertificateParams::default().serialize_request(&key).map_err(line)?;
    let request = CertificateRequest::parse(request.der()).map_err(line)?;
    let peer = Peer { tenant: "bench".parse().map_err(line)?, client: client_id(number) };
    let (now, life) = (SystemTime::now(), Duration::from_secs(3_600));
    let issued = authority.certify_client(&request, &peer, now, life).map_err(line)?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.certificate().clone()).map_err(line)?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let mut tls = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(line)?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![issued.certificate], key)
        .map_err(line)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    Ok(tls)
}

/// A listening coordinator that nobody has connected to.
///
/// # Errors
/// No port, no certificate.
pub fn listen(authority: &Authority, limits: &Limits) -> Result<Endpoint, String> {
    let identity = authority.certify_server(SystemTime::now()).map_err(line)?;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Endpoint::bind(any, identity, authority, limits).map_err(line)
}

/// The next client that connects. It may open one stream at a time.
///
/// # Errors
/// Its handshake fails, or nobody comes any more.
pub async fn accept(endpoint: &Endpoint) -> Result<Arc<dyn Connection>, String> {
    let attempt = endpoint.attempt().await.ok_or("nobody connects")?;
    let newcomer = attempt.handshake().await?;
    newcomer.connection.allow_streams(1);
    Ok(newcomer.connection)
}

/// A client's connection to a coordinator.
///
/// # Errors
/// Nobody answers there.
pub async fn dial(
    authority: &Authority,
    number: usize,
    to: SocketAddr,
) -> Result<Arc<dyn client::Connection>, String> {
    let dialer = QuicDialer::new(tls(authority, number)?).map_err(line)?;
    client::Dialer::dial(&dialer, &to.to_string()).await.map_err(line)
}

/// Sends a vector on a stream of its own.
///
/// # Errors
/// The connection is lost.
pub async fn send(connection: &dyn client::Connection, vector: bytes::Bytes) -> Result<(), String> {
    const PIECE_BYTES: usize = 1 << 20;
    let mut stream = connection.open().await.map_err(line)?;
    let mut rest = vector;
    while !rest.is_empty() {
        let piece = rest.split_to(PIECE_BYTES.min(rest.len()));
        stream.send(piece).await.map_err(line)?;
    }
    stream.finish().map_err(line)
}
