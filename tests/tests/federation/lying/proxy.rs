//! A coordinator that lies: it stands where clients expect the real one, with certificates of its
//! authority, and hands everything on but for what it makes of the rounds of one client.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use roundelay_coordinator::authority::{
    Authority, CertificateRequest, Peer, PeerCertificate, ServerIdentity,
};
use roundelay_coordinator::keys::FileKms;
use roundelay_coordinator::server::tls::{provider, server_config};
use roundelay_coordinator::store::sqlite::SqliteStore;
use roundelay_coordinator::store::{InstallationSecret, Store};
use roundelay_protocol::enrol::SERVER_NAME;
use roundelay_protocol::session::ALPN;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::runtime::Runtime;

use super::victim::{Lie, Victim};

/// Bytes that are handed on at a time.
pub(super) const PIECE_BYTES: usize = 64 << 10;

/// Runs until it is dropped.
pub(super) struct Proxy(Option<Runtime>);

struct Between {
    authority: Authority,
    coordinator: SocketAddr,
    victim: String,
    lie: Mutex<Option<Lie>>,
}

impl Proxy {
    /// Listens on `address` and hands everything on to `coordinator`, whose data folder is `data`.
    /// `lie` makes the messages of rounds to the client of tenant `victim`, on its first connection.
    pub(super) fn start(
        data: &Path,
        address: &str,
        coordinator: &str,
        victim: &str,
        lie: Lie,
    ) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let authority = runtime.block_on(authority(data));
        let identity = authority.certify_server(SystemTime::now()).expect("a certificate");
        let between = Arc::new(Between {
            coordinator: coordinator.parse().expect("an address"),
            victim: victim.to_owned(),
            lie: Mutex::new(Some(lie)),
            authority,
        });
        let endpoint = {
            let _inside = runtime.enter();
            listen(address.parse().expect("an address"), identity, between.authority.certificate())
        };
        runtime.spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                let between = Arc::clone(&between);
                tokio::spawn(async move {
                    if let Ok(client) = incoming.await {
                        between.serve(client).await;
                    }
                });
            }
        });
        Self(Some(runtime))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_timeout(Duration::from_millis(200));
        }
    }
}

async fn authority(data: &Path) -> Authority {
    let kms = Arc::new(FileKms::open(&data.join("keys")).expect("keys"));
    let store = SqliteStore::open(&data.join("store.sqlite"), kms).await.expect("a store");
    let kept = store.secret(InstallationSecret::Authority).await.expect("a store");
    Authority::from_secret(&kept.expect("an authority")).expect("an authority")
}

fn listen(at: SocketAddr, shown: ServerIdentity, authority: &CertificateDer<'static>) -> Endpoint {
    let tls = server_config(shown, authority).expect("TLS");
    let tls = QuicServerConfig::try_from(tls).expect("QUIC");
    Endpoint::server(quinn::ServerConfig::with_crypto(Arc::new(tls)), at).expect("the port is free")
}

impl Between {
    async fn serve(&self, client: Connection) {
        let certificate = client.peer_identity().and_then(|shown| {
            let chain = shown.downcast::<Vec<CertificateDer<'static>>>().ok()?;
            PeerCertificate::parse(chain.first()?).ok()
        });
        let Some(peer) = certificate.map(|certificate| certificate.peer) else { return };
        let protocol = client
            .handshake_data()
            .and_then(|data| data.downcast::<HandshakeData>().ok()?.protocol);
        let protocol = protocol.unwrap_or_default();
        let server = self.dial(&peer, protocol.clone()).await;
        let is_victim = protocol == ALPN && peer.tenant.as_str() == self.victim;
        let lie = is_victim.then(|| self.lie.lock().expect("a lie").take()).flatten();
        tokio::select! {
            () = hand_on_all(&client, &server, lie.map(|lie| Victim::new(peer.client, lie))) => {}
            _ = client.closed() => {}
            _ = server.closed() => {}
        }
        // Whoever is left hears what the other has said.
        for (gone, left) in [(&client, &server), (&server, &client)] {
            if let Some(ConnectionError::ApplicationClosed(said)) = gone.close_reason() {
                left.close(said.error_code, &said.reason);
            }
        }
    }

    /// As this peer, with a certificate that only the authority could make.
    async fn dial(&self, peer: &Peer, protocol: Vec<u8>) -> Connection {
        let key = rcgen::KeyPair::generate().expect("a key");
        let request =
            rcgen::CertificateParams::default().serialize_request(&key).expect("a request");
        let request = CertificateRequest::parse(request.der()).expect("a request");
        let (now, life) = (SystemTime::now(), Duration::from_secs(3_600));
        let issued =
            self.authority.certify_client(&request, peer, now, life).expect("a certificate");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.authority.certificate().clone()).expect("an authority");
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let mut tls = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![issued.certificate], key)
            .expect("TLS");
        tls.alpn_protocols = vec![protocol];
        let config =
            quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("QUIC")));
        let endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        let dialled =
            endpoint.connect_with(config, self.coordinator, SERVER_NAME).expect("it dials");
        dialled.await.expect("the coordinator answers")
    }
}

async fn hand_on_all(client: &Connection, server: &Connection, victim: Option<Victim>) {
    let Ok((to_client, from_client)) = client.accept_bi().await else { return };
    let Ok((to_server, from_server)) = server.open_bi().await else { return };
    tokio::spawn(hand_on(from_client, to_server));
    match victim {
        None => {
            tokio::join!(
                hand_on(from_server, to_client),
                streams(client, server),
                streams(server, client)
            );
        }
        Some(victim) => {
            tokio::join!(
                victim.lied_to(client, server, from_server, to_client),
                streams(client, server)
            );
        }
    }
}

/// Hands on every one-way stream.
async fn streams(from: &Connection, to: &Connection) {
    while let Ok(stream) = from.accept_uni().await {
        let to = to.clone();
        tokio::spawn(async move {
            if let Ok(onwards) = to.open_uni().await {
                hand_on(stream, onwards).await;
            }
        });
    }
}

async fn hand_on(mut from: RecvStream, mut to: SendStream) {
    loop {
        match from.read_chunk(PIECE_BYTES, true).await {
            Ok(Some(piece)) if to.write_all(&piece.bytes).await.is_ok() => {}
            Ok(None) => break drop(to.finish()),
            Ok(Some(_)) | Err(_) => break drop(to.reset(0_u32.into())),
        }
    }
}
