//! The life of a running client: it finds the coordinator again and again, joins every federation
//! whose manifest it has pinned, hands messages to where they belong, and renews its certificate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use roundelay_protocol::close::CloseCode;
use roundelay_protocol::ids::FederationId;
use roundelay_protocol::manifest::Manifest;
use roundelay_protocol::session::{RoundsEnd, SignedNotice, ToClient, VectorKind};
use roundelay_protocol::time::Millis;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::SessionError;
use super::backoff::Backoff;
use super::connection::{Dialer, Lost};
use super::federation::{Command, Finishing, OnTold, Told};
use super::link::{Allowances, Inbound, Link};
use super::notice::{BadNotice, Notices, Obeyed};
use super::site::Site;
use crate::checkpoint::CheckpointError;
use crate::checkpoint::privacy::Accounts;
use crate::clock::{Clock, unix_ms};
use crate::engine::{Event, Input};
use crate::gate::Gate;
use crate::identity::certificate::CertificateError;
use crate::identity::os_rng;
use crate::outbound::ListFederations;
use crate::train::{TrainError, Trainer};

mod failure;
mod federations;
mod joins;
mod renewal;
#[cfg(test)]
mod tests;

use failure::PlaceError;
use federations::{Note, Place, Seen};
use joins::Joins;
use renewal::Renewal;

/// A newer connection of the same client took this one's place: another daemon has its keys, as from
/// a copied folder. The two do not push each other out without a pause.
const REPLACED_PAUSE: Duration = Duration::from_secs(2);
/// How often manifests are asked for while one waits for signatures, and pins are looked for.
const LISTING_INTERVAL: Duration = Duration::from_millis(1_000);
/// Whoever is stopped takes part in a round that counts on it for so long at the most.
const LEAVE_MAX: Duration = Duration::from_secs(15);
/// A connection that lasted so long was a good one.
const STABLE: Duration = Duration::from_secs(10);

/// Makes the trainer of a federation.
pub(crate) type TrainerFactory =
    Box<dyn FnMut(&Manifest) -> Result<Box<dyn Trainer>, TrainError> + Send>;
/// Takes what the driver tells.
pub(crate) type OnNews = Arc<dyn Fn(News) + Send + Sync>;
/// Makes a dialer with the certificate of now.
pub(crate) type MakeDialer =
    Box<dyn Fn(&Site) -> Result<Arc<dyn Dialer>, SessionError> + Send + Sync>;

/// How a driver behaves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// `host:port` to use whatever enrolment or a redirect said; the authority stays pinned.
    pub(crate) coordinator: Option<String>,
    /// End when every federation is over, and when the coordinator is not there.
    pub(crate) once: bool,
    /// How long the coordinator may say nothing about a round before its keys are burned, in place
    /// of [`PATIENCE`].
    pub(crate) patience: Option<Duration>,
}

/// Longer than a coordinator can wait for the masked inputs of the slowest client, 7 days: what it
/// waits for, nobody burns the keys of.
const PATIENCE: Duration = Duration::from_secs(8 * 24 * 60 * 60);

impl Settings {
    fn patience(&self) -> Millis {
        let patience = self.patience.unwrap_or(PATIENCE);
        Millis(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX))
    }
}

/// What a driver tells.
#[derive(Debug)]
pub(crate) enum News {
    Connecting(String),
    Connected,
    Disconnected {
        error: SessionError,
        retry_in: Duration,
    },
    /// To this `host:port`.
    Moved(String),
    Renewed(std::time::SystemTime),
    Warning(String),
    Federation(FederationId, FederationNews),
}

pub use failure::Cause;
pub(crate) use federations::FederationNews;

/// Why a driver ended with an error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DriverError {
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("federation {name}: {error}")]
    Federation { name: String, error: PlaceError },
}

/// A running client.
pub(crate) struct Driver {
    site: Site,
    settings: Settings,
    gate: Arc<Gate>,
    accounts: Arc<Accounts>,
    allowances: Arc<Allowances>,
    clock: Clock,
    make_dialer: MakeDialer,
    trainers: TrainerFactory,
    on_news: OnNews,
    stop: watch::Receiver<bool>,
    places: BTreeMap<FederationId, Place>,
    seen: Seen,
    joins: Joins,
    notices: Notices,
    renewal: Renewal,
    notes: (mpsc::Sender<Note>, mpsc::Receiver<Note>),
    /// Why this client has to end: a file of its state directory can't be written.
    unwritable: Option<CheckpointError>,
}

