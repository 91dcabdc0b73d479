//! Which federations this client takes part in: found by the manifests that its tenant agreed to,
//! put in force once every signature is there, prepared by their trainers, and started.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use roundelay_crypto::digest::Digest;
use roundelay_protocol::codec;
use roundelay_protocol::error::Fault;
use roundelay_protocol::ids::{ClientId, FederationId, ModelVersion, RoundNumber};
use roundelay_protocol::limits::MANIFEST_BYTES_MAX;
use roundelay_protocol::lineage::{LineageError, State};
use roundelay_protocol::manifest::{Manifest, Pinned, SignatureError, SignedManifest, Standing};
use roundelay_protocol::privacy::Account;
use roundelay_protocol::round::horizontal::client::Setup;
use roundelay_protocol::round::horizontal::terms::Terms;
use roundelay_protocol::session::{FederationSummary, RoundsEnd};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::failure::PlaceError;
use super::{Driver, DriverError, News};
use crate::checkpoint::pins::{Pins, PinsError};
use crate::checkpoint::privacy::{AccountError, Accounts, Opened, Promise, Use};
use crate::checkpoint::{CheckpointError, FederationDir};
use crate::engine::Federation;
use crate::session::federation::{self, Command, Parts, Told};
use crate::session::trainer::{Prepared, TrainerThread};
use crate::train::DataSummary;

/// What is told of one federation.
#[derive(Debug)]
pub(crate) enum FederationNews {
    /// Its manifest is complete and its trainer reads the data.
    Preparing { name: String },
    /// The data fits; the client joins.
    Ready { name: String, data: DataSummary, version: ModelVersion },
    /// The others' signatures are not all there.
    Waiting { name: String, why: String },
    /// This tenant has not agreed to its newest manifest.
    Unsigned { name: String },
    /// The coordinator does not take this client in now.
    NotTaken(String),
    /// A job of the trainer goes on: rows done, rows in all.
    Progress { round: RoundNumber, done: u64, total: u64 },
    /// Of its task.
    Told(Told),
    /// It can't run here.
    Failed(String),
    /// An amendment that this tenant has agreed to is not in force here yet.
    Amending { why: String },
    /// Its rounds are over.
    Over { name: String, reason: String },
}

/// Where one federation stands on this client.
pub(super) enum Place {
    /// Agreed to; waits for the others' signatures.
    Waiting(Pins),
    /// Its trainer reads the data.
    Preparing { pins: Pins },
    /// It runs.
    Running { pins: Pins, inbox: mpsc::Sender<Command> },
    /// It is over; its last result is being applied.
    Ending { inbox: mpsc::Sender<Command> },
    /// It can't run here.
    Failed { name: String, error: PlaceError },
    /// Its rounds are over.
    Over,
}

impl Place {
    pub(super) fn inbox(&self) -> Option<&mpsc::Sender<Command>> {
        match self {
            Self::Running { inbox, .. } | Self::Ending { inbox } => Some(inbox),
            _ => None,
        }
    }

    pub(super) fn may_join(&self) -> bool {
        matches!(self, Self::Running { .. } | Self::Ending { .. })
    }

    fn pins(&self) -> Option<&Pins> {
        match self {
            Self::Waiting(pins) | Self::Preparing { pins } | Self::Running { pins, .. } => {
                Some(pins)
            }
            Self::Ending { .. } | Self::Failed { .. } | Self::Over => None,
        }
    }

    /// The federation's name, by the manifest in force.
    pub(super) fn name(&self) -> Option<String> {
        Some(self.pins()?.in_force.as_ref()?.manifest().name.to_string())
    }

    /// Whether a manifest was agreed to that is not in force here.
    pub(super) fn has_agreed_to_more(&self) -> bool {
        self.pins().is_some_and(|pins| pins.next.is_some())
    }

    fn pins_mut(&mut self) -> Option<&mut Pins> {
        match self {
            Self::Waiting(pins) | Self::Preparing { pins } | Self::Running { pins, .. } => {
                Some(pins)
            }
            Self::Ending { .. } | Self::Failed { .. } | Self::Over => None,
        }
    }
}

