//! Clients as tasks over the driver's own boundary: an outbox that is a channel, uploads in odd
//! pieces, and a state fetched where one is behind.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use roundelay_crypto::identity::IdentityKey;
use roundelay_protocol::ids::{ClientId, RoundNumber};
use roundelay_protocol::message;
use roundelay_protocol::round::horizontal::client::Standing;
use roundelay_protocol::round::horizontal::terms::Terms;
use roundelay_protocol::session::{Join, StreamHeader, ToClient, VectorKind};
use roundelay_protocol::time::Time;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::*;
use crate::accumulator::UploadError;
use crate::testing::{Out, TestClient};

/// Clients that are not running.
pub(super) struct Site(Vec<Seat>);

/// The newest manifest that the tenants have signed; a client that is refused with another one
/// takes it up.
pub(super) type Newest = Arc<Mutex<Arc<Terms>>>;

struct Seat {
    client: TestClient,
    /// Bytes by which its uploads are too long, or too short.
    wrong_by: i64,
    /// Its first upload stops halfway; how that ended is told here.
    stalls: Option<oneshot::Sender<Result<(), UploadError>>>,
    newest: Newest,
}

/// Clients that run, each in a task of its own.
pub(super) struct Running {
    tasks: Vec<JoinHandle<Seat>>,
    stop: Vec<UnboundedSender<Inbox>>,
}

enum Inbox {
    Said(ToClient),
    Roster(RoundNumber, message::ToClient),
    Vector(StreamHeader, VectorSource),
    Closed,
    Stop,
}

struct Channel {
    to: UnboundedSender<Inbox>,
    closed: AtomicBool,
}

impl Outbox for Channel {
    fn send(&self, message: ToClient) -> bool {
        self.to.send(Inbox::Said(message)).is_ok()
    }

    fn roster(&self, _: FederationId, round: RoundNumber, message: message::ToClient) -> bool {
        self.to.send(Inbox::Roster(round, message)).is_ok()
    }

    fn vector(&self, header: StreamHeader, source: VectorSource) -> bool {
        self.to.send(Inbox::Vector(header, source)).is_ok()
    }

    fn close(&self) {
        if !self.closed.swap(true, Ordering::SeqCst) {
            let _ = self.to.send(Inbox::Closed);
        }
    }
}

/// An upload in pieces of different sizes.
struct Pieces {
    rest: Bytes,
    size: usize,
}

#[async_trait]
impl ChunkSource for Pieces {
    async fn next(&mut self) -> Result<Option<Bytes>, SourceGone> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.size = self.size % 61 + 7;
        Ok(Some(self.rest.split_to(self.size.min(self.rest.len()))))
    }
}

/// The first half of an upload, and then nothing any more.
struct Half(Option<Bytes>);

#[async_trait]
impl ChunkSource for Half {
    async fn next(&mut self) -> Result<Option<Bytes>, SourceGone> {
        match self.0.take() {
            Some(mut whole) => Ok(Some(whole.split_to(whole.len() / 2))),
            None => std::future::pending().await,
        }
    }
}

impl Site {
    pub(super) fn new(newest: &Newest, keys: &[Arc<IdentityKey>]) -> Self {
        let terms = Arc::clone(&newest.lock().unwrap());
        let client = |(key, seed)| Seat {
            client: TestClient::new(&terms, key, seed),
            wrong_by: 0,
            stalls: None,
            newest: Arc::clone(newest),
        };
        Self(keys.iter().zip(1..).map(client).collect())
    }

    /// Those of them whose keys are none of these.
    pub(super) fn without(mut self, known: &[Arc<IdentityKey>]) -> Self {
        let is_known =
            |id: ClientId| known.iter().any(|key| ClientId(key.public().fingerprint()) == id);
        self.0.retain(|seat| !is_known(seat.client.id));
        self
    }

    /// These clients have compared the fingerprints of these peers alone.
    pub(super) fn pin(&mut self, peers: &[Arc<IdentityKey>]) {
        self.0.iter_mut().for_each(|seat| seat.client.pin(peers));
    }

    pub(super) fn split_off(&mut self, at: usize) -> Self {
        Self(self.0.split_off(at))
    }

    pub(super) fn diverge(&mut self, client: usize) {
        self.0[client].client.diverge();
    }

    pub(super) fn upload_wrong_by(&mut self, client: usize, bytes: i64) {
        self.0[client].wrong_by = bytes;
    }

    /// How this client's first upload ends, which stops halfway.
    pub(super) fn stall(&mut self, client: usize) -> oneshot::Receiver<Result<(), UploadError>> {
        let (told, ended) = oneshot::channel();
        self.0[client].stalls = Some(told);
        ended
    }

    pub(super) fn run(self, driver: &Driver) -> Running {
        let mut running = Running { tasks: Vec::new(), stop: Vec::new() };
        for seat in self.0 {
            let (to, inbox) = unbounded_channel();
            running.stop.push(to.clone());
            running.tasks.push(tokio::spawn(seat.run(driver.clone(), to, inbox)));
        }
        running
    }
}

impl Running {
    /// The clients, once all that is under way to them has arrived.
    pub(super) async fn stop(self) -> Vec<TestClient> {
        self.end().await.0.into_iter().map(|seat| seat.client).collect()
    }