/// How a connection ended.
enum End {
    Stopped,
    Over,
    Lost(SessionError),
    Notice(Obeyed),
}

/// What dialling gave.
enum Dialled {
    Link(Box<Link>),
    Error(SessionError),
    End(End),
}

impl Driver {
    pub(crate) fn new(
        site: Site,
        settings: Settings,
        make_dialer: MakeDialer,
        trainers: TrainerFactory,
        on_news: OnNews,
        stop: watch::Receiver<bool>,
    ) -> Result<Self, CheckpointError> {
        let gate = Arc::new(Gate::open(&site.dir.file("ledger"))?);
        let accounts = Arc::new(site.dir.accounts()?);
        let notices = Notices::new(site.enrolment.notice_key);
        Ok(Self {
            site,
            settings,
            gate,
            accounts,
            allowances: Arc::default(),
            clock: Clock::start(),
            make_dialer,
            trainers,
            on_news,
            stop,
            places: BTreeMap::new(),
            seen: Seen::default(),
            joins: Joins::default(),
            notices,
            renewal: Renewal::default(),
            notes: mpsc::channel(64),
            unwritable: None,
        })
    }

    /// Runs until it is stopped, everything is over, or nothing can help any more.
    pub(crate) async fn run(mut self) -> Result<(), DriverError> {
        let ended = self.go_on().await;
        self.end_all().await;
        let synced = self.gate.sync().await;
        ended.and(synced.map_err(DriverError::from))
    }

    async fn go_on(&mut self) -> Result<(), DriverError> {
        self.find_places()?;
        let mut backoff = Backoff::default();
        loop {
            if *self.stop.borrow() || self.is_over()? {
                return Ok(());
            }
            let address = self.address(backoff.attempts());
            (self.on_news)(News::Connecting(address.clone()));
            let began = tokio::time::Instant::now();
            let end = match self.connect(address).await? {
                Dialled::Link(link) => self.serve(*link).await?,
                Dialled::End(end) => end,
                Dialled::Error(SessionError::Notice(notice)) => match self.judge(&notice) {
                    Some(obeyed) => End::Notice(obeyed),
                    None => End::Lost(SessionError::Notice(notice)),
                },
                Dialled::Error(error) if self.settings.once => return Err(error.into()),
                Dialled::Error(error) => End::Lost(error),
            };
            self.gate.detach();
            self.joins.reset();
            if began.elapsed() > STABLE {
                backoff.reset();
            }
            match end {
                End::Stopped | End::Over => return Ok(()),
                End::Lost(error) if !error.may_pass() => return Err(error.into()),
                End::Lost(error) => self.pause_after(error, &mut backoff).await?,
                End::Notice(notice) => self.obey(notice).await?,
            }
        }
    }

    /// Where to dial: the first choice; every third attempt goes to the last.
    fn address(&self, attempts: u32) -> String {
        let addresses = self.site.enrolment.addresses(self.settings.coordinator.as_deref());
        let choice = if attempts % 3 == 2 { addresses.last() } else { addresses.first() };
        choice.copied().unwrap_or_default().to_owned()
    }

    /// Dials, and takes in what federations have to say meanwhile.
    async fn connect(&mut self, address: String) -> Result<Dialled, DriverError> {
        let dialer = match (self.make_dialer)(&self.site) {
            Ok(dialer) => dialer,
            Err(error) => return Ok(Dialled::Error(error)),
        };
        let (gate, allowances) = (Arc::clone(&self.gate), Arc::clone(&self.allowances));
        let opening = async move { Link::open(&*dialer, &address, gate, allowances).await };
        tokio::pin!(opening);
        let mut stop = self.stop.clone();
        loop {
            tokio::select! {
                opened = &mut opening => return Ok(match opened {
                    Ok(link) => Dialled::Link(Box::new(link)),
                    Err(error) => Dialled::Error(error),
                }),
                _ = stop.wait_for(|stop| *stop) => return Ok(Dialled::End(End::Stopped)),
                Some(note) = self.notes.1.recv() => {
                    self.note(note).await;
                    if self.is_over()? {
                        return Ok(Dialled::End(End::Over));
                    }
                }
            }
        }
    }