/// What a federation reports to the driver.
pub(super) enum Note {
    /// Its data was read and checked, or not.
    Prepared {
        federation: FederationId,
        manifest: Digest,
        prepared: Result<Box<(Parts, DataSummary)>, PlaceError>,
    },
    /// It is over, and its last result was applied.
    Finished { federation: FederationId, name: String, reason: String },
    /// The coordinator expelled this client from a round.
    Expelled { federation: FederationId, round: RoundNumber, fault: Fault },
    /// Its files can't be written any more.
    Unwritable(CheckpointError),
}

/// What was seen on disk and told already, so that it is not read or told again.
#[derive(Default)]
pub(super) struct Seen {
    next: std::collections::BTreeMap<FederationId, Option<SystemTime>>,
    told: BTreeSet<(FederationId, Digest)>,
}

impl Driver {
    /// Looks for federations that the tenant has agreed to, also while this client runs.
    pub(super) fn find_places(&mut self) -> Result<(), DriverError> {
        for federation in self.site.dir.federations()? {
            let dir = self.site.dir.federation(federation)?;
            let changed = dir.next_changed();
            if self.seen.next.get(&federation) == Some(&changed) {
                continue;
            }
            self.seen.next.insert(federation, changed);
            match dir.pins() {
                Ok(pins) => self.found(federation, pins),
                Err(error) => self.fail(federation, federation.to_string(), error.into()),
            }
        }
        Ok(())
    }

    fn found(&mut self, federation: FederationId, found: Pins) {
        if let Some(pins) = self.places.get_mut(&federation).and_then(Place::pins_mut) {
            pins.next = found.next;
        } else if self.places.contains_key(&federation) || found.agreed().is_none() {
            // Over, failed, or a folder without a manifest.
        } else if let Some(in_force) = found.in_force.clone() {
            match self.site.own.check(in_force.manifest()) {
                Ok(()) => self.prepare(federation, found, &in_force),
                // Its key was replaced, and the amendment that names the new one was agreed to.
                Err(_) if found.next.is_some() => {
                    self.places.insert(federation, Place::Waiting(found));
                }
                Err(error) => {
                    let name = in_force.manifest().name.to_string();
                    self.fail(federation, name, PinsError::from(error).into());
                }
            }
        } else {
            self.places.insert(federation, Place::Waiting(found));
        }
    }

    pub(super) fn has_waiting_manifest(&self) -> bool {
        self.places.values().any(Place::has_agreed_to_more)
    }

    /// The coordinator's list: tells of what this tenant has not agreed to.
    pub(super) fn listed(&mut self, list: &[FederationSummary]) {
        for summary in list {
            let FederationSummary { federation, manifest, name, .. } = summary;
            let place = self.places.get(federation);
            let agreed = place.and_then(Place::pins).is_some_and(|pins| {
                pins.agreed() == Some(*manifest)
                    || pins.in_force.as_ref().map(Pinned::hash) == Some(*manifest)
            });
            let settled = place.is_some_and(|place| place.pins().is_none());
            if !agreed && !settled && self.seen.told.insert((*federation, *manifest)) {
                let news = FederationNews::Unsigned { name: name.to_string() };
                (self.on_news)(News::Federation(*federation, news));
            }
        }
    }

