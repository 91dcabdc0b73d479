//! Who gets in: certificates, protocols, versions, and the port itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::KeyPair;
use roundelay_protocol::close::CloseCode;
use roundelay_protocol::session::{ALPN, Notice, ToClient, ToCoordinator};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};

use super::harness::{Client, Coordinator, Wire, close_code, hello};
use crate::authority::Peer;
use crate::config::Limits;
use crate::server::endpoint::{Endpoint, EndpointError};
use crate::server::tls;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn an_enrolled_client_is_welcomed_with_the_coordinators_clock() {
    let coordinator = Coordinator::open().await;
    let client = coordinator.client("acme").await;
    let mut wire = Wire::open(coordinator.connect(&client).await.unwrap()).await;
    wire.send(&hello()).await;
    let ToClient::Welcome { version, unix_ms } = wire.receive().await.unwrap() else {
        panic!("no welcome");
    };
    assert_eq!(version, 1);
    assert!(crate::clock::now_unix_ms().abs_diff(unix_ms) < 60_000);
    assert!(coordinator.server.is_connected(&client.peer()));
}

#[tokio::test]
async fn a_client_without_a_certificate_may_only_enrol() {
    let coordinator = Coordinator::open().await;
    let key = KeyPair::generate().unwrap();
    let connection = coordinator.connect_as(None, &key, ALPN, &tls::provider()).await.unwrap();
    let closed = close_code(&connection.closed().await);
    assert_eq!(closed, Some(CloseCode::CertificateRequired));
}

#[tokio::test]
async fn a_certificate_of_another_authority_fails_the_handshake() {
    let (ours, theirs) = (Coordinator::open().await, Coordinator::open().await);
    let stranger = theirs.client("acme").await;
    let refused = match ours.connect(&stranger).await {
        // TLS 1.3 completes on the client's side before the server has seen the certificate.
        Ok(connection) => connection.closed().await,
        Err(error) => error,
    };
    assert_eq!(close_code(&refused), None, "refused by TLS, not by a message: {refused}");
    assert!(!ours.server.is_connected(&stranger.peer()));
}

#[tokio::test]
async fn a_certificate_that_names_a_client_of_another_tenant_is_refused() {
    let coordinator = Coordinator::open().await;
    let client = coordinator.client("acme").await;
    let elsewhere = Peer { tenant: "bank".parse().unwrap(), client: client.id() };
    let forged = client.certified(&coordinator, &elsewhere, HOUR);
    let mut wire = Wire::open(coordinator.connect(&forged).await.unwrap()).await;
    wire.send(&hello()).await;
    assert_eq!(wire.closed().await, Some(CloseCode::CertificateUnknown));
}

#[tokio::test]
async fn a_certificate_without_the_name_of_a_client_is_refused() {
    let coordinator = Coordinator::open().await;
    let server = coordinator.installation.clients.authority();
    let identity = server.certify_server(std::time::SystemTime::now()).unwrap();
    let rustls::pki_types::PrivateKeyDer::Pkcs8(key) = identity.key else { panic!("not PKCS #8") };
    let key = KeyPair::try_from(key.secret_pkcs8_der()).unwrap();
    let leaf = &identity.chain[0];
    let refused = match coordinator.connect_as(Some(leaf), &key, ALPN, &tls::provider()).await {
        Ok(connection) => connection.closed().await,
        Err(error) => error,
    };
    assert_eq!(close_code(&refused), None, "the coordinator's own certificate is no client's");
}

