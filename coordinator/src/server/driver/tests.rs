//! The driver over SQLite and blobs in a folder, with clients that run the real rounds.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::IdentityKey;
use roundelay_protocol::error::{AbortReason, Fault, Refusal, Stage};
use roundelay_protocol::ids::{ClientId, ModelVersion};
use roundelay_protocol::manifest::SignedManifest;
use roundelay_protocol::model::{ModelSpec, ParameterSpec};
use roundelay_protocol::round::horizontal::coordinator::{AuditEntry, Departure};
use roundelay_protocol::round::horizontal::terms::Terms;
use roundelay_protocol::time::Millis;
use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::accumulator::UploadError;
use crate::blobs::Shelf;
use crate::clock::now_unix_ms;
use crate::engine::audit::{Declined, State};
use crate::keys::FileKms;
use crate::store::sqlite::SqliteStore;
use crate::store::{AuditEvent, Federation, LeaseName, RoundState, Tenant, Write, transact_leased};
use crate::testing::{Change, amendment, keys, manifest, signed, timing};

mod client;
mod uploads;

use client::{Newest, Running, Site};

/// Long enough for a slow machine; a test that hangs ends here.
const PATIENCE: Duration = Duration::from_secs(60);

/// A coordinator's folder with a federation whose manifest everybody has signed.
struct Installation {
    folder: TempDir,
    keys: Vec<Arc<IdentityKey>>,
    terms: Arc<Terms>,
    newest: Newest,
    store: Arc<dyn Store>,
    blobs: Blobs,
}

fn settings(folder: &Path) -> DriverSettings {
    DriverSettings {
        holder: "test".into(),
        budget_bytes: 1 << 20,
        connection_bytes: 1 << 10,
        keep: Keep { versions: 100, rounds: 1000 },
        spool: folder.join("spool"),
        pace: Pace { assembly: Millis(200), retry: Millis(20), ..Pace::default() },
        timing: timing(),
    }
}

impl Installation {
    async fn new(clients: usize, rounds: u32, standardise: bool) -> Self {
        let keys = keys(clients);
        let folder = tempfile::tempdir().unwrap();
        let kms = Arc::new(FileKms::open(&folder.path().join("keys")).unwrap());
        let store = SqliteStore::open(&folder.path().join("store"), kms.clone()).await.unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let blobs = Blobs::in_folder(&folder.path().join("blobs"), kms).unwrap();
        let terms = Arc::new(Terms::new(manifest(&keys, rounds, standardise)));
        let newest = Arc::new(Mutex::new(Arc::clone(&terms)));
        let installation = Self { folder, keys, terms, newest, store, blobs };
        installation.draft().await;
        installation
    }

    async fn draft(&self) {
        let signed = signed(self.terms.manifest().clone(), None);
        let (manifest, federation) = (&signed.manifest, signed.manifest.federation);
        let members: Vec<_> = manifest.members.iter().map(|member| member.tenant.clone()).collect();
        for tenant in &members {
            let tenant = Tenant { tenant: tenant.clone(), created_unix_ms: 1 };
            self.store.add_tenant(tenant).await.unwrap();
        }
        let row = Federation {
            federation,
            name: "small".into(),
            state: FederationState::Draft,
            created_unix_ms: 1,
        };
        let mut writes =
            vec![Write::PutFederation(Box::new(row)), Write::PutMembers { federation, members }];
        writes.extend(manifest_writes(&signed));
        self.write(federation, writes).await.unwrap();
    }

    /// Writes as long as nobody drives the federation.
    async fn write(&self, federation: FederationId, writes: Vec<Write>) -> Result<(), StoreError> {
        let lease = LeaseName { owner: self.owner().clone(), federation };
        transact_leased(&*self.store, &lease, "test", now_unix_ms(), "test", writes).await
    }

    fn owner(&self) -> &TenantId {
        &self.terms.manifest().owner
    }

    fn federation(&self) -> FederationId {
        self.terms.federation()
    }

    fn shelf(&self) -> Shelf {
        self.blobs.shelf(self.owner(), self.federation())
    }

    async fn driver(&self) -> Driver {
        self.driver_with(settings(self.folder.path())).await
    }