    /// A manifest from the coordinator: if it is the one that was agreed to and every signature is
    /// there, it comes in force; an amendment once the coordinator runs no round under the manifest
    /// that it amends, which it says by refusing a join under that one.
    pub(super) async fn manifest(
        &mut self,
        federation: FederationId,
        bytes: &[u8],
    ) -> Result<(), DriverError> {
        let Ok(signed) = codec::decode::<SignedManifest>(bytes, MANIFEST_BYTES_MAX) else {
            let words = "the coordinator sent a manifest that can't be read";
            (self.on_news)(News::Warning(words.to_owned()));
            return Ok(());
        };
        let Some(place) = self.places.get(&federation) else { return Ok(()) };
        let Some(pins) = place.pins().cloned() else { return Ok(()) };
        let hash = signed.manifest.hash();
        if pins.next() != Some(hash) {
            return Ok(());
        }
        let runs = matches!(place, Place::Running { .. } | Place::Preparing { .. });
        if runs && !self.joins.is_outdated(federation) {
            // A round under the one in force may be under way, and needs this client to its end.
            let predecessor = pins.in_force.as_ref().map(Pinned::manifest);
            if let Ok(standing) = signed.standing(predecessor) {
                let news = FederationNews::Amending { why: awaits(standing) };
                (self.on_news)(News::Federation(federation, news));
            }
            return Ok(());
        }
        let name = signed.manifest.name.to_string();
        let dir = self.site.dir.federation(federation)?;
        match dir.put_in_force(&pins, signed, &self.site.own) {
            Ok(in_force) => {
                super::stop_task(place).await;
                self.joins.forget(federation);
                let pins = Pins { in_force: Some(in_force.clone()), next: None };
                self.seen.next.insert(federation, dir.next_changed());
                self.prepare(federation, pins, &in_force);
            }
            Err(PinsError::Pin(roundelay_protocol::manifest::PinError::Signatures(
                why @ SignatureError::Incomplete { .. },
            ))) => {
                let news = FederationNews::Waiting { name, why: why.to_string() };
                (self.on_news)(News::Federation(federation, news));
            }
            Err(error) => self.fail(federation, name, error.into()),
        }
        Ok(())
    }

    /// Has the trainer read and check the data; the federation starts when that is done.
    fn prepare(&mut self, federation: FederationId, pins: Pins, in_force: &Pinned) {
        let name = in_force.manifest().name.to_string();
        let news = FederationNews::Preparing { name: name.clone() };
        (self.on_news)(News::Federation(federation, news));
        match self.preparation(federation, in_force) {
            Ok(preparation) => {
                let (notes, manifest) = (self.notes.0.clone(), in_force.hash());
                tokio::spawn(async move {
                    let prepared = preparation.run().await.map(Box::new);
                    let _ = notes.send(Note::Prepared { federation, manifest, prepared }).await;
                });
                self.places.insert(federation, Place::Preparing { pins });
            }
            Err(error) => self.fail(federation, name, error),
        }
    }

    fn preparation(
        &mut self,
        federation: FederationId,
        in_force: &Pinned,
    ) -> Result<Preparation, PlaceError> {
        let trainer = (self.trainers)(in_force.manifest())?;
        let (on_news, warn_on) = (Arc::clone(&self.on_news), Arc::clone(&self.on_news));
        let on_progress = Arc::new(move |round, done, total| {
            let news = FederationNews::Progress { round, done, total };
            on_news(News::Federation(federation, news));
        });
        let trainer = TrainerThread::start(trainer, on_progress)
            .map_err(|error| PlaceError::Internal(format!("no thread for the trainer: {error}")))?;
        let terms = Arc::new(Terms::new(in_force.manifest().clone()));
        let dir = self.site.dir.federation(federation)?;
        let pinned = pinned(&terms, &dir.compared()?, self.site.client)?;
        let identity = Arc::clone(&self.site.identity);
        Ok(Preparation {
            setup: Setup {
                terms,
                identity,
                pinned: Arc::new(pinned),
                patience: self.settings.patience(),
                account: Account::default(),
            },
            accounts: Arc::clone(&self.accounts),
            warn: Box::new(move |warning| warn_on(News::Warning(warning))),
            dir,
            trainer,
            gate: Arc::clone(&self.gate),
            allowances: Arc::clone(&self.allowances),
            clock: self.clock,
            on_told: self.on_told(),
        })
    }

    /// A federation reports.
    pub(super) async fn note(&mut self, note: Note) {
        match note {
            Note::Expelled { federation, round, fault } => {
                self.turned_out(federation, PlaceError::Expelled { round, fault }).await;
            }
            Note::Prepared { federation, manifest, prepared } => {
                self.prepared(federation, manifest, prepared);
            }
            Note::Finished { federation, name, reason } => self.over(federation, name, reason),
            Note::Unwritable(error) => self.unwritable(error),
        }
    }