#[tokio::test]
async fn a_connection_ends_with_its_certificate_and_lives_on_with_a_renewed_one() {
    let coordinator = Coordinator::open().await;
    let client = coordinator.client("acme").await;
    let short = client.certified(&coordinator, &client.peer(), Duration::from_secs(2));
    let wire = Wire::welcomed(&coordinator, &short).await;
    assert_eq!(wire.closed().await, Some(CloseCode::CertificateExpired));

    let short = client.certified(&coordinator, &client.peer(), Duration::from_secs(2));
    let mut wire = Wire::welcomed(&coordinator, &short).await;
    let certificate_request = short.certificate_request();
    wire.send(&ToCoordinator::RenewCertificate { certificate_request }).await;
    let ToClient::CertificateRenewed { certificate } = wire.receive().await.unwrap() else {
        panic!("not renewed");
    };
    tokio::time::sleep(Duration::from_secs(3)).await;
    wire.send(&ToCoordinator::ListFederations).await;
    assert!(matches!(wire.receive().await, Ok(ToClient::Federations(_))), "the connection lives");
    let renewed = Client { certificate: Some(certificate.into()), ..short };
    Wire::welcomed(&coordinator, &renewed).await;
    assert_eq!(wire.closed().await, Some(CloseCode::Replaced));
}

#[tokio::test]
async fn a_certificate_is_renewed_past_half_of_its_life_and_only_so_often() {
    let coordinator = Coordinator::open().await;
    let client = coordinator.client("acme").await;
    let renew = async |wire: &mut Wire, client: &Client| {
        let certificate_request = client.certificate_request();
        wire.send(&ToCoordinator::RenewCertificate { certificate_request }).await;
        match wire.receive().await.unwrap() {
            ToClient::CertificateRenewed { .. } => "renewed".to_owned(),
            ToClient::Refused(refused) => refused.code.to_string(),
            other => panic!("{other:?}"),
        }
    };
    let mut wire = Wire::welcomed(&coordinator, &client).await;
    assert_eq!(renew(&mut wire, &client).await, "renewal_not_due");

    // Certificates are valid from five minutes before they are made: this one is past its half.
    let coordinator = Coordinator::with(&Limits::default(), Duration::from_secs(120)).await;
    let client = coordinator.client("acme").await;
    let mut told = Vec::new();
    for _ in 0..10 {
        // Every answer is lost: the next connection shows the old certificate again.
        let mut wire = Wire::welcomed(&coordinator, &client).await;
        told.push(renew(&mut wire, &client).await);
    }
    assert!(told[..8].iter().all(|told| told == "renewed"), "{told:?}");
    assert!(told[8..].iter().all(|told| told == "renewed_too_often"), "{told:?}");
}

#[tokio::test]
async fn an_expired_certificate_fails_the_handshake() {
    let coordinator = Coordinator::open().await;
    let client = coordinator.client("acme").await;
    let expired = client.certified(&coordinator, &client.peer(), Duration::ZERO);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let refused = match coordinator.connect(&expired).await {
        Ok(connection) => connection.closed().await,
        Err(error) => error,
    };
    assert_eq!(close_code(&refused), None, "{refused}");
}

#[tokio::test]
async fn revoking_a_client_closes_its_connection_and_refuses_the_next() {
    let coordinator = Coordinator::open().await;
    let (client, other) = (coordinator.client("acme").await, coordinator.client("acme").await);
    let wire = Wire::welcomed(&coordinator, &client).await;
    let unconcerned = Wire::welcomed(&coordinator, &other).await;
    coordinator.server.revoke(&client.peer()).await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(5), wire.closed()).await;
    assert_eq!(closed.expect("within 5 s"), Some(CloseCode::Revoked));
    let mut again = Wire::open(coordinator.connect(&client).await.unwrap()).await;
    again.send(&hello()).await;
    assert_eq!(again.closed().await, Some(CloseCode::Revoked));
    assert!(unconcerned.connection.close_reason().is_none());
}

#[tokio::test]
async fn versions_without_one_in_common_close_the_connection_with_both_sides_named() {
    let coordinator = Coordinator::open().await;
    let client = coordinator.client("acme").await;
    let mut wire = Wire::open(coordinator.connect(&client).await.unwrap()).await;
    let versions = vec![9, 8].try_into().unwrap();
    wire.send(&ToCoordinator::Hello { versions, build: "old".try_into().unwrap() }).await;
    let error = wire.connection.closed().await;
    assert_eq!(close_code(&error), Some(CloseCode::VersionUnsupported));
    assert!(error.to_string().contains("[9, 8]"), "{error}");
}