    async fn driver_with(&self, settings: DriverSettings) -> Driver {
        let (store, blobs) = (Arc::clone(&self.store), self.blobs.clone());
        Driver::start(store, blobs, settings).await.unwrap()
    }

    fn site(&self) -> Site {
        Site::new(&self.newest, &self.keys)
    }

    /// The members agree on others, as signatures over the wire make it so. Returns whose clients
    /// the manifest names from then on.
    async fn amend(&self, driver: &Driver, change: Change) -> Vec<Arc<IdentityKey>> {
        let mut all = keys(self.keys.len() + 1);
        let spare = all.pop().unwrap();
        let before = self.terms.manifest();
        let (manifest, named) = amendment(before, &self.keys, &spare, change);
        let members: Vec<_> = manifest.tenants().cloned().collect();
        for tenant in &members {
            let tenant = Tenant { tenant: tenant.clone(), created_unix_ms: 1 };
            // All but a newcomer are there.
            let _ = self.store.add_tenant(tenant).await;
        }
        let terms = Arc::new(Terms::new(manifest.clone()));
        *self.newest.lock().unwrap() = terms;
        let federation = self.federation();
        let mut writes = vec![Write::PutMembers { federation, members }];
        writes.extend(manifest_writes(&signed(manifest, Some(before))));
        let lease = LeaseName { owner: self.owner().clone(), federation };
        driver.write(&lease, "sign", writes).await.unwrap();
        named
    }

    /// Waits until a round that trains is in a stage.
    async fn until_in(&self, driver: &Driver, stage: Stage) {
        self.until(driver, |status| {
            let training = status.engine.as_ref().and_then(|engine| engine.training);
            training.is_some_and(|round| round.stage == Some(stage))
        })
        .await;
    }

    /// Waits until rounds are published with all of these and nobody else, then stops.
    async fn until_settled(&self, driver: &Driver, clients: usize) {
        let clients = u16::try_from(clients).unwrap();
        self.until(driver, |status| {
            assert_eq!(status.trouble, None);
            let last = status.engine.as_ref().and_then(|engine| engine.last.clone());
            last.is_some_and(|last| (last.cohort, last.survivors) == (clients, clients))
        })
        .await;
        driver.stop_federation(self.owner(), self.federation()).await.unwrap();
        self.until(driver, |status| state(status) == Some(State::Stopped)).await;
    }

    async fn start(&self, driver: &Driver) {
        driver.start_federation(self.owner(), self.federation(), None).await.unwrap();
    }

    /// Waits until the federation stands like this.
    async fn until(&self, driver: &Driver, holds: impl Fn(&FederationStatus) -> bool) {
        let mut status = driver.watch(self.owner(), self.federation()).unwrap();
        // What is waited for comes with a lock, which the driver may be waiting for by now.
        let held = timeout(PATIENCE, status.wait_for(holds)).await.is_ok();
        let stands = driver.status(self.owner(), self.federation());
        assert!(held, "stands at {stands:?}");
    }

