//! The task of one federation: takes its mail, asks the engine, and carries out what it says.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::Signature;
use roundelay_protocol::error::Fault;
use roundelay_protocol::ids::{ClientId, FederationId, RoundNumber, TenantId};
use roundelay_protocol::lineage::{Standing, State};
use roundelay_protocol::manifest::{Manifest, Task as LearningTask};
use roundelay_protocol::message::FromClient;
use roundelay_protocol::session::{Join, Refused};
use roundelay_protocol::time::Time;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::batch::Batch;
use super::boundary::Outbox;
use super::connected::Seated;
use super::desk::Desk;
use super::jobs::{JobError, Stored, StoredSum, Unmasked};
use super::load::{self, Loaded};
use super::states::Given;
use super::{DriverError, DriverSettings, FederationStatus, Shared};
use crate::accumulator::Accumulator;
use crate::accumulator::budget::Budget;
use crate::authority::Peer;
use crate::blobs::Shelf;
use crate::clock::now_unix_ms;
use crate::engine::{Applied, Effect, Engine, Event, Setup};
use crate::store::leases::LEASE_MS;
use crate::store::{Fence, LeaseName, StoreError, TenantStore, Write};
use roundelay_program::failpoint;

mod effects;

/// Facts that no message waits for are durable after this long at the latest.
const LINGER: Duration = Duration::from_millis(20);
/// Facts that nothing waits for at all are durable after this long at the latest.
const LINGER_LONG: Duration = Duration::from_secs(1);
/// Mail that is taken at once.
const BATCH_MAIL: usize = 512;
/// The longest wait before a task that failed begins again.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What a federation's task is told.
pub(super) enum Mail {
    /// A client asks to take part.
    Arrived(Arrival),
    /// A connection is gone.
    Gone { client: ClientId, connection: u64 },
    /// A message of a round.
    Said { client: ClientId, connection: u64, round: RoundNumber, message: FromClient },
    /// Whether a client has joined over this connection.
    MayFetch { client: ClientId, connection: u64, answer: oneshot::Sender<bool> },
    /// A whole vector is in the sum of this accumulator.
    Uploaded { client: ClientId, round: RoundNumber, root: Digest, to: Arc<Accumulator> },
    /// A vector was refused and taken back.
    UploadRefused { client: ClientId, round: RoundNumber, fault: Fault, to: Arc<Accumulator> },
    /// A client has derived a state itself.
    Attests { client: ClientId, connection: u64, standing: Standing, signature: Signature },
    /// A client asks for the signatures under the newest state.
    AsksAttested { client: ClientId, connection: u64 },
    /// A client has sent the state that this run of the task asked it for; none where it was another.
    Given { run: u64, client: ClientId, given: Result<Option<Given>, StoreError> },
    /// A job of this run of the task has ended.
    Job { run: u64, round: RoundNumber, done: Result<Done, JobError> },
    /// Start, or start again.
    Start(oneshot::Sender<Result<(), DriverError>>),
    /// Stop.
    Stop(oneshot::Sender<Result<(), DriverError>>),
    /// Writes of others into this federation's rows: only the fence of this task lets them in.
    Write {
        name: &'static str,
        writes: Vec<Write>,
        answer: oneshot::Sender<Result<(), StoreError>>,
    },
    /// A newer manifest has all its signatures.
    Amended,
    /// End the task.
    Shutdown,
}

/// A client that asks to take part.
pub(super) struct Arrival {
    pub(super) peer: Peer,
    pub(super) connection: u64,
    pub(super) outbox: Arc<dyn Outbox>,
    pub(super) join: Box<Join>,
    /// Set once it has a seat.
    pub(super) seated: Seated,
    pub(super) answer: oneshot::Sender<Result<(), Refused>>,
}

/// What a job gave.
pub(super) enum Done {
    Stored(StoredSum),
    Unmasked(Box<Unmasked>),
    Applied(Stored),
}

