use std::collections::VecDeque;
use std::path::Path;

use async_trait::async_trait;
use roundelay_protocol::contribution;
use roundelay_protocol::ids::FederationId;
use roundelay_protocol::layout::Layout;
use roundelay_protocol::metrics::Metrics;
use roundelay_protocol::model::{ModelSpec, ParameterSpec};
use roundelay_protocol::optimiser::OptimiserSpec;
use roundelay_protocol::statistics::ColumnStatistics;
use roundelay_protocol::testing;
use roundelay_protocol::transcript::NO_TRANSCRIPT;

use super::*;
use crate::blobs::Blobs;
use crate::keys::{FileKms, Kms, Scope};
use crate::server::driver::SourceGone;

async fn shelf(folder: &Path) -> Shelf {
    let kms = FileKms::open(&folder.join("keys")).unwrap();
    kms.create(&Scope::Tenant("acme".parse().unwrap())).await.unwrap();
    let blobs = Blobs::in_folder(&folder.join("blobs"), Arc::new(kms)).unwrap();
    blobs.shelf(&"acme".parse().unwrap(), FederationId([7; 16]))
}

/// More than one window of the model.
const PARAMETERS: usize = (1 << 20) + 11;
const METRICS: Metrics = Metrics { rows: 10, correct: 7, loss_sum: 4.25 };

fn adam() -> OptimiserSpec {
    OptimiserSpec::FedAdam { learning_rate: 0.1, beta1: 0.9, beta2: 0.99, tau: 1e-3 }
}

fn task(optimiser: OptimiserSpec) -> Task {
    let shape = vec![u32::try_from(PARAMETERS).unwrap()];
    let parameters = vec![ParameterSpec { name: "w".into(), shape }];
    let model = ModelSpec::TorchScript { module: Digest([1; 32]), parameters };
    let schema = testing::numbers(&["a", "b"]);
    Task { optimiser, ..testing::task(schema, model) }
}

fn first(task: &Task) -> State {
    let module = (0..PARAMETERS).map(|i| (i % 77) as f32 / 77.0).collect();
    State::initial(task, Some(module)).unwrap()
}

fn plan(task: &Task, kind: PlanKind, state: &State) -> (TrainingPlan, Bytes) {
    let layout = Layout::for_plan(kind, task, 3).unwrap();
    let vector = match kind {
        PlanKind::Train => {
            let update: Vec<_> = (0..PARAMETERS).map(|i| (i % 100) as f32 / 512.0).collect();
            contribution::train(&layout, &update, 1, &METRICS).unwrap()
        }
        PlanKind::Evaluate => contribution::evaluate(&layout, &METRICS).unwrap(),
        PlanKind::Statistics => {
            let columns = task.schema.numeric_columns();
            let columns = columns.map(|column| ColumnStatistics::of(&column, [0.5, 0.2]).unwrap());
            contribution::statistics(&layout, &columns.collect::<Vec<_>>()).unwrap()
        }
    };
    let plan = TrainingPlan {
        kind,
        model_version: state.version(),
        model: state.hash(),
        hyperparameters: testing::hyperparameters(),
        layout,
        active: Vec::new(),
        opened: Vec::new(),
        previous_transcript: NO_TRANSCRIPT,
    };
    (plan, vector.into())
}

#[tokio::test]
async fn a_state_steps_from_blob_to_blob_as_it_does_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = shelf(folder.path()).await;
    for (optimiser, kind) in [
        (OptimiserSpec::FedAvg { learning_rate: 1.0 }, PlanKind::Train),
        (adam(), PlanKind::Train),
        (adam(), PlanKind::Statistics),
    ] {
        let task = task(optimiser);
        let before = first(&task);
        let (hash, blob) = store(&shelf, &before).await.unwrap();
        assert_eq!(hash, before.hash());
        let (plan, sum) = plan(&task, kind, &before);
        let next = advance(&shelf, &task, blob, &plan, &sum, 1).await.unwrap();
        let meant = before.advance(&task, kind, &plan.layout, &sum, 1).unwrap();
        assert_eq!((next.hash, next.metrics), (meant.state.hash(), meant.metrics));
        assert!(
            shelf.read(next.blob.unwrap()).await.unwrap() == meant.state.to_bytes(),
            "{kind:?}"
        );
    }
}