#[tokio::test]
async fn key_agreement_is_hybrid_and_falls_back_to_x25519_only() {
    let coordinator = Coordinator::open().await;
    let client = coordinator.client("acme").await;
    let with = |groups| Arc::new(CryptoProvider { kx_groups: groups, ..default_provider() });
    let certificate = client.certificate.as_ref();
    for group in [kx_group::X25519MLKEM768, kx_group::X25519] {
        let provider = with(vec![group]);
        assert!(coordinator.connect_as(certificate, &client.tls, ALPN, &provider).await.is_ok());
    }
    let provider = with(vec![kx_group::SECP256R1]);
    assert!(coordinator.connect_as(certificate, &client.tls, ALPN, &provider).await.is_err());
    assert_eq!(tls::provider().kx_groups[0].name(), rustls::NamedGroup::X25519MLKEM768);
}

#[tokio::test]
async fn an_unknown_application_protocol_fails_the_handshake() {
    let coordinator = Coordinator::open().await;
    let key = KeyPair::generate().unwrap();
    assert!(coordinator.connect_as(None, &key, b"h3", &tls::provider()).await.is_err());
}

#[tokio::test]
async fn a_port_in_use_is_one_clear_line() {
    let coordinator = Coordinator::open().await;
    let authority = coordinator.installation.clients.authority();
    let identity = authority.certify_server(std::time::SystemTime::now()).unwrap();
    let taken = coordinator.server.listens_on();
    let limits = Limits::default();
    let error = Endpoint::bind(taken, identity, authority, &limits).err().unwrap();
    assert!(matches!(error, EndpointError::InUse(at) if at == taken));
    let line = error.to_string();
    assert!(line.contains(&taken.to_string()) && !line.contains('\n'), "{line}");
}

#[tokio::test]
async fn stopping_tells_clients_when_or_where_to_go_on_signed_by_the_pinned_key() {
    let elsewhere = Notice::Redirect("fl2.example.org:4433".try_into().unwrap());
    let cases = [(None, Notice::RetryAfter(2_000)), (Some("fl2.example.org:4433"), elsewhere)];
    for (successor, expected) in cases {
        let coordinator = Coordinator::open().await;
        let client = coordinator.client("acme").await;
        let mut wire = Wire::welcomed(&coordinator, &client).await;
        let pinned = coordinator.installation.notice_key.public();
        let stopping = tokio::spawn(coordinator.stop(successor));
        let notice = match wire.receive().await {
            Ok(ToClient::RetryAfter(notice) | ToClient::Redirect(notice)) => notice,
            other => panic!("{other:?}"),
        };
        assert_eq!((&notice.notice, notice.verify(&pinned)), (&expected, Ok(())));
        assert_eq!(wire.closed().await, Some(CloseCode::ShuttingDown));
        stopping.await.unwrap();
    }
}

