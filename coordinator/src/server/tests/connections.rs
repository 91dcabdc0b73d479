//! What a client can do to its own connection, and to nobody else's.

use std::time::Duration;

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::Signature;
use roundelay_protocol::close::CloseCode;
use roundelay_protocol::ids::{FederationId, ModelVersion, RoundNumber};
use roundelay_protocol::lineage::Standing;
use roundelay_protocol::message::{FromClient, ShareRoster};
use roundelay_protocol::session::{
    Join, RosterKind, StreamHeader, ToClient, ToCoordinator, VectorKind,
};

use super::harness::{Client, Coordinator, Wire, framed, hello, stream};
use crate::config::Limits;
use crate::server::framing::Meter;

const FEDERATION: FederationId = FederationId([1; 16]);
const ROUND: RoundNumber = RoundNumber(1);

/// Deadlines short enough for a test.
pub(crate) fn hasty() -> Limits {
    Limits { hello_ms: 300, frame_ms: 300, roster_ms: 600, stall_ms: 300, ..Limits::default() }
}

async fn hasty_coordinator() -> (Coordinator, Client) {
    let coordinator = Coordinator::with(&hasty(), Duration::from_secs(3600)).await;
    let client = coordinator.client("acme").await;
    (coordinator, client)
}

async fn close_after(wire: &mut Wire, bytes: &[u8]) -> Option<CloseCode> {
    wire.send.write_all(bytes).await.unwrap();
    loop {
        if let Err(code) = wire.receive::<ToClient>().await {
            return code;
        }
    }
}

#[tokio::test]
async fn garbage_before_the_hello_closes_the_connection_with_its_reason() {
    let (coordinator, client) = hasty_coordinator().await;
    let cases: [(Vec<u8>, CloseCode); 5] = [
        (5_000_u32.to_le_bytes().to_vec(), CloseCode::TooLarge),
        (vec![0xff; 8], CloseCode::TooLarge),
        (vec![3, 0, 0, 0, 9, 9, 9], CloseCode::Malformed),
        (framed(&ToCoordinator::ListFederations), CloseCode::Malformed),
        (vec![0, 0], CloseCode::TooSlow),
    ];
    for (bytes, expected) in cases {
        let mut wire = Wire::open(coordinator.connect(&client).await.unwrap()).await;
        assert_eq!(close_after(&mut wire, &bytes).await, Some(expected), "{bytes:?}");
    }
}

#[tokio::test]
async fn a_client_that_says_nothing_is_closed_and_counts_no_longer() {
    let (coordinator, client) = hasty_coordinator().await;
    let silent = coordinator.connect(&client).await.unwrap();
    let wire = Wire::open(silent).await;
    assert_eq!(wire.closed().await, Some(CloseCode::TooSlow));
    let unopened = coordinator.connect(&client).await.unwrap();
    let closed = super::harness::close_code(&unopened.closed().await);
    assert_eq!(closed, Some(CloseCode::TooSlow));
    assert!(!coordinator.server.is_connected(&client.peer()));
}

#[tokio::test]
async fn garbage_after_the_hello_closes_the_connection_with_its_reason() {
    let (coordinator, client) = hasty_coordinator().await;
    let shares = FromClient::Shares(
        ShareRoster { root: Digest([0; 32]), signature: Signature([0; 64]), leaves: Vec::new() }
            .into(),
    );
    let shares = ToCoordinator::Round { federation: FEDERATION, round: ROUND, message: shares };
    let cases: [(Vec<u8>, CloseCode); 5] = [
        (140_000_u32.to_le_bytes().to_vec(), CloseCode::TooLarge),
        (vec![4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], CloseCode::Malformed),
        (framed(&hello()), CloseCode::Malformed),
        (framed(&shares), CloseCode::Malformed),
        (vec![200, 0, 0, 0, 1, 2, 3], CloseCode::TooSlow),
    ];
    for (bytes, expected) in cases {
        let mut wire = Wire::welcomed(&coordinator, &client).await;
        assert_eq!(close_after(&mut wire, &bytes).await, Some(expected), "{bytes:?}");
    }
}

#[tokio::test]
async fn a_client_may_be_silent_between_frames_for_as_long_as_it_likes() {
    let (coordinator, client) = hasty_coordinator().await;
    let mut wire = Wire::welcomed(&coordinator, &client).await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    wire.send(&ToCoordinator::ListFederations).await;
    assert!(matches!(wire.receive().await, Ok(ToClient::Federations(_))));
}