    async fn pause_after(
        &mut self,
        error: SessionError,
        backoff: &mut Backoff,
    ) -> Result<(), DriverError> {
        let mut retry_in = backoff.next(error.failure(), &mut os_rng());
        if matches!(&error, SessionError::Lost(Lost::Replaced)) {
            retry_in = retry_in.max(REPLACED_PAUSE);
        }
        (self.on_news)(News::Disconnected { error, retry_in });
        self.pause(retry_in).await
    }

    /// Waits, and takes in what federations have to say meanwhile.
    async fn pause(&mut self, length: Duration) -> Result<(), DriverError> {
        let until = tokio::time::Instant::now() + length;
        let mut stop = self.stop.clone();
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return Ok(()),
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                Some(note) = self.notes.1.recv() => {
                    self.note(note).await;
                    if self.is_over()? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// What a notice asks for. One that is not to be obeyed is told of and changes nothing.
    fn judge(&mut self, notice: &SignedNotice) -> Option<Obeyed> {
        let judged = self.notices.judge(notice, unix_ms());
        judged.inspect_err(|bad: &BadNotice| (self.on_news)(News::Warning(bad.to_string()))).ok()
    }

    async fn obey(&mut self, notice: Obeyed) -> Result<(), DriverError> {
        match notice {
            Obeyed::Redirect(address) => {
                (self.on_news)(News::Moved(address.clone()));
                self.site.enrolment.moved_to = Some(address);
                self.site.enrolment.save(&self.site.dir)?;
                Ok(())
            }
            Obeyed::RetryAfter(retry_in) => {
                (self.on_news)(News::Disconnected { error: SessionError::ComeBack, retry_in });
                self.pause(retry_in).await
            }
        }
    }

    /// Serves a connection until its end.
    async fn serve(&mut self, mut link: Link) -> Result<End, DriverError> {
        (self.on_news)(News::Connected);
        self.list().await;
        self.join_all().await;
        let mut listing = tokio::time::interval(LISTING_INTERVAL);
        let mut stop = self.stop.clone();
        let mut leaving = None;
        loop {
            let renew_in = self.renewal.due_in(&self.site.certificate);
            tokio::select! {
                inbound = link.next() => match inbound {
                    Ok(inbound) => {
                        if let Some(end) = self.inbound(inbound).await? {
                            return Ok(end);
                        }
                    }
                    Err(error) => {
                        link.close(error.close_code());
                        return Ok(End::Lost(error));
                    }
                },
                Some(note) = self.notes.1.recv() => {
                    self.note(note).await;
                    self.join_all().await;
                }
                _ = listing.tick() => {
                    self.find_places()?;
                    if self.has_waiting_manifest() {
                        self.list().await;
                    }
                    self.join_all().await;
                }
                () = tokio::time::sleep(renew_in) => {
                    self.renewal.ask(&self.gate, &self.site.certificate).await?;
                }
                _ = stop.wait_for(|stop| *stop), if leaving.is_none() => {
                    leaving = Some(Box::pin(timeout(LEAVE_MAX, self.leave().await)));
                }
                _ = when_left(&mut leaving) => {
                    link.close(CloseCode::Done);
                    return Ok(End::Stopped);
                }
            }
            if self.is_over()? {
                return Ok(End::Over);
            }
        }
    }

    /// Has every federation leave; what it returns is over once all have.
    async fn leave(&self) -> impl Future<Output = ()> + use<> {
        let mut all = Vec::new();
        for inbox in self.places.values().filter_map(Place::inbox) {
            let (left, has_left) = oneshot::channel();
            // A task that has ended has left.
            let _ = inbox.send(Command::Leave(left)).await;
            all.push(has_left);
        }
        async move {
            for has_left in all {
                let _ = has_left.await;
            }
        }
    }

    async fn list(&self) {
        // A connection that is lost shows itself to the reader.
        let _ = self.gate.send(&ListFederations).await;
    }

    async fn inbound(&mut self, inbound: Inbound) -> Result<Option<End>, DriverError> {
        match inbound {
            Inbound::Round { federation, round, message } => {
                self.hand(federation, Input::Message { round, message }).await;
            }
            Inbound::Vector { federation, kind: VectorKind::Aggregate(round), bytes } => {
                self.hand(federation, Input::Aggregate { round, bytes }).await;
            }
            Inbound::Vector { federation, kind: VectorKind::State(version), bytes } => {
                self.hand(federation, Input::State { version, bytes }).await;
            }
            Inbound::Vector { federation, kind: VectorKind::Manifest(_), bytes } => {
                self.manifest(federation, &bytes).await?;
            }
            Inbound::Vector { kind: VectorKind::MaskedInput(_), .. } => {}
            Inbound::Control(message) => return self.control(message).await,
        }
        Ok(None)
    }

    async fn control(&mut self, message: ToClient) -> Result<Option<End>, DriverError> {
        match message {
            ToClient::Joined { federation, standing } => {
                self.joins.answered(federation);
                self.hand(federation, Input::Joined(standing)).await;
                self.join_all().await;
            }
            ToClient::Attested { federation, attested } => {
                self.hand(federation, Input::Attested(attested)).await;
            }
            ToClient::GiveState { federation, standing } => {
                self.hand(federation, Input::StateAsked(standing)).await;
            }
            ToClient::Refused(refused) => self.refused(&refused).await,
            ToClient::FederationEnded { federation, end }
                if end != RoundsEnd::Finished && !self.settings.once =>
            {
                self.paused(federation, end).await;
            }
            ToClient::FederationEnded { federation, end: RoundsEnd::Stalled } => {
                self.turned_out(federation, PlaceError::Stalled).await;
            }
            ToClient::FederationEnded { federation, end } => self.ended(federation, end).await,
            ToClient::CertificateRenewed { certificate } => {
                (self.on_news)(match self.renewal.answered(&mut self.site, &certificate) {
                    Ok(()) => News::Renewed(self.site.certificate.not_after()),
                    Err(error) => News::Warning(error.to_string()),
                });
            }
            ToClient::Redirect(notice) | ToClient::RetryAfter(notice) => {
                return Ok(self.judge(&notice).map(End::Notice));
            }
            ToClient::Federations(list) => self.listed(&list),
            // Answers to what another verb asks, or of no place here.
            ToClient::Welcome { .. }
            | ToClient::SignatureTaken { .. }
            | ToClient::Round { .. }
            | ToClient::RosterFollows { .. } => {}
        }
        Ok(None)
    }

    async fn hand(&self, federation: FederationId, input: Input) {
        if let Some(inbox) = self.places.get(&federation).and_then(Place::inbox) {
            // A task that is gone has ended for good; so has its interest.
            let _ = inbox.send(Command::Input(input)).await;
        }
    }

    fn on_told(&self) -> OnTold {
        let (on_news, notes) = (Arc::clone(&self.on_news), self.notes.0.clone());
        Arc::new(move |federation, told| match told {
            Told::Unwritable(error) => {
                let notes = notes.clone();
                // A driver that is gone has ended already.
                tokio::spawn(async move { notes.send(Note::Unwritable(error)).await });
            }
            Told::Event(Event::Expelled { round, fault }) => {
                let (notes, note) = (notes.clone(), Note::Expelled { federation, round, fault });
                // As above.
                tokio::spawn(async move { notes.send(note).await });
            }
            told => on_news(News::Federation(federation, FederationNews::Told(told))),
        })
    }

    async fn end_all(&mut self) {
        for place in self.places.values() {
            stop_task(place).await;
        }
    }
}

/// Ends a federation's task and waits until it has stored what it holds.
async fn stop_task(place: &Place) {
    if let Some(inbox) = place.inbox() {
        let (done, stopped) = oneshot::channel();
        if inbox.send(Command::Stop(done)).await.is_ok() {
            let _ = stopped.await;
        }
    }
}

/// Over once everything has left; never while nothing is about to.
async fn when_left(leaving: &mut Option<impl Future + Unpin>) {
    match leaving {
        Some(leaving) => drop(leaving.await),
        None => std::future::pending().await,
    }
}