impl Done {
    /// The blobs that it stored.
    fn blobs(self) -> Vec<Digest> {
        match self {
            Self::Stored(StoredSum { blob, .. }) => vec![blob],
            Self::Unmasked(_) => Vec::new(),
            Self::Applied(Stored { next, aggregate_blob }) => {
                next.blob.into_iter().chain([aggregate_blob]).collect()
            }
        }
    }
}

/// Which federation a task drives, and with what.
pub(super) struct Place {
    pub(super) shared: Arc<Shared>,
    pub(super) owner: TenantId,
    pub(super) federation: FederationId,
    pub(super) desk: Arc<Desk>,
    pub(super) mail: mpsc::Sender<Mail>,
}

impl Place {
    fn shelf(&self) -> Shelf {
        self.shared.blobs.shelf(&self.owner, self.federation)
    }
}

/// Why a run of a task ended.
enum End {
    Shutdown,
    Failed(DriverError),
}

impl From<DriverError> for End {
    fn from(error: DriverError) -> Self {
        Self::Failed(error)
    }
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

/// Drives a federation until it is told to end. After a failure it begins again from what is
/// stored, and its clients with it.
pub(super) async fn run(
    place: Place,
    mut mailbox: mpsc::Receiver<Mail>,
    status: watch::Sender<FederationStatus>,
) {
    let mut pause = Duration::from_secs(1);
    let mut trouble = None;
    for run in 0.. {
        let began = Instant::now();
        let end = match Task::begin(&place, &status, run).await {
            Ok(mut task) => task.drive(&mut mailbox).await,
            Err(error) => End::Failed(error),
        };
        place.desk.clear();
        let End::Failed(error) = end else { return };
        let told = Some(error.to_string());
        if told != trouble || began.elapsed() > PAUSE_MAX {
            let (tenant, federation) = (&place.owner, place.federation);
            tracing::error!(%tenant, %federation, %error, "the federation is not driven now");
        }
        trouble = told;
        status.send_modify(|status| (status.engine, status.trouble) = (None, trouble.clone()));
        pause = if began.elapsed() > PAUSE_MAX { Duration::from_secs(1) } else { pause };
        if !wait(&mut mailbox, pause, &error).await {
            return;
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Refuses all mail for a while; whether the task goes on after it.
async fn wait(mailbox: &mut mpsc::Receiver<Mail>, pause: Duration, error: &DriverError) -> bool {
    let mut over = pin!(sleep(pause));
    loop {
        let mail = tokio::select! {
            () = &mut over => return true,
            mail = mailbox.recv() => mail,
        };
        match mail {
            None | Some(Mail::Shutdown) => return false,
            Some(Mail::Start(answer) | Mail::Stop(answer)) => {
                let _ = answer.send(Err(DriverError::Trouble(error.to_string())));
            }
            // Whoever waits for an answer gets none and tries again.
            Some(_) => {}
        }
    }
}

/// A client that has joined.
struct Seat {
    connection: u64,
    outbox: Arc<dyn Outbox>,
    seated: Seated,
}

impl Seat {
    fn close(&self) {
        self.seated.store(false, Ordering::Release);
        self.outbox.close();
    }
}

/// One run of a federation's task.
struct Task<'a> {
    place: &'a Place,
    status: &'a watch::Sender<FederationStatus>,
    run: u64,
    engine: Engine,
    learning: Arc<LearningTask>,
    rows: Arc<dyn TenantStore>,
    fence: Fence,
    clock: Clock,
    seats: BTreeMap<ClientId, Seat>,
    /// Joins that are answered once their batch is durable.
    answers: BTreeMap<ClientId, oneshot::Sender<Result<(), Refused>>>,
    verbs: Vec<oneshot::Sender<Result<(), DriverError>>>,
    batch: Batch,
    flush_at: Option<Instant>,
    wake_at: Option<Time>,
    renew_at: Instant,
    /// The blob of the newest model state.
    model: Digest,
    /// Rounds that are past their training plan and not over.
    works: BTreeMap<RoundNumber, Work>,
    /// The hash of the state that a client gave back, and its blob.
    given: Option<(Digest, Digest)>,
    /// A newer manifest that is not in force yet.
    amended: Option<Manifest>,
}

/// What jobs have given for a round so far.
#[derive(Default)]
struct Work {
    /// The blob that holds the masked sum.
    blob: Option<Digest>,
    sum: Option<Bytes>,
    aggregate: Bytes,
    /// The blob that the aggregate is sent from, and its bytes, where it has left the memory.
    sent_from: Option<(Digest, u64)>,
    /// The blob of the state that follows from the aggregate, where that is another.
    next_model: Option<Digest>,
}

impl Work {
    /// The aggregate is stored. While clients are sent it, the uploads of the next round have less
    /// memory; one that has no room beside uploads leaves it, and is sent from its blob.
    fn keep(&mut self, blob: Digest, budget: &Budget) {
        let bytes = self.aggregate.len() as u64;
        let aggregate = std::mem::take(&mut self.aggregate);
        if bytes > budget.most() {
            self.sent_from = Some((blob, bytes));
        } else {
            self.aggregate = budget.charged(aggregate);
        }
    }
}

/// The wall clock at the start, and then the monotonic one: it never steps back.
#[derive(Clone, Copy)]
struct Clock {
    began: Instant,
    unix_ms: u64,
}

impl Clock {
    fn start() -> Self {
        Self { began: Instant::now(), unix_ms: now_unix_ms() }
    }

    fn now(&self) -> Time {
        let passed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Time(self.unix_ms.saturating_add(passed))
    }

    fn instant(&self, time: Time) -> Instant {
        self.began + Duration::from_millis(time.0.saturating_sub(self.unix_ms))
    }
}

impl<'a> Task<'a> {
    async fn begin(
        place: &'a Place,
        status: &'a watch::Sender<FederationStatus>,
        run: u64,
    ) -> Result<Self, DriverError> {
        let (owner, federation) = (place.owner.clone(), place.federation);
        let (store, settings) = (&place.shared.store, &place.shared.settings);
        let lease = LeaseName { owner: owner.clone(), federation };
        let fence = store.acquire(&lease, &settings.holder, now_unix_ms(), LEASE_MS).await?;
        // Before the rows are read: what is listed now and named by none of them, never will be.
        let shelf = place.shelf();
        shelf.remove_drafts().await?;
        let listed = shelf.names().await?;
        let loaded = load::load(&place.shared, &owner, federation).await?;
        let orphans = loaded.unnamed(listed);
        let Loaded { row, setup, amended, invited, state, progress, interrupted, past, model } =
            loaded;
        let manifest = setup.terms.manifest();
        let (learning, members) = (Arc::new(manifest.task.clone()), manifest.tenants().cloned());
        let batch = Batch::new(row, members.collect(), invited, past);
        let clock = Clock::start();
        let mut effects = Vec::new();
        let engine = Engine::resume(setup, state, progress, interrupted, clock.now(), &mut effects);
        let mut task = Self {
            place,
            status,
            run,
            engine,
            learning,
            rows: store.tenant(&owner),
            fence,
            clock,
            seats: BTreeMap::new(),
            answers: BTreeMap::new(),
            verbs: Vec::new(),
            batch,
            flush_at: None,
            wake_at: None,
            renew_at: Instant::now() + Duration::from_millis(LEASE_MS / 3),
            model,
            works: BTreeMap::new(),
            given: None,
            amended: None,
        };
        if task.rows.members(federation).await? != task.batch.reached_by() {
            task.batch.put_members();
        }
        if let Some(manifest) = amended {
            task.amend(manifest, &mut effects);
        }
        task.delete(orphans);
        task.batch.prune();
        task.carry_out(effects).await?;
        Ok(task)
    }

    async fn drive(&mut self, mailbox: &mut mpsc::Receiver<Mail>) -> End {
        loop {
            if let Err(end) = self.turn(mailbox).await {
                if matches!(end, End::Shutdown) {
                    // What is not durable yet, nobody has heard of; but it saves asking again.
                    let _ = self.flush().await;
                    let _ = self.place.shared.store.release(&self.fence).await;
                } else {
                    // Clients of a coordinator that stops are told so before they are closed.
                    self.seats.values().for_each(Seat::close);
                }
                return end;
            }
        }
    }

    async fn turn(&mut self, mailbox: &mut mpsc::Receiver<Mail>) -> Result<(), End> {
        let wake_at = self.wake_at.map(|time| self.clock.instant(time));
        let mut effects = Vec::new();
        tokio::select! {
            mail = mailbox.recv() => {
                self.open(mail.ok_or(End::Shutdown)?, &mut effects).await?;
                for _ in 1..BATCH_MAIL {
                    let Ok(mail) = mailbox.try_recv() else { break };
                    self.open(mail, &mut effects).await?;
                }
            }
            () = at(wake_at) => {
                self.wake_at = None;
                self.tell(Event::Timer, &mut effects);
            }
            () = at(self.flush_at) => self.flush().await?,
            () = sleep_until(self.renew_at) => self.renew().await?,
        }
        self.carry_out(effects).await?;
        Ok(())
    }

    fn tell(&mut self, event: Event, effects: &mut Vec<Effect>) {
        self.engine.handle(self.clock.now(), event, effects);
    }

    async fn open(&mut self, mail: Mail, effects: &mut Vec<Effect>) -> Result<(), End> {
        match mail {
            Mail::Arrived(arrival) => self.arrived(arrival, effects),
            Mail::Gone { client, connection } => {
                if self.is_seated(client, connection) {
                    self.seats.remove(&client);
                    self.tell(Event::Left(client), effects);
                }
            }
            Mail::Said { client, connection, round, message } => {
                if self.is_seated(client, connection) {
                    self.tell(Event::Message { client, round, message }, effects);
                }
            }
            Mail::MayFetch { client, connection, answer } => {
                let _ = answer.send(self.is_seated(client, connection));
            }
            Mail::Uploaded { client, round, root, to } => {
                if self.takes(round, &to) {
                    self.tell(Event::Uploaded { client, round, root }, effects);
                }
            }
            Mail::UploadRefused { client, round, fault, to } => {
                if self.takes(round, &to) {
                    self.tell(Event::UploadRefused { client, round, fault }, effects);
                }
            }
            Mail::Attests { client, connection, standing, signature } => {
                if self.is_seated(client, connection) {
                    self.tell(Event::Attests { client, standing, signature }, effects);
                }
            }
            Mail::AsksAttested { client, connection } => {
                if self.is_seated(client, connection) {
                    self.tell(Event::AsksAttested(client), effects);
                }
            }
            Mail::Given { run, client, given } if run == self.run => {
                self.given(client, given?, effects);
            }
            Mail::Job { run, round, done } if run == self.run => {
                self.done(round, done, effects)?;
            }
            // Of a run that has failed.
            Mail::Job { .. } | Mail::Given { .. } => {}
            Mail::Start(answer) => self.verb(Event::Start, answer, effects),
            Mail::Stop(answer) => self.verb(Event::Stop, answer, effects),
            Mail::Write { name, writes, answer } => {
                let _ = answer.send(self.write(name, writes).await);
            }
            Mail::Amended => self.amended(effects).await?,
            Mail::Shutdown => return Err(End::Shutdown),
        }
        Ok(())
    }

    /// Seats the client at once, so that mail behind this one finds it; it is answered when the
    /// batch is durable.
    fn arrived(&mut self, arrival: Arrival, effects: &mut Vec<Effect>) {
        let Arrival { peer: Peer { tenant, client }, connection, outbox, join, seated, answer } =
            arrival;
        let before = effects.len();
        self.tell(Event::Joined { client, tenant, join }, effects);
        let is_admitted = |effect: &Effect| matches!(effect, Effect::Admit { .. });
        if effects.iter().skip(before).any(is_admitted) {
            seated.store(true, Ordering::Release);
            let seat = Seat { connection, outbox, seated };
            if let Some(earlier) = self.seats.insert(client, seat)
                && earlier.connection != connection
            {
                earlier.close();
            }
        }
        self.answers.insert(client, answer);
    }

    fn verb(
        &mut self,
        event: Event,
        answer: oneshot::Sender<Result<(), DriverError>>,
        effects: &mut Vec<Effect>,
    ) {
        self.tell(event, effects);
        self.verbs.push(answer);
    }

    fn is_seated(&self, client: ClientId, connection: u64) -> bool {
        self.seats.get(&client).is_some_and(|seat| seat.connection == connection)
    }

    /// Whether an upload went into the sum that the round has now.
    fn takes(&self, round: RoundNumber, to: &Arc<Accumulator>) -> bool {
        self.place.desk.find(round).is_some_and(|now| Arc::ptr_eq(&now, to))
    }

    async fn write(
        &mut self,
        name: &'static str,
        mut writes: Vec<Write>,
    ) -> Result<(), StoreError> {
        let invited = self.batch.keep_members(&mut writes);
        self.rows.transact(name, Some(&self.fence), writes).await?;
        invited.into_iter().for_each(|invited| self.batch.invite(invited));
        Ok(())
    }

    async fn amended(&mut self, effects: &mut Vec<Effect>) -> Result<(), End> {
        let manifest = load::in_force(&*self.rows, self.place.federation).await;
        let manifest = manifest.map_err(DriverError::from)?;
        self.amend(manifest, effects);
        Ok(())
    }

    /// A state that a client gave back goes to the engine.
    fn given(&mut self, client: ClientId, given: Option<Given>, effects: &mut Vec<Effect>) {
        let standardised = given.as_ref().map(|given| given.standardised);
        if let Some(Given { hash, blob, .. }) = given {
            self.batch.given(hash, blob);
            self.given = Some((hash, blob));
        }
        self.tell(Event::StateGiven { client, standardised }, effects);
    }

    fn amend(&mut self, manifest: Manifest, effects: &mut Vec<Effect>) {
        let DriverSettings { pace, timing, .. } = self.place.shared.settings;
        self.amended = Some(manifest.clone());
        self.tell(Event::Amended(Box::new(Setup::new(manifest, pace, timing))), effects);
    }

    /// Takes the result of a job to the engine.
    fn done(
        &mut self,
        round: RoundNumber,
        done: Result<Done, JobError>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), End> {
        let Some(work) = self.works.get_mut(&round) else {
            // The round was aborted meanwhile.
            self.delete(done.map_or(Vec::new(), |done| done.blobs()));
            return Ok(());
        };
        let event = match done {
            Ok(Done::Stored(StoredSum { blob, sum })) => {
                (work.blob, work.sum) = (Some(blob), Some(sum));
                Event::SumStored { round, sum: blob }
            }
            Ok(Done::Unmasked(unmasked)) => {
                work.aggregate = unmasked.aggregate;
                Event::Unmasked { round, outcome: unmasked.outcome }
            }
            Ok(Done::Applied(stored)) => {
                self.batch.result(round, &stored);
                let Stored { next, aggregate_blob } = stored;
                work.next_model = next.blob;
                work.keep(aggregate_blob, &self.place.shared.budget);
                let applied = Applied { state: next.hash, metrics: next.metrics };
                Event::Applied { round, applied }
            }
            Err(error) => {
                let why = error.to_string();
                let reason = error.abort_reason()?;
                let (tenant, federation) = (&self.place.owner, self.place.federation);
                tracing::error!(%tenant, %federation, %round, %why, "the work of a round failed");
                Event::WorkFailed(round, reason)
            }
        };
        self.tell(event, effects);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        self.flush_at = None;
        if self.batch.is_empty() {
            return Ok(());
        }
        let (stages, writes) = (self.batch.take_stages(), self.batch.take());
        if !writes.is_empty() {
            stages.iter().for_each(|stage| failpoint!("round", stage, "before"));
            self.rows.transact("federation.batch", Some(&self.fence), writes).await?;
            stages.iter().for_each(|stage| failpoint!("round", stage, "after"));
        }
        let freed = self.batch.take_freed();
        self.delete(freed);
        Ok(())
    }

    async fn renew(&mut self) -> Result<(), StoreError> {
        self.renew_at = Instant::now() + Duration::from_millis(LEASE_MS / 3);
        self.place.shared.store.renew(&self.fence, now_unix_ms(), LEASE_MS).await
    }
}

/// Ends at a moment, or never.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
