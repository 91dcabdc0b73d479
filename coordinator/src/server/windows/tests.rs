use std::net::SocketAddr;

use async_trait::async_trait;
use proptest::prelude::*;
use roundelay_protocol::close::CloseCode;
use rustls::pki_types::CertificateDer;

use super::super::transport::{Incoming, Lost, Outgoing};
use super::*;

const IDLE: u32 = 64 << 10;
const WIDE: u32 = 1 << 20;
const TOTAL: u32 = 4 << 20;

fn windows() -> Windows {
    Windows::new(&Limits {
        idle_window_bytes: IDLE,
        upload_window_bytes: WIDE,
        upload_windows_bytes_total: TOTAL,
        ..Limits::default()
    })
}

/// The peer's side of flow control, as RFC 9000 has it: a limit that only rises. A window that grows
/// raises it at once; one that shrinks keeps back what reading would have raised it by.
#[derive(Default)]
struct Peer(Mutex<Flow>);

#[derive(Default)]
struct Flow {
    window: u64,
    limit: u64,
    kept_back: u64,
    read: u64,
}

impl Peer {
    fn new() -> Arc<Self> {
        let flow = Flow { window: IDLE.into(), limit: IDLE.into(), ..Flow::default() };
        Arc::new(Self(Mutex::new(flow)))
    }

    /// Most bytes that the peer can make the coordinator hold now.
    fn in_flight(&self) -> u64 {
        let flow = lock(&self.0);
        flow.limit - flow.read
    }

    /// The coordinator reads; a peer that has its limit in flight always has so much to read.
    fn read(&self, bytes: u64) -> usize {
        let mut flow = lock(&self.0);
        let bytes = bytes.min(flow.limit - flow.read);
        let back = bytes.min(flow.kept_back);
        flow.read += bytes;
        flow.kept_back -= back;
        flow.limit += bytes - back;
        usize::try_from(bytes).unwrap()
    }
}

#[async_trait]
impl Connection for Peer {
    fn allow_in_flight(&self, bytes: u32) {
        let (mut flow, bytes) = (lock(&self.0), u64::from(bytes));
        if bytes > flow.window {
            flow.limit += bytes - flow.window;
        } else {
            flow.kept_back += flow.window - bytes;
        }
        flow.window = bytes;
    }

    fn remote(&self) -> SocketAddr {
        ([127, 0, 0, 1], 1).into()
    }

    fn protocol(&self) -> Vec<u8> {
        Vec::new()
    }

    fn certificate(&self) -> Option<CertificateDer<'static>> {
        None
    }

    async fn accept_bi(&self) -> Result<(Box<dyn Outgoing>, Box<dyn Incoming>), Lost> {
        Err(self.closed().await)
    }

    async fn accept_uni(&self) -> Result<Box<dyn Incoming>, Lost> {
        Err(self.closed().await)
    }

    async fn open_uni(&self) -> Result<Box<dyn Outgoing>, Lost> {
        Err(self.closed().await)
    }

    fn allow_streams(&self, _: u32) {}

    fn close(&self, _: CloseCode, _: &str) {}

    async fn closed(&self) -> Lost {
        Lost { code: None, reason: "closed".to_owned(), stopped: false }
    }
}

/// A connection and its uploads that are being read.
struct Client {
    peer: Arc<Peer>,
    account: Arc<Account>,
    uploads: Vec<Reading>,
}

impl Client {
    fn new(windows: &Windows) -> Self {
        let peer = Peer::new();
        let account = windows.account(Arc::clone(&peer) as _);
        Self { peer, account, uploads: Vec::new() }
    }

    fn begin(&mut self, bytes: u64) {
        self.uploads.push(self.account.read(bytes));
    }

    fn read(&mut self, bytes: u64) {
        let Some(upload) = self.uploads.last_mut() else { return };
        let read = self.peer.read(bytes.min(upload.missing));
        upload.took(read);
    }
}

/// What all these clients may have in flight beyond their idle windows.
fn beyond_idle(clients: &[Client]) -> u64 {
    let beyond = |client: &Client| client.peer.in_flight().saturating_sub(IDLE.into());
    clients.iter().map(beyond).sum()
}