#[tokio::test]
async fn streams_that_no_client_sends_close_the_connection_with_their_reason() {
    let (coordinator, client) = hasty_coordinator().await;
    let roster =
        |kind, items| StreamHeader::Roster { federation: FEDERATION, round: ROUND, kind, items };
    let vector = |kind, bytes| StreamHeader::Vector { federation: FEDERATION, kind, bytes };
    let cases: [(StreamHeader, Vec<u8>, CloseCode); 2] = [
        (roster(RosterKind::Adverts, 1), vec![], CloseCode::Malformed),
        (vector(VectorKind::Aggregate(ROUND), 8), vec![0; 8], CloseCode::Malformed),
    ];
    for (header, rest, expected) in cases {
        let wire = Wire::welcomed(&coordinator, &client).await;
        let _open = stream(&wire.connection, &header, &rest).await;
        assert_eq!(wire.closed().await, Some(expected), "{header:?}");
    }
}

#[tokio::test]
async fn a_header_that_does_not_end_closes_the_connection() {
    let (coordinator, client) = hasty_coordinator().await;
    let wire = Wire::welcomed(&coordinator, &client).await;
    let mut stream = wire.connection.open_uni().await.unwrap();
    stream.write_all(&[50, 0, 0, 0, 1]).await.unwrap();
    assert_eq!(wire.closed().await, Some(CloseCode::TooSlow));
}

#[tokio::test]
async fn before_the_hello_a_client_may_open_one_stream_and_no_more() {
    let coordinator = Coordinator::open().await;
    let client = coordinator.client("acme").await;
    let connection = coordinator.connect(&client).await.unwrap();
    let _control = connection.open_bi().await.unwrap();
    let wait = Duration::from_millis(150);
    assert!(tokio::time::timeout(wait, connection.open_bi()).await.is_err());
    assert!(tokio::time::timeout(wait, connection.open_uni()).await.is_err());
}

#[tokio::test]
async fn a_client_that_reads_nothing_loses_its_connection_and_others_do_not() {
    let limits = Limits { stall_ms: 500, send_window_bytes: 64 << 10, ..Limits::default() };
    let coordinator = Coordinator::with(&limits, Duration::from_secs(3600)).await;
    let (deaf, other) = (coordinator.client("acme").await, coordinator.client("bank").await);
    let mut wire = Wire::welcomed(&coordinator, &deaf).await;
    let mut lively = Wire::welcomed(&coordinator, &other).await;
    let asks = tokio::spawn(async move {
        let request = framed(&ToCoordinator::ListFederations);
        // Until the answers fill every buffer on the way and the coordinator stops reading.
        while wire.send.write_all(&request).await.is_ok() {}
        wire.closed().await
    });
    lively.send(&ToCoordinator::ListFederations).await;
    assert!(matches!(lively.receive().await, Ok(ToClient::Federations(_))));
    let closed = tokio::time::timeout(Duration::from_secs(60), asks).await.unwrap().unwrap();
    assert_eq!(closed, Some(CloseCode::TooSlow));
    assert!(lively.connection.close_reason().is_none());
}

#[tokio::test]
async fn a_newer_connection_of_a_client_takes_the_place_of_the_older() {
    let (coordinator, client) = hasty_coordinator().await;
    let older = Wire::welcomed(&coordinator, &client).await;
    let mut newer = Wire::welcomed(&coordinator, &client).await;
    assert_eq!(older.closed().await, Some(CloseCode::Replaced));
    newer.send(&ToCoordinator::ListFederations).await;
    assert!(matches!(newer.receive().await, Ok(ToClient::Federations(_))));
    assert!(coordinator.server.is_connected(&client.peer()));
}

#[tokio::test]
async fn a_verb_about_manifests_leaves_the_connection_of_the_daemon_alone() {
    let limits = Limits { connections_per_tenant_max: 1, ..Limits::default() };
    let coordinator = Coordinator::with(&limits, Duration::from_secs(3600)).await;
    let client = coordinator.client("acme").await;
    let mut daemon = Wire::welcomed(&coordinator, &client).await;
    let mut verb = coordinator.manifests(&client).await;
    for wire in [&mut verb, &mut daemon] {
        wire.send(&ToCoordinator::ListFederations).await;
        assert!(matches!(wire.receive().await, Ok(ToClient::Federations(_))));
    }
    let newer = coordinator.manifests(&client).await;
    assert_eq!(verb.closed().await, Some(CloseCode::Replaced), "it has one of each kind");
    assert!(coordinator.server.is_connected(&client.peer()));
    coordinator.server.revoke(&client.peer()).await.unwrap();
    assert_eq!(daemon.closed().await, Some(CloseCode::Revoked));
    assert_eq!(newer.closed().await, Some(CloseCode::Revoked));
}

