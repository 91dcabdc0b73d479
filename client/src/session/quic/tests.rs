//! Real QUIC over loopback against a small server: whom the client trusts, and what it says when
//! something is wrong.

use std::net::Ipv4Addr;
use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use roundelay_crypto::digest::Digest;
use roundelay_protocol::enrol::authority_fingerprint;
use roundelay_protocol::session::{ALPN, ALPN_ENROL};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use time::{Duration as Days, OffsetDateTime};

use super::super::tls;
use super::*;

/// A certificate authority with what it makes.
struct Authority {
    key: KeyPair,
    params: CertificateParams,
    certificate: CertificateDer<'static>,
}

struct Leaf {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { key, params, certificate }
    }

    /// A leaf that is valid from so many days before now to so many after.
    fn leaf(&self, name: SanType, usage: ExtendedKeyUsagePurpose, days: (i64, i64)) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name];
        params.extended_key_usages = vec![usage];
        let now = OffsetDateTime::now_utc();
        (params.not_before, params.not_after) =
            (now - Days::days(days.0), now + Days::days(days.1));
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).unwrap().der().clone();
        Leaf { certificate, key: PrivatePkcs8KeyDer::from(key.serialize_der()).into() }
    }

    fn server(&self) -> Leaf {
        self.server_from(1)
    }

    fn server_from(&self, days_ago: i64) -> Leaf {
        let name = SanType::DnsName(SERVER_NAME.try_into().unwrap());
        self.leaf(name, ExtendedKeyUsagePurpose::ServerAuth, (days_ago, 1))
    }

    fn client(&self) -> Leaf {
        self.client_until(1)
    }

    fn client_until(&self, days: i64) -> Leaf {
        let uri = "spiffe://roundelay/tenant/acme/client/x".try_into().unwrap();
        self.leaf(SanType::URI(uri), ExtendedKeyUsagePurpose::ClientAuth, (3, days))
    }
}

/// A server that shows `leaf` and its authority, and takes clients of `clients`.
fn serve(leaf: Leaf, authority: &Authority, clients: &Authority) -> (quinn::Endpoint, String) {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(clients.certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .unwrap();
    let chain = vec![leaf.certificate, authority.certificate.clone()];
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, leaf.key)
        .unwrap();
    tls.alpn_protocols = vec![ALPN.to_vec(), ALPN_ENROL.to_vec()];
    let crypto = QuicServerConfig::try_from(tls).unwrap();
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    let endpoint = quinn::Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = endpoint.local_addr().unwrap().to_string();
    let accepting = endpoint.clone();
    tokio::spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            tokio::spawn(echo(incoming));
        }
    });
    (endpoint, address)
}

/// Sends back what comes on the first two-way stream, and on one-way streams.
async fn echo(incoming: quinn::Incoming) -> Option<()> {
    let connection = incoming.await.ok()?;
    let (mut send, mut receive) = connection.accept_bi().await.ok()?;
    let asked = receive.read_chunk(1 << 10, true).await.ok()??;
    if asked.bytes.as_ref() == b"close" {
        connection.close(VarInt::from_u32(CloseCode::Revoked.number()), b"revoked");
        return None;
    }
    send.write_chunk(asked.bytes).await.ok()?;
    let mut stream = connection.accept_uni().await.ok()?;
    let mut back = connection.open_uni().await.ok()?;
    while let Ok(Some(chunk)) = stream.read_chunk(1 << 16, true).await {
        back.write_chunk(chunk.bytes).await.ok()?;
    }
    back.finish().ok()?;
    connection.closed().await;
    None
}

fn dialer(trusted: &Authority, shown: Leaf) -> QuicDialer {
    let tls = tls::enrolled(&trusted.certificate, shown.certificate, shown.key, ALPN).unwrap();
    QuicDialer::new(tls).unwrap()
}

/// What a client sees that dials and asks one question.
async fn asked(dialer: &QuicDialer, address: &str) -> Result<Bytes, Lost> {
    let connection = dialer.dial(address).await?;
    let (mut send, mut receive) = connection.control().await?;
    send.send(Bytes::from_static(b"hello")).await?;
    Ok(receive.receive(1 << 10).await?.unwrap_or_default())
}

#[tokio::test]
async fn bytes_go_both_ways_over_streams_of_every_kind() {
    let authority = Authority::new();
    let (_server, address) = serve(authority.server(), &authority, &authority);
    let connection = dialer(&authority, authority.client()).dial(&address).await.unwrap();
    let (mut send, mut receive) = connection.control().await.unwrap();
    send.send(Bytes::from_static(b"hello")).await.unwrap();
    assert_eq!(receive.receive(100).await.unwrap().unwrap(), "hello");
    let vector: Vec<u8> = (0..5_000_000_u32).map(|i| i.to_le_bytes()[1]).collect();
    let sent = Bytes::from(vector.clone());
    let mut out = connection.open().await.unwrap();
    let sending = tokio::spawn(async move {
        out.send(sent).await.unwrap();
        out.finish().unwrap();
    });
    let mut back = connection.accept().await.unwrap();
    let mut received = Vec::new();
    while let Some(bytes) = back.receive(1 << 20).await.unwrap() {
        received.extend_from_slice(&bytes);
    }
    sending.await.unwrap();
    assert!(received == vector);
}