    fn prepared(
        &mut self,
        federation: FederationId,
        manifest: Digest,
        prepared: Result<Box<(Parts, DataSummary)>, PlaceError>,
    ) {
        let Some(Place::Preparing { pins }) = self.places.get(&federation) else { return };
        let in_force = pins.in_force.as_ref().filter(|pinned| pinned.hash() == manifest);
        let Some(name) = in_force.map(|pinned| pinned.manifest().name.to_string()) else { return };
        match prepared {
            Ok(prepared) => {
                let (parts, data) = *prepared;
                let version = parts.engine.version();
                if let Some(state) = parts.engine.state() {
                    let told = FederationNews::Told(Told::Model(state));
                    (self.on_news)(News::Federation(federation, told));
                }
                let (pins, inbox) = (pins.clone(), federation::start(parts));
                self.places.insert(federation, Place::Running { pins, inbox });
                let news = FederationNews::Ready { name, data, version };
                (self.on_news)(News::Federation(federation, news));
            }
            Err(error) => self.fail(federation, name, error),
        }
    }

    /// The coordinator wants nothing more of this client in a federation: that one's task ends.
    pub(super) async fn turned_out(&mut self, federation: FederationId, error: PlaceError) {
        let Some(place) = self.places.get(&federation) else { return };
        let name = place.name().unwrap_or_else(|| federation.to_string());
        super::stop_task(place).await;
        self.joins.forget(federation);
        self.fail(federation, name, error);
    }

    /// The first reason is the one that is told.
    fn unwritable(&mut self, error: CheckpointError) {
        self.unwritable = self.unwritable.take().or(Some(error));
    }

    fn fail(&mut self, federation: FederationId, name: String, error: PlaceError) {
        let error = match error.full_disk() {
            Ok(full) => return self.unwritable(full),
            Err(error) => error,
        };
        if matches!(error, PlaceError::Train(_)) && self.has_finished(federation) {
            // Without data there is nothing more to do for it here, and nothing left to do.
            return self.over(federation, name, RoundsEnd::Finished.to_string());
        }
        let news = FederationNews::Failed(error.to_string());
        (self.on_news)(News::Federation(federation, news));
        self.places.insert(federation, Place::Failed { name, error });
    }

    fn has_finished(&self, federation: FederationId) -> bool {
        self.site.dir.federation(federation).is_ok_and(|dir| dir.has_finished())
    }

    /// Whether there is nothing left to run.
    ///
    /// # Errors
    /// The state directory can't be written, or no federation can run, and at least one should.
    pub(super) fn is_over(&mut self) -> Result<bool, DriverError> {
        if let Some(error) = self.unwritable.take() {
            return Err(error.into());
        }
        let ended = |place: &Place| matches!(place, Place::Over | Place::Failed { .. });
        if self.places.is_empty() || !self.places.values().all(ended) {
            return Ok(false);
        }
        let failed = self.places.iter().find(|(_, place)| matches!(place, Place::Failed { .. }));
        if let Some(federation) = failed.map(|(federation, _)| *federation)
            && let Some(Place::Failed { name, error }) = self.places.remove(&federation)
        {
            return Err(DriverError::Federation { name, error });
        }
        Ok(self.settings.once)
    }
}

/// What an amendment waits for while rounds go on under the manifest before it.
fn awaits(standing: Standing) -> String {
    let Standing { signatures, required, missing } = standing;
    if missing.is_empty() {
        return "every signature is there; it takes force between two rounds".to_owned();
    }
    let error = SignatureError::Incomplete { signatures, required, missing };
    format!("{error}; rounds go on under the manifest before it")
}

/// The peers that count for `pinned_peers_min`: those whose fingerprints the tenant has compared.
/// With fewer than the manifest wants, no round could begin.
fn pinned(
    terms: &Terms,
    compared: &BTreeSet<ClientId>,
    own: ClientId,
) -> Result<BTreeSet<ClientId>, PlaceError> {
    let pinned: BTreeSet<ClientId> =
        terms.clients().filter(|id| *id != own && compared.contains(id)).collect();
    let required = terms.rules().pinned_peers_min;
    if pinned.len() < usize::from(required) {
        return Err(PlaceError::TooFewCompared { required, compared: pinned.len() });
    }
    Ok(pinned)
}

