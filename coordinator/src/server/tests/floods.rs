//! Many handshakes and many rosters at once: what one address or one budget may take up.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::KeyPair;
use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::Signature;
use roundelay_protocol::close::CloseCode;
use roundelay_protocol::codec::{encode, frame};
use roundelay_protocol::ids::RoundNumber;
use roundelay_protocol::limits::ROSTER_ITEM_BYTES_MAX;
use roundelay_protocol::session::{ALPN_ENROL, RosterKind, StreamHeader, ToClient};
use tokio::task::JoinSet;

use super::harness::{Coordinator, Wire, close_code, hello, stream};
use super::rounds::Scene;
use crate::config::Limits;
use crate::server::tls;

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn an_address_beyond_its_share_is_refused_and_comes_in_again_later() {
    let limits = Limits {
        address_handshakes_burst: 3,
        address_handshakes_per_second: 1,
        ..Limits::default()
    };
    let coordinator = Coordinator::with(&limits, HOUR).await;
    let began = Instant::now();
    // Enrolling is a handshake too.
    let client = coordinator.client("acme").await;
    let (tries, mut refused) = (20_u64, 0);
    for _ in 0..tries {
        match coordinator.connect(&client).await {
            Ok(_) => {}
            Err(quinn::ConnectionError::ConnectionClosed(_)) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    // Let in are 3 without proof and 3 with, less the one of the enrolment, and at most what the
    // time that this took has given back to both.
    let (let_in, given_back) = (tries - refused, 2 * began.elapsed().as_secs());
    assert!((5..=5 + given_back).contains(&let_in), "{let_in}");
    assert!(refused > 0, "the rest had to wait");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    Wire::welcomed(&coordinator, &client).await;
}

#[tokio::test]
async fn a_roster_beyond_the_budget_waits_for_room_and_is_taken_then() {
    let limits = Limits {
        rosters_bytes_total: (3 * ROSTER_ITEM_BYTES_MAX) as u32,
        roster_ms: 800,
        ..Limits::default()
    };
    let coordinator = Coordinator::with(&limits, HOUR).await;
    let scene = Scene::started(coordinator, &["acme", "acme", "bank"]).await;
    let (slow, quick) = (scene.seated(0).await, scene.seated(2).await);
    let (coordinator, federation) = (&scene.coordinator, scene.federation());
    let header = |items| StreamHeader::Roster {
        federation,
        round: RoundNumber(1),
        kind: RosterKind::Shares,
        items,
    };
    let head = frame(&encode(&(Digest([0; 32]), Signature([0; 64]))), 4096).unwrap();
    let _unfinished = stream(&slow.connection, &header(3), &head).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut whole = stream(&quick.connection, &header(1), &head).await;
    whole.finish().unwrap();
    // Taken, the coordinator reads the stream to its end and acknowledges it either way; what
    // shows the wait is that the slow one has lost its connection before the room is free.
    assert_eq!(coordinator.server.rosters_free(), 0, "the slow one holds all of the room");
    let closed = slow.closed().await;
    assert_eq!(closed, Some(CloseCode::TooSlow));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(coordinator.server.rosters_free(), 3, "both have given it back");
    assert!(quick.connection.close_reason().is_none());
}

/// A stranger that opens its stream late and then sends half a frame.
async fn enrol_slowly(coordinator: &Coordinator) -> Option<CloseCode> {
    let key = KeyPair::generate().unwrap();
    let provider = tls::provider();
    let connection = coordinator.connect_as(None, &key, ALPN_ENROL, &provider).await;
    let connection = match connection {
        Ok(connection) => connection,
        Err(error) => return close_code(&error),
    };
    tokio::time::sleep(Duration::from_millis(700)).await;
    // Whoever has no place has been sent away by now.
    let mut stream = connection.open_bi().await;
    if let Ok((send, _)) = &mut stream {
        let _ = send.write_all(&[0, 4]).await;
    }
    close_code(&connection.closed().await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_that_enrol_slowly_keep_no_enrolled_client_out() {
    let limits = Limits { handshakes_max: 8, hello_ms: 1_500, ..Limits::default() };
    let coordinator = Arc::new(Coordinator::with(&limits, HOUR).await);
    let client = coordinator.client("acme").await;
    let mut strangers = JoinSet::new();
    for _ in 0..20 {
        let coordinator = Arc::clone(&coordinator);
        strangers.spawn(async move { enrol_slowly(&coordinator).await });
    }
    tokio::time::sleep(Duration::from_millis(900)).await;
    for _ in 0..5 {
        Wire::welcomed(&coordinator, &client).await;
    }
    let closed = strangers.join_all().await;
    assert!(closed.contains(&Some(CloseCode::TooSlow)), "some had a place: {closed:?}");
}

#[tokio::test]
async fn a_handshake_and_the_request_behind_it_have_one_deadline() {
    let limits = Limits { hello_ms: 1_000, ..Limits::default() };
    let coordinator = Coordinator::with(&limits, HOUR).await;
    let began = Instant::now();
    assert_eq!(enrol_slowly(&coordinator).await, Some(CloseCode::TooSlow));
    let took = began.elapsed();
    assert!(took < Duration::from_millis(700 + 900), "the late stream had {took:?}");
}

#[tokio::test]
async fn an_address_holds_its_share_of_the_handshakes_and_another_address_gets_in() {
    let limits = Limits { address_handshakes_max: 2, hello_ms: 60_000, ..Limits::default() };
    let coordinator = Coordinator::with(&limits, HOUR).await;
    let client = coordinator.client("acme").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut silent = Vec::new();
    for _ in 0..6 {
        silent.extend(coordinator.connect(&client).await);
    }
    assert_eq!(silent.len(), 4, "two, and two more once the address has proved itself");
    let elsewhere = coordinator.connect_from(Ipv4Addr::new(127, 0, 0, 2), &client).await;
    let mut wire = Wire::open(elsewhere.unwrap()).await;
    wire.send(&hello()).await;
    assert!(matches!(wire.receive().await, Ok(ToClient::Welcome { .. })));
    // One that goes gives its place back.
    drop(silent.pop());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(coordinator.connect(&client).await.is_ok());
}

#[tokio::test]
async fn strangers_beyond_their_places_are_sent_away_as_busy() {
    let limits = Limits { address_enrolments_max: 1, hello_ms: 1_500, ..Limits::default() };
    let coordinator = Coordinator::with(&limits, HOUR).await;
    let client = coordinator.client("acme").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (one, two) = tokio::join!(enrol_slowly(&coordinator), enrol_slowly(&coordinator));
    let mut closed = [one, two];
    closed.sort();
    assert_eq!(closed, [Some(CloseCode::Busy), Some(CloseCode::TooSlow)]);
    Wire::welcomed(&coordinator, &client).await;
    assert!(coordinator.client("bank").await.certificate.is_some(), "the place is free again");
}
