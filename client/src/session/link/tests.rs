//! A link against a coordinator in the same process.

use bytes::Bytes;
use roundelay_protocol::codec::{encode, frame};
use roundelay_protocol::error::AbortReason;
use roundelay_protocol::message::Quorum;
use roundelay_protocol::session::{Notice, Refused, Roster, SignedNotice, ToCoordinator};

use super::super::connection::Sending;
use super::super::memory::{Coordinator, MemorySending, network, stream};
use super::*;
use crate::gate::GateError;
use crate::outbound::ListFederations;

const FEDERATION: FederationId = FederationId([1; 16]);
const ROUND: RoundNumber = RoundNumber(3);

fn gate() -> (tempfile::TempDir, Arc<Gate>) {
    let root = tempfile::tempdir().unwrap();
    let gate = Gate::open(&root.path().join("ledger")).unwrap();
    (root, Arc::new(gate))
}

async fn say(control: &mut MemorySending, message: &ToClient) {
    let bytes = frame(&encode(message), FRAME_BYTES_MAX).unwrap();
    control.send(Bytes::from(bytes)).await.unwrap();
}

fn welcome(unix_ms: u64) -> ToClient {
    ToClient::Welcome { version: 1, unix_ms }
}

/// What a client sees whose hello is answered by `answer`, and the coordinator's side.
async fn greeted(answer: ToClient) -> (Result<Link, SessionError>, Coordinator, MemorySending) {
    let (_root, gate) = gate();
    let (dialer, mut dialled) = network();
    let opening = Link::open(&*dialer, "there:1", gate, Arc::default());
    let answering = async {
        let mut there = dialled.recv().await.unwrap();
        let (asked, mut control) = there.control.recv().await.unwrap();
        let mut frames = Frames::new(Box::new(asked), FRAME_BYTES_MAX);
        let hello: ToCoordinator = frames.next().await.unwrap().unwrap();
        assert!(matches!(hello, ToCoordinator::Hello { .. }));
        say(&mut control, &answer).await;
        (there, control)
    };
    let (link, (there, control)) = tokio::join!(opening, answering);
    (link, there, control)
}

async fn linked() -> (Link, Coordinator, MemorySending) {
    let (link, there, control) = greeted(welcome(crate::clock::unix_ms())).await;
    (link.unwrap(), there, control)
}