/// What a manifest promises about the data of each client, if anything.
fn promise(manifest: &Manifest) -> Option<Promise> {
    let task = &manifest.task;
    let clients = u32::try_from(manifest.client_count()).ok()?;
    Some(Promise { budget: task.privacy?.budget(), release: task.release(clients)? })
}

/// The account of the data that a federation is to use, and what its tenant should know of it.
fn account(
    accounts: &Accounts,
    data: &DataSummary,
    manifest: &Manifest,
) -> Result<(Account, Option<String>), AccountError> {
    let promise = promise(manifest);
    let asks = Use {
        data_set: &data.data_set,
        version: data.data,
        federation: manifest.federation,
        name: &manifest.name,
        promise,
    };
    let Opened { account, unprotected } = accounts.open(&asks)?;
    let late = asks.promise.is_some() && !unprotected.is_empty();
    let warning = late.then(|| {
        format!(
            "{}: promises differential privacy for data set {:?}, over which {} may have released \
             sums without any before: the promise says nothing about these",
            manifest.name,
            data.data_set,
            unprotected.join(", ")
        )
    });
    Ok((account, warning))
}

/// A federation that is about to start.
struct Preparation {
    setup: Setup,
    accounts: Arc<Accounts>,
    warn: Box<dyn Fn(String) + Send>,
    dir: FederationDir,
    trainer: TrainerThread,
    gate: Arc<crate::gate::Gate>,
    allowances: Arc<crate::session::link::Allowances>,
    clock: crate::clock::Clock,
    on_told: federation::OnTold,
}

impl Preparation {
    async fn run(self) -> Result<(Parts, DataSummary), PlaceError> {
        let Self { mut setup, accounts, warn, dir, trainer, gate, allowances, clock, on_told } =
            self;
        let task = &setup.terms.manifest().task;
        let Prepared { data, module } = trainer.prepare(task).await?;
        let schema = data.schema;
        let (charges, used) = (Arc::clone(&accounts), data.clone());
        let kept = spawn_blocking(move || {
            let (opened, warning) = account(&charges, &used, setup.terms.manifest())?;
            setup.account = opened;
            warning.into_iter().for_each(warn);
            let task = &setup.terms.manifest().task;
            dir.forget_all_masked()?;
            let (history, records) = dir.history()?;
            let initial = Arc::new(State::initial(task, module)?);
            let stored = dir.state(State::bytes_max(task).map_err(LineageError::from)?)?;
            // A state of another task, or none: the newest one is fetched.
            let stored =
                stored.and_then(|bytes| State::from_bytes(task, &bytes).ok().map(Arc::new));
            let (engine, effects) = Federation::new(setup, schema, &records, stored, initial);
            Ok::<_, PlaceError>((engine, effects, dir, history))
        });
        let kept = kept.await.map_err(|error| PlaceError::Internal(error.to_string()))?;
        let (engine, effects, dir, history) = kept?;
        let parts = Parts {
            engine,
            effects,
            dir,
            history,
            accounts,
            trainer,
            gate,
            allowances,
            clock,
            on_told,
        };
        Ok((parts, data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::world::manifest_of;

    #[test]
    fn only_peers_that_were_compared_count_as_pinned_and_too_few_are_a_clear_line() {
        let terms = Terms::new(manifest_of(4));
        let clients: Vec<ClientId> = terms.clients().collect();
        let own = clients[0];
        let some = BTreeSet::from([own, clients[1]]);
        let error = pinned(&terms, &some, own).unwrap_err().to_string();
        assert!(error.contains("at least 2") && error.contains("of 1 "), "{error}");
        let some = BTreeSet::from([own, clients[1], clients[3]]);
        assert_eq!(pinned(&terms, &some, own).unwrap(), BTreeSet::from([clients[1], clients[3]]));
    }
}