/// A coordinator that dies without a word: its runtime goes, and every task with it.
fn endpoint_that_dies(
    coordinator: &Coordinator,
    listen: std::net::SocketAddr,
) -> (tokio::runtime::Runtime, std::net::SocketAddr) {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
    let authority = coordinator.installation.clients.authority();
    let identity = authority.certify_server(std::time::SystemTime::now()).unwrap();
    let limits = Limits::default();
    let inside = runtime.enter();
    let endpoint = Endpoint::bind(listen, identity, authority, &limits).unwrap();
    let listens_on = endpoint.listens_on();
    runtime.spawn(async move {
        let mut held = Vec::new();
        while let Some(attempt) = endpoint.attempt().await {
            held.extend(attempt.handshake().await);
        }
    });
    drop(inside);
    (runtime, listens_on)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_learns_of_a_killed_coordinator_from_the_next_one() {
    let coordinator = Coordinator::open().await;
    let client = coordinator.client("acme").await;
    let (dying, at) = endpoint_that_dies(&coordinator, "127.0.0.1:0".parse().unwrap());
    let connection = coordinator.connect_to(at, &client).await.unwrap();
    dying.shutdown_background();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(connection.close_reason().is_none(), "it died without a word");
    let (next, _) = endpoint_that_dies(&coordinator, at);
    // Whatever is sent next draws the reset; it may have come already, for a late acknowledgement.
    if let Ok((mut stream, _)) = connection.open_bi().await {
        let _ = stream.write_all(&[0; 100]).await;
    }
    let told = tokio::time::timeout(Duration::from_secs(5), connection.closed()).await;
    assert_eq!(told.expect("before any idle timeout"), quinn::ConnectionError::Reset);
    next.shutdown_background();
}

#[tokio::test]
async fn under_load_an_address_proves_itself_by_retry_and_still_gets_in() {
    let limits = Limits { retry_above: 0, ..Limits::default() };
    let coordinator = Coordinator::with(&limits, HOUR).await;
    let client = coordinator.client("acme").await;
    let (relay, retries) = relay(coordinator.server.listens_on()).await;
    for _ in 0..5 {
        let before = retries.load(Ordering::SeqCst);
        let wire = Wire::open(coordinator.connect_to(relay, &client).await.unwrap()).await;
        assert!(retries.load(Ordering::SeqCst) > before, "no Retry packet was sent");
        drop(wire);
    }
}

/// A relay of datagrams to a coordinator and back, and how many Retry packets came back: the long
/// header's fixed bits and type 3 (RFC 9000, 17.2.5).
async fn relay(to: std::net::SocketAddr) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (listens_on, retries) = (socket.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&retries);
    tokio::spawn(async move {
        let (mut bytes, mut client) = ([0; 65_536], None);
        while let Ok((length, from)) = socket.recv_from(&mut bytes).await {
            let onward = if from == to { client } else { Some(to) };
            if from != to {
                client = Some(from);
            } else if bytes[0] & 0xf0 == 0xf0 {
                counted.fetch_add(1, Ordering::SeqCst);
            }
            if let Some(onward) = onward {
                let _ = socket.send_to(&bytes[..length], onward).await;
            }
        }
    });
    (listens_on, retries)
}

#[tokio::test]
async fn handshakes_beyond_the_limit_are_refused_until_one_is_done() {
    let limits = Limits { handshakes_max: 1, hello_ms: 60_000, ..Limits::default() };
    let coordinator = Coordinator::with(&limits, HOUR).await;
    let mut clients = Vec::new();
    for tenant in ["acme", "bank"] {
        clients.push(coordinator.client(tenant).await);
        // The connection that enrolled is a place among the handshakes until it has closed.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let [one, two] = &clients[..] else { panic!("two clients") };
    let mut silent = Wire::open(coordinator.connect(one).await.unwrap()).await;
    let refused = coordinator.connect(two).await.unwrap_err();
    assert!(matches!(refused, quinn::ConnectionError::ConnectionClosed(_)), "{refused}");
    silent.send(&hello()).await;
    assert!(matches!(silent.receive().await, Ok(ToClient::Welcome { .. })));
    Wire::welcomed(&coordinator, two).await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_refused() {
    let limits = Limits { connections_max: 1, ..Limits::default() };
    let coordinator = Coordinator::with(&limits, HOUR).await;
    let one = coordinator.client("acme").await;
    // The connection that enrolled is still closing.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let _held = Wire::welcomed(&coordinator, &one).await;
    let key = KeyPair::generate().unwrap();
    assert!(coordinator.connect_as(None, &key, ALPN, &tls::provider()).await.is_err());
}