#[tokio::test]
async fn a_coordinator_of_another_authority_is_not_trusted() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (_server, address) = serve(theirs.server(), &theirs, &ours);
    let lost = asked(&dialer(&ours, ours.client()), &address).await.unwrap_err();
    assert_eq!(lost, Lost::ForeignAuthority(address));
    assert!(!lost.may_pass());
}

#[tokio::test]
async fn a_client_of_the_same_authority_cannot_pose_as_the_coordinator() {
    let authority = Authority::new();
    let name = SanType::DnsName(SERVER_NAME.try_into().unwrap());
    let posing = authority.leaf(name, ExtendedKeyUsagePurpose::ClientAuth, (1, 1));
    let (_server, address) = serve(posing, &authority, &authority);
    let lost = asked(&dialer(&authority, authority.client()), &address).await.unwrap_err();
    assert_eq!(lost, Lost::ForeignAuthority(address));
    let other = SanType::DnsName("elsewhere.example".try_into().unwrap());
    let other = authority.leaf(other, ExtendedKeyUsagePurpose::ServerAuth, (1, 1));
    let (_server, address) = serve(other, &authority, &authority);
    let lost = asked(&dialer(&authority, authority.client()), &address).await.unwrap_err();
    assert_eq!(lost, Lost::ForeignAuthority(address));
}

#[tokio::test]
async fn certificates_outside_their_dates_are_named_with_the_clock() {
    let authority = Authority::new();
    let name = SanType::DnsName(SERVER_NAME.try_into().unwrap());
    let expired = authority.leaf(name, ExtendedKeyUsagePurpose::ServerAuth, (3, -1));
    for (server, words) in
        [(authority.server_from(-1), "is not valid yet"), (expired, "has expired")]
    {
        let (_server, address) = serve(server, &authority, &authority);
        let lost = asked(&dialer(&authority, authority.client()), &address).await.unwrap_err();
        assert_eq!(lost, Lost::OutOfDates(words));
        assert!(lost.to_string().contains("clock"));
    }
    let (_server, address) = serve(authority.server(), &authority, &authority);
    let expired = authority.client_until(-1);
    let lost = asked(&dialer(&authority, expired), &address).await.unwrap_err();
    assert_eq!(lost, Lost::CertificateRefused("it has expired".to_owned()));
    assert!(lost.to_string().contains("enrol again"));
}

#[tokio::test]
async fn a_certificate_of_another_coordinator_is_refused_in_words() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (_server, address) = serve(ours.server(), &ours, &ours);
    let lost = asked(&dialer(&ours, theirs.client()), &address).await.unwrap_err();
    assert!(matches!(lost, Lost::CertificateRefused(_)), "{lost}");
}

#[tokio::test]
async fn a_token_pins_the_authority_by_its_fingerprint_alone() {
    let authority = Authority::new();
    let (_server, address) = serve(authority.server(), &authority, &authority);
    let pinned =
        |fingerprint: Digest| QuicDialer::new(tls::enrolling(fingerprint).unwrap()).unwrap();
    let good = pinned(authority_fingerprint(&authority.certificate));
    assert_eq!(asked(&good, &address).await.unwrap(), "hello");
    let lost = asked(&pinned(Digest([7; 32])), &address).await.unwrap_err();
    assert_eq!(lost, Lost::ForeignAuthority(address));
}

#[tokio::test]
async fn the_code_of_a_close_says_whether_to_come_back() {
    let authority = Authority::new();
    let (_server, address) = serve(authority.server(), &authority, &authority);
    let connection = dialer(&authority, authority.client()).dial(&address).await.unwrap();
    let (mut send, mut receive) = connection.control().await.unwrap();
    send.send(Bytes::from_static(b"close")).await.unwrap();
    let lost = receive.receive(100).await.unwrap_err();
    assert_eq!(lost, Lost::Revoked);
}

#[tokio::test]
async fn nobody_there_is_said_within_the_deadline() {
    let authority = Authority::new();
    // A socket that takes datagrams and never answers.
    let silent = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let began = std::time::Instant::now();
    let lost = asked(&dialer(&authority, authority.client()), &address).await.unwrap_err();
    assert_eq!(lost, Lost::Unanswered(address));
    assert!(began.elapsed() < HANDSHAKE_DEADLINE + Duration::from_secs(2) && lost.may_pass());
    let lost = asked(&dialer(&authority, authority.client()), "no.such.host.invalid:1").await;
    assert!(matches!(lost, Err(Lost::Unresolvable(_))));
}
