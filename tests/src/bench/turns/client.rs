//! One client that takes turns.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roundelay_client::checkpoint::{CheckpointError, FederationDir, StateDir};
use roundelay_client::clock::Clock;
use roundelay_client::engine::work::{Contribution, Derivation, Derived, MaskWork, TrainWork};
use roundelay_client::engine::work::{Masked, WorkFailure};
use roundelay_client::engine::{Effect, Event, Federation, Input};
use roundelay_client::gate::Gate;
use roundelay_client::identity::os_rng;
use roundelay_client::outbound::{
    FetchAggregate, FetchManifest, MaskedVector, Outbound, RoundMessage, StateAttestation,
};
use roundelay_client::session::link::{Allowances, Inbound, Link};
use roundelay_client::session::site::Site;
use roundelay_client::train::{Trainer, Uninterrupted};
use roundelay_program::note;
use roundelay_protocol::codec;
use roundelay_protocol::ids::{FederationId, RoundNumber};
use roundelay_protocol::limits::MANIFEST_BYTES_MAX;
use roundelay_protocol::manifest::SignedManifest;
use roundelay_protocol::privacy::Account;
use roundelay_protocol::round::horizontal::client::{LocalFailure, Roots, Setup};
use roundelay_protocol::round::horizontal::terms::Terms;
use roundelay_protocol::session::{ToClient, VectorKind};
use roundelay_protocol::time::{Millis, Time};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::{Common, Turn};
use crate::bench::loopback::line;

/// Longer than any stage.
const PATIENCE: Millis = Millis(24 * 60 * 60 * 1000);

/// Whoever is refused tries again after this.
const AGAIN: Duration = Duration::from_millis(500);

/// A client before it takes part.
pub(super) struct Client {
    place: usize,
    common: Arc<Common>,
    trainer: Box<dyn Trainer>,
}

/// What its long work tells it.
enum Mail {
    /// It is its turn, to fetch this.
    Turn(VectorKind, Turn),
    Trained(RoundNumber, Result<Contribution, WorkFailure>, Box<dyn Trainer>, Turn),
    Masked(RoundNumber, Result<(MaskedVector, Roots), CheckpointError>),
    Derived(Derived),
}

/// A client that takes part.
struct Running {
    place: usize,
    common: Arc<Common>,
    /// None while it trains.
    trainer: Option<Box<dyn Trainer>>,
    engine: Federation,
    dir: FederationDir,
    gate: Arc<Gate>,
    allowances: Arc<Allowances>,
    clock: Clock,
    deadline: Option<Time>,
    /// Aggregates that are waited for, and their most bytes.
    expected: Option<(VectorKind, u64)>,
    fetching: BTreeSet<RoundNumber>,
    /// Held from its training until its vector is stored, and from its fetching until it has derived.
    turn: Option<Turn>,
    vector: Option<MaskedVector>,
    mail: mpsc::Sender<Mail>,
}

impl Client {
    pub(super) fn new(place: usize, common: Arc<Common>, trainer: Box<dyn Trainer>) -> Self {
        Self { place, common, trainer }
    }

    /// Takes part until the federation is over.
    pub(super) async fn take_part(self, folder: &Path, id: FederationId) -> Result<(), String> {
        let Self { place, common, mut trainer } = self;
        let dir = StateDir::open(folder).map_err(line)?;
        let _lock = dir.lock().map_err(line)?;
        let site = Site::load(dir).map_err(line)?;
        let dir = site.dir.federation(id).map_err(line)?;
        let gate = Arc::new(Gate::open(&folder.join("ledger")).map_err(line)?);
        let allowances = Arc::new(Allowances::default());
        let (dialer, address) = (site.dialer().map_err(line)?, &site.enrolment.coordinator);
        let link = Link::open(&*dialer, address, Arc::clone(&gate), Arc::clone(&allowances));
        let mut link = link.await.map_err(line)?;
        let terms = Arc::new(manifest(&dir, &gate, &mut link).await?);
        let task = terms.manifest().task.clone();
        let data = trainer.prepare(&task).map_err(line)?;
        let initial = common.initial(&task)?;
        let setup = Setup {
            pinned: Arc::new(terms.clients().filter(|peer| *peer != site.client).collect()),
            terms,
            identity: Arc::clone(&site.identity),
            patience: PATIENCE,
            account: Account::default(),
        };
        let (engine, effects) = Federation::new(setup, data.schema, &[], None, initial);
        let (mail, inbox) = mpsc::channel(16);
        let mut running = Running {
            place,
            common,
            trainer: Some(trainer),
            engine,
            dir,
            gate,
            allowances,
            clock: Clock::start(),
            deadline: None,
            expected: None,
            fetching: BTreeSet::new(),
            turn: None,
            vector: None,
            mail,
        };
        running.carry_out(effects).await?;
        let join = running.engine.join();
        running.send(&join).await?;
        running.serve(&mut link, inbox).await
    }
}