#[tokio::test]
async fn a_clock_more_than_an_hour_off_is_refused_and_one_a_minute_off_is_not() {
    let now = crate::clock::unix_ms();
    for (skew_ms, fine) in
        [(-60_000, true), (60_000, true), (-3_700_000, false), (3_700_000, false)]
    {
        let (link, mut there, _control) =
            greeted(welcome(now.saturating_add_signed(skew_ms))).await;
        match link {
            Ok(_) => assert!(fine, "{skew_ms}"),
            Err(SessionError::Clock { minutes, ahead }) => {
                assert!(!fine && (60..=62).contains(&minutes) && ahead == (skew_ms < 0));
                assert_eq!(there.closed.recv().await, Some(CloseCode::Done));
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_refusal_a_notice_or_another_version_ends_the_hello() {
    let refused = ToClient::Refused(Refused::new("tenant_suspended", "ask the operator"));
    let error = greeted(refused).await.0.err().unwrap();
    assert!(error.to_string().contains("ask the operator") && !error.may_pass());

    let key = roundelay_crypto::identity::IdentityKey::random(&mut crate::identity::os_rng());
    let notice = SignedNotice::new(Notice::RetryAfter(5), 7, &key);
    let error = greeted(ToClient::RetryAfter(notice)).await.0.err().unwrap();
    assert!(matches!(error, SessionError::Notice(_)));

    let newer = ToClient::Welcome { version: 99, unix_ms: crate::clock::unix_ms() };
    let error = greeted(newer).await.0.err().unwrap();
    assert!(matches!(error, SessionError::Version(99)));
}

#[tokio::test]
async fn nothing_but_the_hello_leaves_before_the_welcome_when_connecting_again_neither() {
    let (_root, gate) = gate();
    let (dialer, mut dialled) = network();
    for _ in 0..2 {
        let opening = Link::open(&*dialer, "there:1", Arc::clone(&gate), Arc::default());
        let answering = async {
            let mut there = dialled.recv().await.unwrap();
            let (asked, mut control) = there.control.recv().await.unwrap();
            let mut frames = Frames::new(Box::new(asked), FRAME_BYTES_MAX);
            let first: ToCoordinator = frames.next().await.unwrap().unwrap();
            assert!(matches!(first, ToCoordinator::Hello { .. }), "{first:?}");
            // What a round of before the loss has to send meanwhile waits for the next join.
            let early = gate.send(&ListFederations).await;
            assert!(matches!(early, Err(GateError::NotConnected)), "{early:?}");
            let wait = Duration::from_millis(50);
            let next = tokio::time::timeout(wait, frames.next::<ToCoordinator>()).await;
            assert!(next.is_err() && there.streams.try_recv().is_err(), "{next:?}");
            say(&mut control, &welcome(crate::clock::unix_ms())).await;
            (there, control, frames)
        };
        let (link, (there, control, mut frames)) = tokio::join!(opening, answering);
        let mut link = link.unwrap();
        gate.send(&ListFederations).await.unwrap();
        let asked: ToCoordinator = frames.next().await.unwrap().unwrap();
        assert_eq!(asked, ToCoordinator::ListFederations);
        drop((there, control));
        assert!(matches!(link.next().await, Err(SessionError::Lost(_))));
    }
}

#[tokio::test]
async fn rosters_are_put_together_one_at_a_time() {
    let (mut link, there, mut control) = linked().await;
    let kind = RosterKind::Quorum;
    let frames = |items| {
        let header = StreamHeader::Roster { federation: FEDERATION, round: ROUND, kind, items };
        Bytes::from(frame(&encode(&header), FRAME_BYTES_MAX).unwrap())
    };
    // The first has begun and lacks its one entry; the second is whole.
    let (mut first, receive) = stream();
    there.open.send(receive).ok().unwrap();
    first.send(frames(1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (mut second, receive) = stream();
    there.open.send(receive).ok().unwrap();
    second.send(frames(0)).await.unwrap();
    second.finish().unwrap();
    for _ in 0..2 {
        say(&mut control, &ToClient::RosterFollows { federation: FEDERATION, round: ROUND, kind })
            .await;
    }
    let wait = Duration::from_millis(100);
    assert!(tokio::time::timeout(wait, link.next()).await.is_err(), "the second waits");
    let entry = Bytes::from(frame(&[0; 66], FRAME_BYTES_MAX).unwrap());
    first.send(entry).await.unwrap();
    first.finish().unwrap();
    let mut entries = Vec::new();
    for _ in 0..2 {
        match link.next().await.unwrap() {
            Inbound::Round { message: message::ToClient::Quorum(quorum), .. } => {
                entries.push(quorum.signatures.len());
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(entries, [1, 0]);
}

#[tokio::test]
async fn a_roster_is_put_in_the_place_where_it_was_announced() {
    let (mut link, there, mut control) = linked().await;
    let aborted = message::ToClient::Aborted(AbortReason::Stopped);
    let kind = RosterKind::Quorum;
    say(&mut control, &ToClient::RosterFollows { federation: FEDERATION, round: ROUND, kind })
        .await;
    let message = aborted.clone();
    say(&mut control, &ToClient::Round { federation: FEDERATION, round: ROUND, message }).await;
    let quorum = Roster::Quorum(Quorum { signatures: vec![] }.into());
    let (mut send, receive) = stream();
    there.open.send(receive).ok().unwrap();
    for frame in quorum.to_frames(FEDERATION, ROUND).unwrap() {
        send.send(Bytes::from(frame)).await.unwrap();
    }
    send.finish().unwrap();
    let mut messages = Vec::new();
    for _ in 0..2 {
        match link.next().await.unwrap() {
            Inbound::Round { message, .. } => messages.push(message),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(messages, [quorum.into_to_client().unwrap(), aborted]);
}

async fn send_vector(there: &Coordinator, announced: u64, sent: usize) {
    let kind = VectorKind::Aggregate(ROUND);
    let header = StreamHeader::Vector { federation: FEDERATION, kind, bytes: announced };
    let (mut send, receive) = stream();
    there.open.send(receive).ok().unwrap();
    let header = frame(&encode(&header), FRAME_BYTES_MAX).unwrap();
    // The first bytes of the vector come in one piece with the header.
    send.send(Bytes::from([header, vec![7; sent.min(10)]].concat())).await.unwrap();
    let _ = send.send(Bytes::from(vec![7; sent - sent.min(10)])).await;
    send.finish().unwrap();
}

async fn link_that_waits_for(
    bytes_max: u64,
) -> (Link, Coordinator, MemorySending, Arc<Allowances>) {
    let (_root, gate) = gate();
    let (dialer, mut dialled) = network();
    let allowances = Arc::new(Allowances::default());
    allowances.allow(FEDERATION, VectorKind::Aggregate(ROUND), bytes_max);
    let opening = Link::open(&*dialer, "there:1", gate, Arc::clone(&allowances));
    let answering = async {
        let mut there = dialled.recv().await.unwrap();
        let (_asked, mut control) = there.control.recv().await.unwrap();
        say(&mut control, &welcome(crate::clock::unix_ms())).await;
        (there, control)
    };
    let (link, (there, control)) = tokio::join!(opening, answering);
    (link.unwrap(), there, control, allowances)
}

#[tokio::test]
async fn a_vector_that_is_waited_for_arrives_whole_and_once() {
    let (mut link, there, mut control, _) = link_that_waits_for(1000).await;
    send_vector(&there, 1000, 1000).await;
    match link.next().await.unwrap() {
        Inbound::Vector { bytes, .. } => assert_eq!(bytes, vec![7; 1000]),
        other => panic!("{other:?}"),
    }
    send_vector(&there, 1000, 1000).await;
    say(&mut control, &welcome(0)).await;
    let next = link.next().await.unwrap();
    assert!(matches!(next, Inbound::Control(_)), "the second copy was not taken: {next:?}");
}

#[tokio::test]
async fn a_vector_counts_as_arriving_from_its_header_to_its_end_or_its_loss() {
    let (mut link, there, _control, allowances) = link_that_waits_for(1000).await;
    let kind = VectorKind::Aggregate(ROUND);
    let until = async |arriving: bool| {
        while allowances.is_arriving(FEDERATION, kind) != arriving {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let begin = async || {
        let header = StreamHeader::Vector { federation: FEDERATION, kind, bytes: 10 };
        let (mut send, receive) = stream();
        there.open.send(receive).ok().unwrap();
        send.send(Bytes::from(frame(&encode(&header), FRAME_BYTES_MAX).unwrap())).await.unwrap();
        until(true).await;
        send
    };
    assert!(!allowances.is_arriving(FEDERATION, kind));
    let mut whole = begin().await;
    whole.send(Bytes::from(vec![7; 10])).await.unwrap();
    whole.finish().unwrap();
    assert!(matches!(link.next().await.unwrap(), Inbound::Vector { .. }));
    until(false).await;
    allowances.allow(FEDERATION, kind, 1000);
    drop(begin().await);
    until(false).await;
}

#[tokio::test]
async fn a18_a_vector_longer_than_allowed_is_not_taken() {
    let (mut link, there, mut control, _) = link_that_waits_for(999).await;
    send_vector(&there, 1000, 1000).await;
    say(&mut control, &welcome(0)).await;
    assert!(matches!(link.next().await.unwrap(), Inbound::Control(_)));
}

#[tokio::test]
async fn a18_a_vector_of_another_length_than_announced_ends_the_session() {
    for sent in [0, 5, 99, 101, 200] {
        let (mut link, there, _control, _) = link_that_waits_for(100).await;
        send_vector(&there, 100, sent).await;
        let error = link.next().await.unwrap_err();
        assert!(matches!(error, SessionError::Malformed(_)), "{sent}: {error}");
    }
}

#[tokio::test]
async fn a18_garbage_on_the_control_stream_ends_the_session() {
    for garbage in [vec![0xff; 16], vec![3, 0, 0, 0, 9, 9, 9], vec![0, 0, 1, 0]] {
        let (mut link, _there, mut control) = linked().await;
        control.send(Bytes::from(garbage)).await.unwrap();
        control.finish().unwrap();
        assert!(matches!(link.next().await.unwrap_err(), SessionError::Malformed(_)));
    }
}

#[tokio::test]
async fn a_lost_connection_is_noticed() {
    let (mut link, there, control) = linked().await;
    drop((there, control));
    assert!(matches!(link.next().await.unwrap_err(), SessionError::Lost(_)));
}
