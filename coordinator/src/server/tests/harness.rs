//! A coordinator on loopback and clients made by hand.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint};
use rcgen::{CertificateParams, KeyPair};
use roundelay_crypto::identity::IdentityKey;
use roundelay_crypto::secret::{Secret, Seed};
use roundelay_protocol::close::CloseCode;
use roundelay_protocol::codec::{self, FrameReader};
use roundelay_protocol::enrol::{SERVER_NAME, client_id};
use roundelay_protocol::ids::{ClientId, TenantId};
use roundelay_protocol::limits::FRAME_BYTES_MAX;
use roundelay_protocol::session::{
    ALPN, ALPN_ENROL, ALPN_MANIFESTS, EnrolRequest, EnrolResponse, Enrolled, PROTOCOL_VERSIONS,
    StreamHeader, ToClient, ToCoordinator,
};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::authority::{CertificateRequest, Peer};
use crate::clock::now_unix_ms;
use crate::config::{Limits, Rounds};
use crate::installation::{DataLock, Installation};
use crate::server::driver::Driver;
use crate::server::{Server, tls};
use crate::store::Tenant;

/// A coordinator with the tenants acme, bank and care.
pub(crate) struct Coordinator {
    pub(crate) installation: Arc<Installation>,
    pub(crate) server: Arc<Server>,
    running: JoinHandle<()>,
    _folder: TempDir,
}

pub(crate) fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

impl Coordinator {
    pub(crate) async fn open() -> Self {
        Self::with(&Limits::default(), Duration::from_secs(3600)).await
    }

    pub(crate) async fn with(limits: &Limits, certificate_life: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lock = DataLock::take(folder.path()).unwrap();
        let installation = Arc::new(Installation::open(lock, certificate_life).await.unwrap());
        for name in ["acme", "bank", "care"] {
            let added = Tenant { tenant: tenant(name), created_unix_ms: now_unix_ms() };
            installation.store.add_tenant(added).await.unwrap();
        }
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let driver = driver(&installation).await;
        let server = Arc::new(Server::bind(listen, &installation, driver, limits).unwrap());
        let run = Arc::clone(&server);
        let running = tokio::spawn(async move { run.run().await });
        Self { installation, server, running, _folder: folder }
    }

    /// A token of a tenant that lives for `life_ms`; 0 is expired.
    pub(crate) async fn token(&self, of: &str, life_ms: u64) -> Seed {
        let secret: [u8; 32] = rand::random();
        let (now, store) = (now_unix_ms(), &self.installation.store);
        store.add_token(&Seed::new(secret), &tenant(of), now + life_ms, now).await.unwrap();
        Seed::new(secret)
    }

    /// An enrolled client of a tenant.
    pub(crate) async fn client(&self, of: &str) -> Client {
        let mut client = Client::new(of);
        let token = self.token(of, 60_000).await;
        client.certificate = Some(client.enrol(self, &token).await.unwrap().certificate.into());
        client
    }

    /// Connects as a client, with the certificate that it has.
    pub(crate) async fn connect(&self, client: &Client) -> Result<Connection, ConnectionError> {
        self.connect_to(self.server.listens_on(), client).await
    }

    /// Connects as a client to another address of this coordinator.
    pub(crate) async fn connect_to(
        &self,
        to: SocketAddr,
        client: &Client,
    ) -> Result<Connection, ConnectionError> {
        let certificate = client.certificate.as_ref();
        let from = Ipv4Addr::LOCALHOST;
        self.dial((from, to), certificate, &client.tls, ALPN, &tls::provider()).await
    }

    /// Connects as a client that has another address on loopback.
    pub(crate) async fn connect_from(
        &self,
        from: Ipv4Addr,
        client: &Client,
    ) -> Result<Connection, ConnectionError> {
        let (route, certificate) = ((from, self.server.listens_on()), client.certificate.as_ref());
        self.dial(route, certificate, &client.tls, ALPN, &tls::provider()).await
    }