    /// Waits until so many blobs are on the shelf, which are deleted beside the rounds.
    async fn until_left(&self, count: usize) -> BTreeSet<Digest> {
        let left = async {
            loop {
                let names = self.shelf().names().await.unwrap();
                if names.len() == count {
                    return names.into_iter().collect();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, left).await.expect("blobs that nobody needs stay")
    }

    async fn until_finished(&self, driver: &Driver) {
        self.until(driver, |status| state(status) == Some(State::Finished)).await;
    }

    /// What is stored agrees with what the clients hold, and nothing of the rounds is left over. Says
    /// what clients were expelled for: they hold what they held then.
    async fn assert_published(&self, running: Running, versions: u64) -> Vec<Fault> {
        let clients = running.stop().await;
        let rows = self.store.tenant(self.owner());
        let models = rows.models(self.federation()).await.unwrap();
        assert_eq!(models.len() as u64, versions + 1);
        let newest = models.last().unwrap();
        let stored = self.shelf().read(newest.blob.unwrap()).await.unwrap();
        for client in clients.iter().filter(|client| client.expelled().is_none()) {
            assert_eq!(client.state.to_bytes(), stored);
            assert_eq!(client.state.hash(), newest.state);
        }
        for round in rows.rounds(self.federation()).await.unwrap() {
            assert_ne!(round.state, RoundState::Running);
            let records = rows.round_records(self.federation(), round.round).await.unwrap();
            assert!(records.is_empty());
        }
        self.assert_audits_hold().await;
        clients.iter().filter_map(|client| client.expelled().cloned()).collect()
    }

    /// The members are those of the newest manifest, no round was given up, and only members were
    /// told of what came after it.
    async fn assert_amended(&self, clients: usize) {
        let rows = self.store.tenant(self.owner());
        let members = rows.members(self.federation()).await.unwrap();
        let newest = self.newest.lock().unwrap().manifest().clone();
        assert!(members.iter().eq(newest.tenants()), "{members:?}");
        assert_eq!(members.len(), clients);
        for round in rows.rounds(self.federation()).await.unwrap() {
            assert_ne!(round.state, RoundState::Aborted(AbortReason::Restarted));
        }
        self.assert_audits_hold().await;
    }

    async fn assert_audits_hold(&self) {
        for member in &self.terms.manifest().members {
            self.store.tenant(&member.tenant).verify_audit().await.unwrap();
        }
    }
}

fn manifest_writes(signed: &SignedManifest) -> Vec<Write> {
    let (digest, federation) = (signed.manifest.hash(), signed.manifest.federation);
    let put = Write::PutManifest { digest, manifest: Box::new(signed.manifest.clone()) };
    let signatures = signed.signatures.iter().map(|(signer, signature)| Write::PutSignature {
        federation,
        manifest: digest,
        signer: signer.clone(),
        signature: *signature,
    });
    std::iter::once(put).chain(signatures).collect()
}

fn state(status: &FederationStatus) -> Option<State> {
    status.engine.as_ref().map(|engine| engine.state)
}

fn version(status: &FederationStatus) -> u64 {
    status.engine.as_ref().map_or(0, |engine| engine.model_version)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_federation_runs_to_its_end_over_sqlite_and_everyone_holds_the_stored_model() {
    let installation = Installation::new(5, 3, true).await;
    let driver = installation.driver().await;
    let running = installation.site().run(&driver);
    installation.start(&driver).await;
    installation.until_finished(&driver).await;
    let rows = installation.store.tenant(installation.owner());
    let federation = installation.federation();
    let row = rows.federation(federation).await.unwrap().unwrap();
    assert_eq!(row.state, FederationState::Finished);
    let models = rows.models(federation).await.unwrap();
    assert!(models.iter().all(|model| model.metrics.is_some()), "every version was evaluated");
    assert_eq!(models[3].parent, Some(ModelVersion(2)));
    installation.assert_published(running, 3).await;
    let again = driver.start_federation(installation.owner(), federation, None).await;
    assert!(matches!(again, Err(DriverError::Finished(_))));
    driver.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_that_was_killed_is_followed_by_one_that_goes_on_from_the_records() {
    let installation = Installation::new(4, 6, false).await;
    let mut driver = installation.driver().await;
    let mut running = installation.site().run(&driver);
    installation.start(&driver).await;
    for kills in 1..=4 {
        installation.until(&driver, |status| version(status) >= kills).await;
        driver.kill();
        let next = installation.driver().await;
        running = running.move_to(&next).await;
        driver = next;
    }
    installation.until_finished(&driver).await;
    installation.assert_published(running, 6).await;
    driver.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stored_does_not_grow_and_orphans_of_this_federation_alone_go_at_the_next_start() {
    let installation = Installation::new(4, 30, true).await;
    let mut settings = settings(installation.folder.path());
    settings.keep = Keep { versions: 3, rounds: 16 };
    let driver = installation.driver_with(settings.clone()).await;
    let running = installation.site().run(&driver);
    installation.start(&driver).await;
    installation.until(&driver, |status| version(status) >= 10).await;
    driver.kill();
    let orphan = installation.shelf().put(bytes::Bytes::from("never named")).await.unwrap();
    let other = installation.blobs.shelf(installation.owner(), FederationId([9; 16]));
    let of_another = other.put(bytes::Bytes::from("another federation's")).await.unwrap();
    let driver = installation.driver_with(settings).await;
    let running = running.move_to(&driver).await;
    installation.until_finished(&driver).await;
    // The states of version 0 and of the newest three, and the newest three aggregates.
    let left = installation.until_left(7).await;
    assert!(!left.contains(&orphan));
    assert_eq!(other.names().await.unwrap(), [of_another]);

    let rows = installation.store.tenant(installation.owner());
    let models = rows.models(installation.federation()).await.unwrap();
    let versions: Vec<_> = models.iter().map(|model| model.version.0).collect();
    assert_eq!(versions, [0].into_iter().chain(15..=30).collect::<Vec<_>>());
    let kept = models.iter().filter(|model| model.blob.is_some());
    assert_eq!(kept.map(|model| model.version.0).collect::<Vec<_>>(), [0, 28, 29, 30]);
    assert!(models[1..].iter().all(|model| model.metrics.is_some()), "what was measured stays");
    let rounds = rows.rounds(installation.federation()).await.unwrap();
    assert_eq!(rounds.len(), 16);
    let named = rounds.iter().filter_map(|round| round.aggregate);
    let named = named.chain(models.iter().filter_map(|model| model.blob));
    assert_eq!(named.collect::<BTreeSet<_>>(), left, "every blob has its row");
    for blob in left {
        installation.shelf().read(blob).await.unwrap();
    }
    drop(running.stop().await);
    driver.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_that_was_shut_down_goes_on_too() {
    let installation = Installation::new(4, 3, false).await;
    let driver = installation.driver().await;
    let running = installation.site().run(&driver);
    installation.start(&driver).await;
    installation.until(&driver, |status| version(status) >= 1).await;
    driver.shutdown().await;
    let driver = installation.driver().await;
    let running = running.move_to(&driver).await;
    installation.until_finished(&driver).await;
    installation.assert_published(running, 3).await;
    driver.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_whose_lease_was_taken_writes_nothing_more_and_begins_again() {
    let installation = Installation::new(4, 8, false).await;
    let driver = installation.driver().await;
    let running = installation.site().run(&driver);
    installation.start(&driver).await;
    installation.until(&driver, |status| version(status) >= 1).await;
    let (owner, federation) = (installation.owner().clone(), installation.federation());
    let lease = LeaseName { owner, federation };
    installation.store.acquire(&lease, "test", now_unix_ms(), 1).await.unwrap();
    installation.until(&driver, |status| status.trouble.is_some()).await;
    let trouble = driver.status(installation.owner(), federation).unwrap().trouble;
    assert!(trouble.is_some_and(|trouble| trouble.contains("lease")));
    installation.until_finished(&driver).await;
    installation.assert_published(running, 8).await;
    driver.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_comes_late_fetches_the_state_and_takes_part() {
    let installation = Installation::new(5, 400, false).await;
    let driver = installation.driver().await;
    let mut site = installation.site();
    let late = site.split_off(4);
    let running = site.run(&driver);
    installation.start(&driver).await;
    installation.until(&driver, |status| version(status) >= 2).await;
    let late = late.run(&driver);
    let everyone = |status: &FederationStatus| {
        let last = status.engine.as_ref().and_then(|engine| engine.last.clone());
        last.is_some_and(|last| last.survivors == 5)
    };
    installation.until(&driver, everyone).await;
    driver.stop_federation(installation.owner(), installation.federation()).await.unwrap();
    installation.until(&driver, |status| state(status) == Some(State::Stopped)).await;
    let reached = version(&driver.status(installation.owner(), installation.federation()).unwrap());
    installation.assert_published(running.and(late), reached).await;
    driver.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_started_says_why() {
    let installation = Installation::new(4, 1, false).await;
    let driver = installation.driver().await;
    let owner = installation.owner().clone();
    let nowhere = FederationId([9; 16]);
    let error = driver.start_federation(&owner, nowhere, None).await.unwrap_err();
    assert!(matches!(error, DriverError::NotRunning(_)), "{error}");
    let error = driver.stop_federation(&owner, installation.federation()).await.unwrap_err();
    assert!(matches!(error, DriverError::NotRunning(_)), "{error}");
    let mut manifest = installation.terms.manifest().clone();
    manifest.federation = nowhere;
    let row = Federation {
        federation: nowhere,
        name: "unsigned".into(),
        state: FederationState::Draft,
        created_unix_ms: 1,
    };
    let writes = vec![
        Write::PutFederation(Box::new(row)),
        Write::PutManifest { digest: manifest.hash(), manifest: Box::new(manifest) },
    ];
    installation.write(nowhere, writes).await.unwrap();
    let error = driver.start_federation(&owner, nowhere, None).await.unwrap_err().to_string();
    assert!(error.contains("0 of 4 signatures") && !error.contains('\n'), "{error}");
    driver.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torchscript_federation_does_not_start_without_its_initial_parameters_and_says_so() {
    let installation = Installation::new(4, 1, false).await;
    let driver = installation.driver().await;
    let mut manifest = installation.terms.manifest().clone();
    let federation = FederationId([8; 16]);
    manifest.federation = federation;
    let parameters = vec![ParameterSpec { name: "w".into(), shape: vec![2, 2] }];
    manifest.task.model = ModelSpec::TorchScript { module: Digest([1; 32]), parameters };
    let row = Federation {
        federation,
        name: "module".into(),
        state: FederationState::Draft,
        created_unix_ms: 1,
    };
    let mut writes = vec![Write::PutFederation(Box::new(row))];
    writes.extend(manifest_writes(&signed(manifest, None)));
    installation.write(federation, writes).await.unwrap();
    let start = |module| driver.start_federation(installation.owner(), federation, module);
    let error = start(None).await.unwrap_err().to_string();
    assert!(error.contains("--initial FILE") && !error.contains('\n'), "{error}");
    start(Some(vec![0.5; 4])).await.unwrap();
    driver.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_and_a_client_without_a_seat_get_nothing() {
    let installation = Installation::new(4, 1, false).await;
    let driver = installation.driver().await;
    installation.start(&driver).await;
    let clients: BTreeSet<ClientId> = installation.terms.clients().collect();
    let client = *clients.first().unwrap();
    let refusals = client::refusals(&driver, &installation.terms, client).await;
    assert_eq!(refusals, ["not_a_member", "not_running", "not_joined"]);
    driver.shutdown().await;
}

/// Runs a federation of five until a round is in a stage, amends it, and says what came of it.
async fn amended_in(stage: Stage, change: Change) {
    let installation = Installation::new(5, 100_000, false).await;
    let driver = installation.driver().await;
    let running = installation.site().run(&driver);
    installation.start(&driver).await;
    installation.until_in(&driver, stage).await;
    let named = installation.amend(&driver, change).await;
    driver.amended(installation.owner(), installation.federation()).await.unwrap();
    let mut newcomers = Site::new(&installation.newest, &named).without(&installation.keys);
    newcomers.pin(&installation.keys);
    let running = running.and(newcomers.run(&driver));
    installation.until_settled(&driver, named.len()).await;
    installation.assert_amended(named.len()).await;
    drop(running.stop().await);
    driver.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_may_leave_while_a_round_is_in_any_stage_and_the_rounds_go_on() {
    for stage in [Stage::MaskedInput, Stage::ConsistencyCheck, Stage::Unmasking] {
        amended_in(stage, Change::Leave).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_may_join_and_a_lost_key_be_replaced_while_a_round_runs() {
    amended_in(Stage::MaskedInput, Change::Join).await;
    amended_in(Stage::Unmasking, Change::Replace).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_that_an_amendment_overtook_goes_on_under_its_own_manifest_after_a_kill() {
    let installation = Installation::new(5, 100_000, false).await;
    let driver = installation.driver().await;
    let running = installation.site().run(&driver);
    installation.start(&driver).await;
    installation.until_in(&driver, Stage::MaskedInput).await;
    let named = installation.amend(&driver, Change::Leave).await;
    driver.kill();
    let driver = installation.driver().await;
    let running = running.move_to(&driver).await;
    installation.until_settled(&driver, named.len()).await;
    installation.assert_amended(named.len()).await;
    drop(running.stop().await);
    driver.shutdown().await;
}