#[test]
fn a_hundred_uploads_at_once_may_have_no_more_in_flight_than_ten_and_the_next_round_no_more_either()
{
    let windows = windows();
    let mut clients: Vec<_> = (0..100).map(|_| Client::new(&windows)).collect();
    for round in 0..3 {
        let mut most = 0;
        clients.iter_mut().for_each(|client| client.begin(10 << 20));
        for _ in 0..2_000 {
            clients.iter_mut().for_each(|client| client.read(16 << 10));
            most = most.max(beyond_idle(&clients));
        }
        assert!(clients.iter().all(|client| client.uploads[0].missing == 0));
        clients.iter_mut().for_each(|client| client.uploads.clear());
        assert!(most <= TOTAL.into(), "{most} in round {round}");
        assert!(most > u64::from(TOTAL) / 2, "the budget is used: {most}");
        let kept = u64::from(TOTAL) - windows.free();
        assert!(kept <= 100 * STEP_BYTES / 4, "{kept} are still held after round {round}");
    }
}

#[test]
fn an_upload_alone_has_all_that_one_may_have_and_makes_room_when_others_come() {
    let windows = windows();
    let mut first = Client::new(&windows);
    first.begin(1 << 30);
    assert_eq!(first.peer.in_flight(), u64::from(WIDE));
    let mut others: Vec<_> = (0..15).map(|_| Client::new(&windows)).collect();
    others.iter_mut().for_each(|client| client.begin(1 << 30));
    for _ in 0..500 {
        first.read(16 << 10);
        others.iter_mut().for_each(|client| client.read(16 << 10));
    }
    let even = u64::from(TOTAL) / 16;
    let mut all = vec![first];
    all.append(&mut others);
    for client in &all {
        let beyond = client.peer.in_flight() - u64::from(IDLE);
        assert!(beyond.abs_diff(even) < 2 * STEP_BYTES, "{beyond} instead of {even}");
    }
}

#[test]
fn a_client_that_reads_nothing_on_keeps_others_from_no_more_than_its_share_until_it_has_gone() {
    let windows = windows();
    let mut slow = Client::new(&windows);
    slow.begin(1 << 30);
    let held = u64::from(TOTAL) - windows.free();
    assert_eq!(held, u64::from(WIDE - IDLE));
    slow.uploads.clear();
    assert_eq!(windows.free() + held, u64::from(TOTAL), "what it was allowed, it may still send");
    drop(slow);
    assert_eq!(windows.free(), u64::from(TOTAL));
}

#[derive(Debug, Clone)]
enum Act {
    Begin(usize, u64),
    Read(usize, u64),
    Abandon(usize),
    Leave(usize),
}

fn act() -> impl Strategy<Value = Act> {
    let client = 0..12_usize;
    prop_oneof![
        1 => (client.clone(), 0..8_u64 << 20).prop_map(|(at, bytes)| Act::Begin(at, bytes)),
        6 => (client.clone(), 1..512_u64 << 10).prop_map(|(at, bytes)| Act::Read(at, bytes)),
        1 => client.clone().prop_map(Act::Abandon),
        1 => client.prop_map(Act::Leave),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_clients_do_they_may_never_have_more_in_flight_than_the_budget(
        acts in prop::collection::vec(act(), 1..300),
    ) {
        let windows = windows();
        let mut clients: Vec<_> = (0..12).map(|_| Client::new(&windows)).collect();
        for act in acts {
            match act {
                Act::Begin(at, bytes) => clients[at].begin(bytes),
                Act::Read(at, bytes) => clients[at].read(bytes),
                Act::Abandon(at) => drop(clients[at].uploads.pop()),
                Act::Leave(at) => clients[at] = Client::new(&windows),
            }
            prop_assert!(beyond_idle(&clients) <= u64::from(TOTAL));
            prop_assert!(windows.free() + beyond_idle(&clients) <= u64::from(TOTAL));
        }
        drop(clients);
        prop_assert_eq!(windows.free(), u64::from(TOTAL));
    }
}