#[tokio::test]
async fn an_evaluation_writes_no_state_and_an_impossible_sum_leaves_none_behind() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = shelf(folder.path()).await;
    let task = task(OptimiserSpec::FedAvg { learning_rate: 1e38 });
    let before = State::initial(&task, Some(vec![f32::MAX; PARAMETERS])).unwrap();
    let (hash, blob) = store(&shelf, &before).await.unwrap();
    let (evaluation, sum) = plan(&task, PlanKind::Evaluate, &before);
    let same = advance(&shelf, &task, blob, &evaluation, &sum, 1).await.unwrap();
    assert_eq!((same.hash, same.blob, same.metrics), (hash, None, Some(METRICS)));
    let (training, sum) = plan(&task, PlanKind::Train, &before);
    let broken = advance(&shelf, &task, blob, &training, &sum, 2).await;
    assert!(matches!(broken, Err(JobError::Lineage(LineageError::Lanes(_)))));
    let diverged = advance(&shelf, &task, blob, &training, &sum, 1).await;
    assert!(matches!(diverged, Err(JobError::Lineage(LineageError::Diverged(_)))));
    assert_eq!(shelf.names().await.unwrap(), [blob]);
    let drafts =
        std::fs::read_dir(folder.path().join("blobs/acme").join(FederationId([7; 16]).to_string()));
    assert_eq!(drafts.unwrap().count(), 1);
}

#[tokio::test]
async fn a_blob_that_is_no_state_of_the_task_is_told_from_a_store_that_fails() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = shelf(folder.path()).await;
    let task = task(adam());
    let bytes = first(&task).to_bytes();
    let cut = shelf.put(Bytes::from(bytes[..bytes.len() - 4].to_vec())).await.unwrap();
    let none = shelf.put(Bytes::from("nonsense")).await.unwrap();
    let short = open(&shelf, &task, cut).await.map(drop).unwrap_err();
    assert!(matches!(short, ReadError::State(StateError::Length { .. })), "{short}");
    let none = open(&shelf, &task, none).await.map(drop).unwrap_err();
    assert!(matches!(none, ReadError::State(StateError::NotAState)), "{none}");
    let gone = open(&shelf, &task, Digest([9; 32])).await.map(drop).unwrap_err();
    assert!(matches!(gone, ReadError::Store(StoreError::NoSuchBlob { .. })), "{gone}");
}

/// Bytes as they come from a stream that may be lost.
struct Stream(VecDeque<Result<Bytes, SourceGone>>);

impl Stream {
    fn of(bytes: &[u8], piece: usize) -> Self {
        Self(bytes.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect())
    }
}

#[async_trait]
impl ChunkSource for Stream {
    async fn next(&mut self) -> Result<Option<Bytes>, SourceGone> {
        self.0.pop_front().transpose()
    }
}

#[tokio::test]
async fn of_what_a_client_gives_back_only_the_state_that_was_asked_for_stays() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = shelf(folder.path()).await;
    let task = task(adam());
    let state = first(&task);
    let (asked, bytes) = (Standing::initial(state.hash()), state.to_bytes());
    let announced = bytes.len() as u64;
    let mut moved = bytes.clone();
    *moved.last_mut().unwrap() ^= 1;
    let mut later = bytes.clone();
    later[8] = 1;
    let longer = [bytes.clone(), vec![0]].concat();
    let mut lost = Stream::of(&bytes[..9_000_000], 1 << 20);
    lost.0.push_back(Err(SourceGone));
    for (what, mut given, announced) in [
        ("another value", Stream::of(&moved, 1 << 20), announced),
        ("another version", Stream::of(&later, 1 << 20), announced),
        ("more than announced", Stream::of(&longer, 1 << 20), announced),
        ("a longer one", Stream::of(&longer, 1 << 20), announced + 1),
        ("a shorter one", Stream::of(&bytes[1..], 1 << 20), announced - 1),
        ("less than announced", Stream::of(&bytes[..40], 7), announced),
        ("nonsense", Stream::of(&[7; 100], 7), announced),
        ("a lost stream", lost, announced),
    ] {
        let taken = receive(&shelf, &task, &asked, announced, &mut given).await.unwrap();
        assert!(taken.is_none(), "{what}");
    }
    assert_eq!(shelf.names().await.unwrap(), []);
    let mut same = Stream::of(&bytes, 70_001);
    let taken = receive(&shelf, &task, &asked, announced, &mut same).await.unwrap().unwrap();
    assert_eq!((taken.hash, taken.standardised), (asked.state, state.standardisation().is_some()));
    assert!(shelf.read(taken.blob).await.unwrap() == bytes);
}