#[tokio::test]
async fn a_connection_for_manifests_takes_part_in_nothing() {
    let (coordinator, client) = hasty_coordinator().await;
    for request in [
        ToCoordinator::FetchState { federation: FEDERATION, version: ModelVersion(1) },
        ToCoordinator::FetchAttested { federation: FEDERATION },
        ToCoordinator::RenewCertificate { certificate_request: vec![1] },
    ] {
        let mut verb = coordinator.manifests(&client).await;
        verb.send(&request).await;
        assert_eq!(verb.receive::<ToClient>().await, Err(Some(CloseCode::Malformed)));
        assert!(!coordinator.server.is_connected(&client.peer()), "no daemon is there");
    }
}

#[tokio::test]
async fn a_tenant_at_its_quota_of_connections_is_told_so_and_others_come_in() {
    let limits = Limits { connections_per_tenant_max: 1, ..Limits::default() };
    let coordinator = Coordinator::with(&limits, Duration::from_secs(3600)).await;
    let (one, two) = (coordinator.client("acme").await, coordinator.client("acme").await);
    let bank = coordinator.client("bank").await;
    let first = Wire::welcomed(&coordinator, &one).await;
    let mut second = Wire::open(coordinator.connect(&two).await.unwrap()).await;
    second.send(&hello()).await;
    assert_eq!(second.closed().await, Some(CloseCode::Busy));
    Wire::welcomed(&coordinator, &bank).await;
    first.connection.close(0_u8.into(), b"");
    first.connection.closed().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let third = Wire::welcomed(&coordinator, &two).await;
    assert!(third.connection.close_reason().is_none());
}

#[tokio::test]
async fn a_vector_or_roster_for_no_round_is_dropped_and_the_connection_goes_on() {
    let (coordinator, client) = hasty_coordinator().await;
    let mut wire = Wire::welcomed(&coordinator, &client).await;
    let kind = VectorKind::MaskedInput(ROUND);
    let bytes = 1_u64 << 20;
    let header = StreamHeader::Vector { federation: FEDERATION, kind, bytes };
    let mut stream = wire.connection.open_uni().await.unwrap();
    stream.write_all(&framed(&header)).await.unwrap();
    let stopped = stream.stopped().await.unwrap();
    assert_eq!(stopped, Some(CloseCode::Done.number().into()));
    let head = (Digest([0; 32]), Signature([0; 64]));
    let kind = RosterKind::Shares;
    let header = StreamHeader::Roster { federation: FEDERATION, round: ROUND, kind, items: 1 };
    let mut roster = super::harness::stream(&wire.connection, &header, &framed(&head)).await;
    roster.finish().unwrap();
    wire.send(&ToCoordinator::ListFederations).await;
    assert!(matches!(wire.receive().await, Ok(ToClient::Federations(_))));
}

#[tokio::test]
async fn requests_about_federations_that_do_not_run_are_refused_by_name() {
    let (coordinator, client) = hasty_coordinator().await;
    let mut wire = Wire::welcomed(&coordinator, &client).await;
    let join = Join {
        federation: FEDERATION,
        manifest: Digest([0; 32]),
        highest_round: RoundNumber(0),
        resumable: Default::default(),
        standing: Standing::initial(Digest([0; 32])),
        attestation: None,
        schema: Digest([0; 32]),
    };
    let (federation, manifest) = (FEDERATION, Digest([0; 32]));
    let requests = [
        (ToCoordinator::Join(join), "not_running"),
        (ToCoordinator::FetchState { federation, version: ModelVersion(1) }, "not_running"),
        (ToCoordinator::FetchAggregate { federation, round: ROUND }, "not_running"),
        (ToCoordinator::FetchManifest { federation, manifest }, "not_named"),
        (
            ToCoordinator::RenewCertificate { certificate_request: vec![1] },
            "bad_certificate_request",
        ),
    ];
    for (request, expected) in requests {
        wire.send(&request).await;
        let Ok(ToClient::Refused(refused)) = wire.receive().await else { panic!("{request:?}") };
        assert_eq!(&*refused.code, expected, "{request:?}");
    }
}

#[tokio::test]
async fn a_meter_lets_a_minutes_worth_through_and_then_waits() {
    let meter = Meter::new(60_000);
    let began = std::time::Instant::now();
    meter.charge(60_000).await;
    assert!(began.elapsed() < Duration::from_secs(30), "nothing to wait for yet");
    let began = std::time::Instant::now();
    meter.charge(200).await;
    assert!(began.elapsed() >= Duration::from_millis(150), "200 bytes take a fifth of a second");
}