    /// A welcomed connection for verbs about manifests.
    pub(crate) async fn manifests(&self, client: &Client) -> Wire {
        let (certificate, provider) = (client.certificate.as_ref(), tls::provider());
        let connection =
            self.connect_as(certificate, &client.tls, ALPN_MANIFESTS, &provider).await.unwrap();
        Wire::open(connection).await.greeted().await
    }

    pub(crate) async fn connect_as(
        &self,
        certificate: Option<&CertificateDer<'static>>,
        key: &KeyPair,
        alpn: &[u8],
        provider: &Arc<CryptoProvider>,
    ) -> Result<Connection, ConnectionError> {
        let route = (Ipv4Addr::LOCALHOST, self.server.listens_on());
        self.dial(route, certificate, key, alpn, provider).await
    }

    async fn dial(
        &self,
        (from, to): (Ipv4Addr, SocketAddr),
        certificate: Option<&CertificateDer<'static>>,
        key: &KeyPair,
        alpn: &[u8],
        provider: &Arc<CryptoProvider>,
    ) -> Result<Connection, ConnectionError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.installation.clients.authority().certificate().clone()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match certificate {
            Some(certificate) => {
                let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
                config.with_client_auth_cert(vec![certificate.clone()], key).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![alpn.to_vec()];
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()));
        // Small, so that a client that reads nothing holds the coordinator up soon.
        let mut transport = quinn::TransportConfig::default();
        transport.stream_receive_window((64_u32 << 10).into());
        config.transport_config(Arc::new(transport));
        let endpoint = Endpoint::client((from, 0).into()).unwrap();
        endpoint.connect_with(config, to, SERVER_NAME).unwrap().await
    }

    /// Stops the server and waits until it has.
    pub(crate) async fn stop(self, successor: Option<&str>) {
        self.server.stop(successor).await;
        self.running.await.unwrap();
    }
}

async fn driver(installation: &Installation) -> Driver {
    let (store, blobs) = (Arc::clone(&installation.store), installation.blobs.clone());
    Driver::start(
        store,
        blobs,
        Rounds::default().settings(&Limits::default(), installation.spool()),
    )
    .await
    .unwrap()
}

/// A client made by hand.
pub(crate) struct Client {
    pub(crate) tenant: TenantId,
    pub(crate) identity: IdentityKey,
    pub(crate) tenant_key: IdentityKey,
    pub(crate) tls: KeyPair,
    pub(crate) certificate: Option<CertificateDer<'static>>,
}

impl Client {
    /// Clients of one tenant have one tenant key.
    pub(crate) fn new(of: &str) -> Self {
        let mut seed = [7; 32];
        seed[..of.len()].copy_from_slice(of.as_bytes());
        Self {
            tenant: tenant(of),
            identity: IdentityKey::from_seed(Seed::new(rand::random())),
            tenant_key: IdentityKey::from_seed(Secret::new(seed)),
            tls: KeyPair::generate().unwrap(),
            certificate: None,
        }
    }

    pub(crate) fn id(&self) -> ClientId {
        client_id(&self.identity.public())
    }

    pub(crate) fn peer(&self) -> Peer {
        Peer { tenant: self.tenant.clone(), client: self.id() }
    }

    pub(crate) fn certificate_request(&self) -> Vec<u8> {
        CertificateParams::default().serialize_request(&self.tls).unwrap().der().to_vec()
    }

    pub(crate) fn request(&self, token: &Seed) -> EnrolRequest {
        EnrolRequest::new(token, None, self.certificate_request(), &self.identity, &self.tenant_key)
    }

    /// Enrols over the network; the error is the code of the refusal.
    pub(crate) async fn enrol(
        &self,
        coordinator: &Coordinator,
        token: &Seed,
    ) -> Result<Enrolled, String> {
        enrol(coordinator, &self.request(token)).await
    }

    /// A certificate of the coordinator's authority that names somebody, enrolled or not.
    pub(crate) fn certified(&self, coordinator: &Coordinator, peer: &Peer, life: Duration) -> Self {
        let tls = KeyPair::generate().unwrap();
        let request = CertificateParams::default().serialize_request(&tls).unwrap();
        let request = CertificateRequest::parse(request.der()).unwrap();
        let authority = coordinator.installation.clients.authority();
        let now = std::time::SystemTime::now();
        let issued = authority.certify_client(&request, peer, now, life).unwrap();
        let copy = |key: &IdentityKey| IdentityKey::from_seed(Seed::new(*key.seed().expose()));
        Self {
            tenant: peer.tenant.clone(),
            identity: copy(&self.identity),
            tenant_key: copy(&self.tenant_key),
            tls,
            certificate: Some(issued.certificate),
        }
    }
}

