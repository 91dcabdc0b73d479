//! Many handshakes and many rosters at once: what one address or one budget may take up.

use std::time::{Duration, Instant};

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::Signature;
use roundelay_protocol::codec::{encode, frame};
use roundelay_protocol::ids::RoundNumber;
use roundelay_protocol::limits::ROSTER_ITEM_BYTES_MAX;
use roundelay_protocol::session::{RosterKind, StreamHeader};

use super::harness::{Coordinator, Wire, stream};
use super::rounds::Scene;
use crate::config::Limits;

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
    assert_eq!(closed, Some(roundelay_protocol::close::CloseCode::TooSlow));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(coordinator.server.rosters_free(), 3, "both have given it back");
    assert!(quick.connection.close_reason().is_none());
}
