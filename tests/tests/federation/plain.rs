//! Plain FedAvg on the quantised updates, computed again from the tenants' rows: what a federation
//! must come to, bit for bit.

use roundelay_client::data::Source;
use roundelay_client::train::{Engine, LocalTrainer, Options, Trainer, Uninterrupted};
use roundelay_crypto::mask::add_words;
use roundelay_protocol::contribution;
use roundelay_protocol::ids::ModelVersion;
use roundelay_protocol::layout::Layout;
use roundelay_protocol::lineage::State;
use roundelay_protocol::metrics::Metrics;
use roundelay_protocol::plan::PlanKind;
use roundelay_tests::demo::model::Exported;

use crate::small::Small;

/// A train round: the version that it started from, the size of its cohort, and the places of the tenants in its sum.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Trained {
    pub(crate) version: ModelVersion,
    pub(crate) cohort: u32,
    pub(crate) tenants: Vec<usize>,
}

/// The published train rounds. Where a tenant is missing in a sum, it is `absent`, the only one
/// that anything was done to.
pub(crate) fn trained(small: &Small, absent: Option<usize>) -> Vec<Trained> {
    let id = &small.federation.id;
    let rounds = small.federation.coordinator.verb(&["rounds", id]).expect("rounds");
    let rounds = rounds.as_array().expect("a list").clone();
    let published = |kind: &str, round: &serde_json::Value| {
        round["kind"] == kind && round["state"] == "published"
    };
    let all = small.rows.len();
    let places = |survivors: u64| match (survivors as usize, absent) {
        (some, _) if some == all => (0..all).collect(),
        (some, Some(absent)) if some + 1 == all => (0..all).filter(|at| *at != absent).collect(),
        _ => Vec::new(),
    };
    let train = rounds.iter().filter(|round| published("train", round));
    let trained: Vec<Trained> = train
        .map(|round| Trained {
            version: ModelVersion(round["model_version"].as_u64().expect("a number")),
            cohort: round["cohort"].as_u64().expect("a number") as u32,
            tenants: places(round["survivors"].as_u64().expect("a number")),
        })
        .collect();
    assert!(trained.iter().all(|one| !one.tenants.is_empty()), "others dropped out: {trained:?}");
    assert_eq!(trained.len(), small.task.rounds as usize, "{rounds:?}");
    trained
}

/// The newest model, as the coordinator exports it.
pub(crate) fn exported(small: &Small) -> Vec<f32> {
    let file = small.folder.path().join("model.safetensors");
    let path = file.display().to_string();
    let arguments = ["model", "export", &small.federation.id, "--to", &path];
    small.federation.coordinator.verb(&arguments).expect("an export");
    Exported::read(&file, &small.task).expect("a model").model
}

/// Every client's update, quantised and added without masks.
pub(crate) fn fedavg(small: &Small, rounds: &[Trained]) -> Vec<f32> {
    let task = &small.task;
    let mut trainers: Vec<LocalTrainer> =
        (0..small.rows.len()).map(|place| trainer(small, place)).collect();
    let mut state = State::initial(task, None).expect("an initial state");
    for Trained { version, cohort, tenants } in rounds {
        let layout = Layout::for_plan(PlanKind::Train, task, *cohort).expect("a layout");
        let mut sum: Option<Vec<u8>> = None;
        for place in tenants {
            let update = trainers[*place]
                .train(state.model(), &task.hyperparameters, *version, &Uninterrupted)
                .expect("it trains");
            let weight = task.quantisation.weight(update.rows);
            let metrics = Metrics::default();
            let upload = contribution::train(&layout, &update.delta, weight, &metrics)
                .expect("a contribution");
            match &mut sum {
                None => sum = Some(upload),
                Some(sum) => add(&layout, sum, &upload),
            }
        }
        let (sum, survivors) = (sum.expect("a sum"), tenants.len() as u32);
        let next = state.advance(task, PlanKind::Train, &layout, &sum, survivors);
        state = next.expect("the next state").state;
    }
    state.model().to_vec()
}

/// The trainer of one tenant, as its daemon runs it.
pub(crate) fn trainer(small: &Small, place: usize) -> LocalTrainer {
    let source = Source { held_out_percent: 5, ..Source::new(&small.rows[place]) };
    let mut trainer = LocalTrainer::new(Options {
        seed: place as u64,
        engine: Engine::Ndarray,
        ..Options::new(source)
    });
    trainer.prepare(&small.task).expect("rows that fit");
    trainer
}

fn add(layout: &Layout, sum: &mut [u8], upload: &[u8]) {
    for chunk in layout.chunks() {
        let range = chunk.range();
        add_words(&mut sum[range.clone()], chunk.ring, &upload[range]);
    }
}