    async fn end(self) -> Site {
        self.stop.iter().for_each(|stop| drop(stop.send(Inbox::Stop)));
        let mut seats = Vec::new();
        for task in self.tasks {
            seats.push(task.await.unwrap());
        }
        Site(seats)
    }

    /// The clients keep their keys and connect to another driver.
    pub(super) async fn move_to(self, driver: &Driver) -> Self {
        self.end().await.run(driver)
    }

    pub(super) fn and(mut self, others: Self) -> Self {
        self.tasks.extend(others.tasks);
        self.stop.extend(others.stop);
        self
    }
}

impl Seat {
    async fn run(
        mut self,
        driver: Driver,
        to: UnboundedSender<Inbox>,
        mut inbox: UnboundedReceiver<Inbox>,
    ) -> Self {
        'connections: loop {
            let outbox = Channel { to: to.clone(), closed: AtomicBool::new(false) };
            let (tenant, client) = (self.client.tenant.clone(), self.client.id);
            let connected = driver.connect(Peer { tenant, client }, Arc::new(outbox));
            if let Err(refused) = connected.join(self.client.join()).await {
                if &*refused.code == "other_manifest" {
                    self.client.repin(&self.newest.lock().unwrap());
                }
                if matches!(inbox.try_recv(), Ok(Inbox::Stop)) {
                    return self;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            while let Some(inbox) = inbox.recv().await {
                match inbox {
                    Inbox::Said(message) => self.said(&connected, message).await,
                    Inbox::Roster(round, message) => {
                        let outs = self.client.take(now(), round, message);
                        self.act(&connected, outs).await;
                    }
                    Inbox::Vector(header, source) => self.vector(&connected, header, source).await,
                    Inbox::Closed => continue 'connections,
                    Inbox::Stop => return self,
                }
            }
        }
    }

    async fn said(&mut self, connected: &Connected, message: ToClient) {
        match message {
            ToClient::Round { round, message, .. } => {
                let outs = self.client.take(now(), round, message);
                self.act(connected, outs).await;
            }
            ToClient::Joined { federation, standing }
                if standing.round > self.client.standing().round =>
            {
                let kind = VectorKind::State(standing.model_version);
                let source = connected.vector(federation, kind).await.unwrap();
                self.client.adopt(standing, &whole(source).await);
            }
            _ => {}
        }
    }

    async fn vector(&mut self, connected: &Connected, header: StreamHeader, source: VectorSource) {
        let StreamHeader::Vector { kind: VectorKind::Aggregate(round), bytes, .. } = header else {
            panic!("{header:?} is not an aggregate");
        };
        let aggregate = whole(source).await;
        assert_eq!(aggregate.len() as u64, bytes);
        let outs = self.client.aggregate(now(), round, &aggregate);
        self.act(connected, outs).await;
        if let Some(signature) = self.client.attestation() {
            let (federation, standing) = (self.client.join().federation, self.client.standing());
            connected.attest(federation, standing, signature).await;
        }
    }

    async fn act(&mut self, connected: &Connected, outs: Vec<Out>) {
        let federation = self.client.join().federation;
        for out in outs {
            match out {
                Out::Send(round, message) => connected.round(federation, round, message).await,
                Out::Upload(round, mut bytes) => {
                    let announced = bytes.len() as u64;
                    if let Some(told) = self.stalls.take() {
                        let mut half = Half(Some(bytes.into()));
                        let upload = connected.upload(federation, round, announced, &mut half);
                        told.send(upload.await).unwrap();
                        continue;
                    }
                    let length = announced.strict_add_signed(self.wrong_by);
                    bytes.resize(usize::try_from(length).unwrap(), 0);
                    let mut pieces = Pieces { rest: bytes.into(), size: 1 };
                    let upload = connected.upload(federation, round, announced, &mut pieces).await;
                    let faulty = matches!(upload, Err(UploadError::Fault(_)));
                    assert_eq!(faulty, self.wrong_by != 0);
                }
            }
        }
    }
}

async fn whole(mut source: VectorSource) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(piece) = source.next().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    bytes
}

fn now() -> Time {
    Time(now_unix_ms())
}

/// What a client of the manifest is told under another tenant's certificate, for a federation that
/// is not run here, and when it fetches without having joined.
pub(super) async fn refusals(driver: &Driver, terms: &Terms, client: ClientId) -> Vec<String> {
    let (to, _inbox) = unbounded_channel();
    let outbox = Arc::new(Channel { to, closed: AtomicBool::new(false) });
    let tenant = "stranger".parse().unwrap();
    let connected = driver.connect(Peer { tenant, client }, outbox);
    let federation = terms.federation();
    let join = Join {
        federation,
        manifest: terms.hash(),
        highest_round: RoundNumber(0),
        resumable: Vec::new().try_into().unwrap(),
        standing: Standing::initial(Digest([0; 32])),
        attestation: None,
        schema: terms.manifest().task.schema.digest(),
    };
    let elsewhere = Join { federation: FederationId([3; 16]), ..join.clone() };
    let mut refused = Vec::new();
    refused.push(connected.join(join).await.unwrap_err());
    refused.push(connected.join(elsewhere).await.unwrap_err());
    let kind = VectorKind::State(ModelVersion(0));
    refused.push(connected.vector(federation, kind).await.unwrap_err());
    refused.into_iter().map(|refused| refused.code.to_string()).collect()
}