/// The manifest that its tenant has signed, as the coordinator holds it, with everybody's signatures.
async fn manifest(dir: &FederationDir, gate: &Gate, link: &mut Link) -> Result<Terms, String> {
    let agreed = dir.pins().map_err(line)?.agreed().ok_or("it has signed no manifest")?;
    let fetch = FetchManifest { federation: dir.federation(), manifest: agreed };
    gate.send(&fetch).await.map_err(line)?;
    loop {
        if let Inbound::Vector { kind: VectorKind::Manifest(_), bytes, .. } =
            link.next().await.map_err(line)?
        {
            let signed: SignedManifest = codec::decode(&bytes, MANIFEST_BYTES_MAX).map_err(line)?;
            signed.verify(None).map_err(line)?;
            return Ok(Terms::new(signed.manifest));
        }
    }
}

impl Running {
    async fn serve(
        &mut self,
        link: &mut Link,
        mut inbox: mpsc::Receiver<Mail>,
    ) -> Result<(), String> {
        let mut ended = false;
        while !(ended && self.engine.is_idle()) {
            let deadline = self.deadline.map(|at| self.clock.instant(at));
            tokio::select! {
                inbound = link.next() => match inbound.map_err(line)? {
                    Inbound::Control(ToClient::FederationEnded { .. }) => {
                        ended = true;
                        self.input(Input::Ended).await?;
                    }
                    inbound => self.inbound(inbound).await?,
                },
                Some(mail) = inbox.recv() => self.mail(mail).await?,
                () = at(deadline) => {
                    self.deadline = None;
                    self.input(Input::Deadline).await?;
                }
            }
        }
        Ok(())
    }

    async fn inbound(&mut self, inbound: Inbound) -> Result<(), String> {
        match inbound {
            Inbound::Round { round, message, .. } => {
                self.input(Input::Message { round, message }).await
            }
            Inbound::Vector { kind: VectorKind::Aggregate(round), bytes, .. } => {
                self.input(Input::Aggregate { round, bytes }).await
            }
            Inbound::Control(ToClient::Joined { standing, .. }) => {
                self.input(Input::Joined(standing)).await
            }
            // Not started yet.
            Inbound::Control(ToClient::Refused(_)) => {
                tokio::time::sleep(AGAIN).await;
                let join = self.engine.join();
                self.send(&join).await
            }
            Inbound::Vector { .. } | Inbound::Control(_) => Ok(()),
        }
    }

    async fn mail(&mut self, mail: Mail) -> Result<(), String> {
        match mail {
            Mail::Turn(kind, turn) => {
                let VectorKind::Aggregate(round) = kind else { return Ok(()) };
                self.turn = Some(turn);
                let bytes_max = self.expected.map_or(0, |(_, bytes_max)| bytes_max);
                self.allowances.allow(self.engine.id(), kind, bytes_max);
                self.send(&FetchAggregate { federation: self.engine.id(), round }).await
            }
            Mail::Trained(round, result, trainer, turn) => {
                (self.trainer, self.turn) = (Some(trainer), Some(turn));
                self.input(Input::Trained { round, result }).await
            }
            Mail::Masked(round, stored) => {
                self.turn = None;
                let result = stored.map(|(vector, roots)| {
                    self.vector = Some(vector);
                    roots
                });
                let result = result.map_err(|error| {
                    note!("client {}: {error}", self.place);
                    LocalFailure::TrainingFailed
                });
                self.input(Input::Masked { round, result }).await
            }
            Mail::Derived(derived) => {
                self.turn = None;
                self.input(Input::Derived(derived)).await
            }
        }
    }

