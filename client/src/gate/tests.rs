//! The gate over a connection that keeps what it is given.

use async_trait::async_trait;
use roundelay_protocol::close::CloseCode;
use roundelay_protocol::codec::{self, FrameReader};
use roundelay_protocol::ids::{FederationId, RoundNumber};
use roundelay_protocol::limits::FRAME_BYTES_MAX;
use roundelay_protocol::session::{StreamHeader, ToCoordinator};

use super::ledger::Entries;
use super::*;
use crate::outbound::{Hello, ListFederations, MaskedVector};
use crate::session::connection::Receiving;

/// Every stream that was opened: its bytes, and whether it was finished.
#[derive(Default)]
struct Wire {
    streams: Mutex<Vec<(Vec<u8>, bool)>>,
}

struct Recorder {
    wire: Arc<Wire>,
    stream: usize,
}

impl Wire {
    fn stream(self: &Arc<Self>) -> Box<dyn Sending> {
        let mut streams = lock(&self.streams);
        streams.push((Vec::new(), false));
        Box::new(Recorder { wire: Arc::clone(self), stream: streams.len() - 1 })
    }

    fn bytes(&self, stream: usize) -> Vec<u8> {
        lock(&self.streams)[stream].0.clone()
    }
}

#[async_trait]
impl Sending for Recorder {
    async fn send(&mut self, bytes: Bytes) -> Result<(), Lost> {
        lock(&self.wire.streams)[self.stream].0.extend_from_slice(&bytes);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Lost> {
        lock(&self.wire.streams)[self.stream].1 = true;
        Ok(())
    }
}

struct OpenWire(Arc<Wire>);

#[async_trait]
impl Connection for OpenWire {
    async fn control(&self) -> Result<(Box<dyn Sending>, Box<dyn Receiving>), Lost> {
        Err(Lost::Here)
    }
    async fn open(&self) -> Result<Box<dyn Sending>, Lost> {
        Ok(self.0.stream())
    }
    async fn accept(&self) -> Result<Box<dyn Receiving>, Lost> {
        Err(Lost::Here)
    }
    fn close(&self, _code: CloseCode) {}
}

fn gate() -> (tempfile::TempDir, Gate, Arc<Wire>) {
    let root = tempfile::tempdir().unwrap();
    let gate = Gate::open(&root.path().join("ledger")).unwrap();
    let wire = Arc::new(Wire::default());
    gate.attach(Line::new(Arc::new(OpenWire(Arc::clone(&wire))), wire.stream()));
    (root, gate, wire)
}

fn recorded(root: &tempfile::TempDir) -> Vec<(String, u64)> {
    let entries = Entries::read(&root.path().join("ledger")).unwrap().unwrap();
    entries.map(|entry| entry.map(|entry| (entry.kind, entry.bytes)).unwrap()).collect()
}

/// A masked vector in a file of these words, said to have so many bytes.
fn masked(root: &tempfile::TempDir, words: &[u8], bytes: u64) -> MaskedVector {
    let path = root.path().join("round-3.masked");
    std::fs::write(&path, words).unwrap();
    let (federation, round, root) = (FederationId([1; 16]), RoundNumber(3), Digest([5; 32]));
    MaskedVector { federation, round, path, bytes, root }
}

async fn written(wire: &Wire, bytes: usize) {
    while wire.bytes(0).len() < bytes {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn control_messages_arrive_in_order_and_are_recorded() {
    let (root, gate, wire) = gate();
    gate.send(&Hello).await.unwrap();
    gate.send(&ListFederations).await.unwrap();
    let lines = recorded(&root);
    assert_eq!(lines[0].0, "hello");
    assert_eq!(lines[1].0, "list-federations");
    let total = usize::try_from(lines[0].1 + lines[1].1).unwrap();
    written(&wire, total).await;
    let bytes = wire.bytes(0);
    assert_eq!(bytes.len(), total, "the ledger counts the very bytes that left");
    let (mut reader, mut rest) = (FrameReader::new(FRAME_BYTES_MAX), bytes.as_slice());
    let first = reader.read(&mut rest).unwrap().unwrap();
    let second = reader.read(&mut rest).unwrap().unwrap();
    assert!(matches!(codec::decode(&first, 1 << 10), Ok(ToCoordinator::Hello { .. })));
    assert_eq!(codec::decode(&second, 1 << 10), Ok(ToCoordinator::ListFederations));
}

#[tokio::test]
async fn a_masked_vector_travels_behind_its_header_on_a_stream_of_its_own() {
    let (root, gate, wire) = gate();
    let words: Vec<u8> = (0..3_000_000_u32).map(|i| i.to_le_bytes()[0]).collect();
    let vector = masked(&root, &words, 3_000_000);
    gate.send(&vector).await.unwrap();
    let (bytes, finished) = lock(&wire.streams)[1].clone();
    assert!(finished);
    let mut rest = bytes.as_slice();
    let header = FrameReader::new(FRAME_BYTES_MAX).read(&mut rest).unwrap().unwrap();
    let header: StreamHeader = codec::decode(&header, 1 << 10).unwrap();
    assert!(matches!(header, StreamHeader::Vector { bytes: 3_000_000, .. }));
    assert_eq!(rest, words);
    let entry = Entries::read(&root.path().join("ledger")).unwrap().unwrap().next().unwrap();
    assert_eq!(entry.unwrap().hash, Digest([5; 32]).to_string());
}

#[tokio::test]
async fn a_vector_file_that_is_too_short_breaks_its_stream_off() {
    let (root, gate, wire) = gate();
    let vector = masked(&root, &[0; 10], 11);
    assert!(matches!(gate.send(&vector).await, Err(GateError::Checkpoint(_))));
    assert!(!lock(&wire.streams)[1].1, "never finished");
}

#[tokio::test]
async fn nothing_is_sent_that_cannot_be_recorded() {
    use crate::checkpoint::failpoint::{Fault, arm};
    let (root, gate, wire) = gate();
    arm("ledger.before", Fault::Full);
    assert!(matches!(gate.send(&Hello).await, Err(GateError::Checkpoint(_))));
    gate.send(&ListFederations).await.unwrap();
    let lines = recorded(&root);
    written(&wire, usize::try_from(lines[0].1).unwrap()).await;
    assert_eq!(wire.bytes(0).len() as u64, lines[0].1);
}

#[tokio::test]
async fn without_a_connection_nothing_is_sent_or_recorded() {
    let (root, gate, _wire) = gate();
    gate.detach();
    assert!(matches!(gate.send(&Hello).await, Err(GateError::NotConnected)));
    assert!(recorded(&root).is_empty());
}

/// One look at a future: whether it is done, and how.
fn look<F: Future>(future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

#[tokio::test]
async fn nobody_takes_a_line_for_durable_while_another_still_makes_it_so() {
    // A disk may be faster than the first look: then there was nothing to wait for.
    for _ in 0..50 {
        let (_root, gate, _wire) = gate();
        gate.send(&Hello).await.unwrap();
        let mut first = std::pin::pin!(gate.sync());
        if look(first.as_mut()).is_pending() {
            let mut second = std::pin::pin!(gate.sync());
            assert!(look(second.as_mut()).is_pending(), "the first has not ended");
            let (first, second) = tokio::join!(first, second);
            return first.and(second).unwrap();
        }
    }
    panic!("no sync took time");
}

#[tokio::test]
async fn after_a_sync_that_failed_no_vector_leaves_any_more() {
    use crate::checkpoint::failpoint::{Fault, arm, disarm};
    let (root, gate, wire) = gate();
    let vector = masked(&root, &[0; 10], 10);
    arm("ledger.sync.before", Fault::Full);
    assert!(matches!(gate.send(&vector).await, Err(GateError::Checkpoint(_))));
    assert!(!disarm());
    // The system reports a write that failed once, and forgets it: trying again proves nothing.
    assert!(matches!(gate.send(&vector).await, Err(GateError::Checkpoint(_))));
    assert!(gate.sync().await.is_err());
    assert_eq!(lock(&wire.streams).len(), 1, "no stream was opened for it");
}