pub(crate) async fn enrol(
    coordinator: &Coordinator,
    request: &EnrolRequest,
) -> Result<Enrolled, String> {
    let key = KeyPair::generate().unwrap();
    let connection =
        coordinator.connect_as(None, &key, ALPN_ENROL, &tls::provider()).await.unwrap();
    let mut wire = Wire::open(connection).await;
    wire.send(request).await;
    match wire.receive().await.expect("an answer") {
        EnrolResponse::Enrolled(enrolled) => Ok(*enrolled),
        EnrolResponse::Refused(refused) => Err(refused.code.to_string()),
    }
}

/// The control stream of a connection.
pub(crate) struct Wire {
    pub(crate) connection: Connection,
    pub(crate) send: quinn::SendStream,
    receive: quinn::RecvStream,
    reader: FrameReader,
    held: Vec<u8>,
}

impl Wire {
    pub(crate) async fn open(connection: Connection) -> Self {
        let (send, receive) = connection.open_bi().await.unwrap();
        let reader = FrameReader::new(FRAME_BYTES_MAX);
        Self { connection, send, receive, reader, held: Vec::new() }
    }

    /// An open connection that has been welcomed.
    pub(crate) async fn welcomed(coordinator: &Coordinator, client: &Client) -> Self {
        Self::open(coordinator.connect(client).await.unwrap()).await.greeted().await
    }

    async fn greeted(mut self) -> Self {
        self.send(&hello()).await;
        let welcome = self.receive::<ToClient>().await.expect("a welcome");
        assert!(matches!(welcome, ToClient::Welcome { version: 1, .. }), "{welcome:?}");
        self
    }

    pub(crate) async fn send<T: Serialize>(&mut self, value: &T) {
        self.send.write_all(&framed(value)).await.unwrap();
    }

    /// The next value, or the code with which the coordinator closed the connection.
    pub(crate) async fn receive<T: DeserializeOwned>(&mut self) -> Result<T, Option<CloseCode>> {
        loop {
            let mut bytes = self.held.as_slice();
            let body = self.reader.read(&mut bytes).unwrap();
            self.held = bytes.to_vec();
            if let Some(body) = body {
                return Ok(codec::decode(&body, FRAME_BYTES_MAX).unwrap());
            }
            match self.receive.read_chunk(FRAME_BYTES_MAX, true).await {
                Ok(Some(chunk)) => self.held = chunk.bytes.to_vec(),
                Ok(None) | Err(_) => return Err(self.closed().await),
            }
        }
    }

    /// Waits for the end of the connection.
    pub(crate) async fn closed(&self) -> Option<CloseCode> {
        close_code(&self.connection.closed().await)
    }
}

pub(crate) fn close_code(error: &ConnectionError) -> Option<CloseCode> {
    match error {
        ConnectionError::ApplicationClosed(close) => CloseCode::of(close.error_code.into_inner()),
        _ => None,
    }
}

pub(crate) fn framed<T: Serialize>(value: &T) -> Vec<u8> {
    codec::frame(&codec::encode(value), FRAME_BYTES_MAX).unwrap()
}

pub(crate) fn hello() -> ToCoordinator {
    let versions = PROTOCOL_VERSIONS.to_vec().try_into().unwrap();
    ToCoordinator::Hello { versions, build: "test".try_into().unwrap() }
}

/// Opens a unidirectional stream with these bytes on it, after the frame of a header.
pub(crate) async fn stream(
    connection: &Connection,
    header: &StreamHeader,
    rest: &[u8],
) -> quinn::SendStream {
    let mut stream = connection.open_uni().await.unwrap();
    stream.write_all(&framed(header)).await.unwrap();
    stream.write_all(rest).await.unwrap();
    stream
}