    async fn input(&mut self, input: Input) -> Result<(), String> {
        let mut effects = Vec::new();
        self.engine.handle(self.clock.now(), input, &mut os_rng(), &mut effects);
        self.carry_out(effects).await
    }

    async fn carry_out(&mut self, effects: Vec<Effect>) -> Result<(), String> {
        for effect in effects {
            self.effect(effect).await?;
        }
        Ok(())
    }

    async fn effect(&mut self, effect: Effect) -> Result<(), String> {
        let federation = self.engine.id();
        match effect {
            Effect::Send { round, message } => {
                self.send(&RoundMessage { federation, round, message }).await?;
            }
            Effect::Attest { standing, signature } => {
                self.send(&StateAttestation { federation, standing, signature }).await?;
            }
            Effect::Upload(_) => {
                if let Some(vector) = self.vector.clone() {
                    let (gate, place) = (Arc::clone(&self.gate), self.place);
                    tokio::spawn(async move {
                        // A round that ends meanwhile takes no more of it.
                        if let Err(error) = gate.send(&vector).await {
                            note!("client {place}: its vector was not sent: {error}");
                        }
                    });
                }
            }
            Effect::Train(work) => self.train(work),
            Effect::Mask(work) => self.mask(work),
            Effect::Derive(derivation) => self.derive(derivation),
            Effect::Expect { kind, bytes_max } => self.expected = Some((kind, bytes_max)),
            Effect::Fetch(kind) => self.fetch(kind),
            Effect::Forget(round) => {
                self.fetching.remove(&round);
                self.vector = None;
                self.dir.forget_masked(round);
            }
            Effect::SetDeadline(deadline) => self.deadline = deadline,
            Effect::Tell(Event::Published { round, version, .. }) => {
                note!("client {}: round {round} is published, version {version}", self.place);
            }
            Effect::Tell(event) => note!("client {}: {event:?}", self.place),
            // Nothing of a bench outlives it.
            Effect::Persist(_) | Effect::Charge | Effect::Save(_) | Effect::Cancel(_) => {}
            Effect::FetchAttested | Effect::GiveState(_) => {}
        }
        Ok(())
    }

    async fn send<T: Outbound>(&self, message: &T) -> Result<(), String> {
        self.gate.send(message).await.map_err(line)
    }

    fn train(&mut self, work: Box<TrainWork>) {
        let Some(mut trainer) = self.trainer.take() else { return };
        let (common, mail) = (Arc::clone(&self.common), self.mail.clone());
        tokio::spawn(async move {
            let turn = common.turn().await;
            let trained = spawn_blocking(move || {
                let result = work.run(&mut *trainer, &Uninterrupted);
                Mail::Trained(work.round, result, trainer, turn)
            });
            send(mail, trained.await).await;
        });
    }

    /// In the turn of its training.
    fn mask(&self, work: Box<MaskWork>) {
        let (dir, round, mail) = (self.dir.clone(), work.round, self.mail.clone());
        tokio::spawn(async move {
            let masked = spawn_blocking(move || {
                let masked: Masked = work.run();
                Mail::Masked(
                    round,
                    dir.store_masked(&masked).map(|vector| (vector, masked.roots())),
                )
            });
            send(mail, masked.await).await;
        });
    }

    /// Aggregates are pushed to all at once; here each waits for its turn and asks for its own.
    fn fetch(&mut self, kind: VectorKind) {
        let VectorKind::Aggregate(round) = kind else { return };
        if !self.fetching.insert(round) {
            return;
        }
        let (common, mail) = (Arc::clone(&self.common), self.mail.clone());
        tokio::spawn(async move {
            let turn = common.turn().await;
            let _ = mail.send(Mail::Turn(kind, turn)).await;
        });
    }

    fn derive(&self, derivation: Box<Derivation>) {
        let (common, mail) = (Arc::clone(&self.common), self.mail.clone());
        tokio::spawn(async move {
            let derived = spawn_blocking(move || Mail::Derived(common.derive(*derivation)));
            send(mail, derived.await).await;
        });
    }
}

/// A client that has ended needs no result.
async fn send(mail: mpsc::Sender<Mail>, done: Result<Mail, tokio::task::JoinError>) {
    if let Ok(done) = done {
        let _ = mail.send(done).await;
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending::<()>().await,
    }
}
