//! The task of a federation over real files and a connection within the process.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::IdentityKey;
use roundelay_protocol::close::CloseCode;
use roundelay_protocol::plan::PlanKind;
use roundelay_protocol::privacy::Account;
use roundelay_protocol::round::horizontal::client::{
    Cohort, Event as Remembered, MaskPlan, Record, Setup,
};
use roundelay_protocol::round::horizontal::terms::Terms;
use roundelay_protocol::time::Millis;

use super::super::connection::{Connection, Dialer, Lost, Receiving, Sending};
use super::super::memory::{Coordinator, network};
use super::*;
use crate::checkpoint::StateDir;
use crate::checkpoint::durable::{note, noted_in};
use crate::checkpoint::failpoint::{Fault, arm, disarm};
use crate::engine::tests::world::{manifest_of, task};
use crate::engine::work::Contribution;
use crate::gate::Line;
use crate::train::{LocalTrainer, Options};

const ROUND: RoundNumber = RoundNumber(4);

/// A connection of which a test notes when a stream is opened on it.
struct Noting(Arc<dyn Connection>, PathBuf);

#[async_trait]
impl Connection for Noting {
    async fn control(&self) -> Result<(Box<dyn Sending>, Box<dyn Receiving>), Lost> {
        self.0.control().await
    }
    async fn open(&self) -> Result<Box<dyn Sending>, Lost> {
        note(&self.1);
        self.0.open().await
    }
    async fn accept(&self) -> Result<Box<dyn Receiving>, Lost> {
        self.0.accept().await
    }
    fn close(&self, code: CloseCode) {
        self.0.close(code);
    }
}

/// A gate over a connection, and the coordinator's side of it.
async fn gate(root: &Path) -> (Arc<Gate>, Coordinator) {
    let (dialer, mut dialled) = network();
    let connection = dialer.dial("there:4433").await.unwrap();
    let there = dialled.recv().await.unwrap();
    let (control, _answers) = connection.control().await.unwrap();
    let gate = Gate::open(&root.join("ledger")).unwrap();
    gate.attach(Line::new(Arc::new(Noting(connection, root.join("stream opened"))), control));
    (Arc::new(gate), there)
}

/// The ledger of the state directory that a federation's folder lies in.
fn accounts(dir: &FederationDir) -> Accounts {
    let root = dir.history().unwrap().0.path().ancestors().nth(3).unwrap().to_owned();
    StateDir::open(root).unwrap().accounts().unwrap()
}

fn runner(
    dir: &FederationDir,
    terms: &Arc<Terms>,
    gate: Arc<Gate>,
) -> (Runner, mpsc::Receiver<Command>) {
    let identity = Arc::new(IdentityKey::random(&mut ChaCha20Rng::seed_from_u64(1)));
    let (pinned, patience) = (Arc::default(), Millis(60_000));
    let account = Account::default();
    let setup = Setup { terms: Arc::clone(terms), identity, pinned, patience, account };
    let initial = Arc::new(State::initial(&task(false), None).unwrap());
    let (engine, effects) = Federation::new(setup, Digest([1; 32]), &[], None, initial);
    let trainer = Box::new(LocalTrainer::new(Options::new(crate::data::Source::new(""))));
    let parts = Parts {
        engine,
        effects,
        dir: dir.clone(),
        history: dir.history().unwrap().0,
        accounts: Arc::new(accounts(dir)),
        trainer: TrainerThread::start(trainer, Arc::new(|_, _, _| {})).unwrap(),
        gate,
        allowances: Arc::default(),
        clock: Clock::start(),
        on_told: Arc::new(|_, told| panic!("{told:?}")),
    };
    let (inbox, commands) = mpsc::channel(INBOX_MAX);
    (Runner::new(parts, inbox).0, commands)
}

/// A client that has stored its masked vector, and the record of its upload.
struct Ready {
    root: tempfile::TempDir,
    dir: FederationDir,
    runner: Runner,
    there: Coordinator,
    record: Record,
}

impl Ready {
    async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let terms = Arc::new(Terms::new(manifest_of(4)));
        let federation = terms.federation();
        let dir = StateDir::create(root.path()).unwrap().federation(federation).unwrap();
        let (gate, there) = gate(root.path()).await;
        let (mut runner, mut commands) = runner(&dir, &terms, gate);
        let (members, kind): (Vec<_>, _) = (terms.clients().collect(), PlanKind::Train);
        let layout = terms.layout(kind, &members).unwrap();
        let contribution = Contribution::of_words(layout.blank());
        let plan = MaskPlan { keys: Vec::new(), layout };
        let work = MaskWork { round: ROUND, contribution, plan };
        runner.carry_out(vec![Effect::Mask(Box::new(work))]).await;
        let Some(Command::Stored(ROUND, Ok((vector, roots)))) = commands.recv().await else {
            panic!("the vector is stored");
        };
        runner.vectors.stored(ROUND, vector, true);
        let cohort = Cohort { manifest: terms.hash(), members, witnesses: 2 };
        let event = Remembered::Uploading {
            kind,
            model: Digest([2; 32]),
            cohort,
            contribution: roots.plain,
        };
        let record = Record { federation, round: ROUND, event };
        Self { root, dir, runner, there, record }
    }
}

#[tokio::test]
async fn the_masked_vector_and_the_history_are_durable_before_a_stream_is_opened_for_the_upload() {
    let Ready { root, dir, mut runner, mut there, record } = Ready::new().await;
    runner.carry_out(vec![Effect::Persist(record.clone()), Effect::Upload(ROUND)]).await;
    let mut stream = there.streams.recv().await.expect("an upload");
    assert!(stream.receive(1).await.unwrap().is_some());
    let noted = noted_in(root.path());
    assert_eq!(noted, ["round-4.spare", "history", "ledger", "stream opened"]);
    assert_eq!(dir.history().unwrap().1, [record]);
}

#[tokio::test]
async fn nothing_is_uploaded_once_a_record_could_not_be_kept() {
    let Ready { root: _root, mut runner, record, .. } = Ready::new().await;
    arm("history.append.before", Fault::Full);
    assert!(runner.effect(Effect::Persist(record)).await.is_err());
    assert!(!disarm());
    assert!(runner.effect(Effect::Upload(ROUND)).await.is_err());
    assert!(runner.uploads.is_empty(), "no upload was begun");
}
