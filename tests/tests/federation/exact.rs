//! The model of a real federation is plain FedAvg on the quantised updates, bit for bit.

use roundelay_client::data::Source;
use roundelay_client::train::{Engine, LocalTrainer, Options, Trainer, Uninterrupted};
use roundelay_crypto::mask::add_words;
use roundelay_protocol::contribution;
use roundelay_protocol::ids::RoundNumber;
use roundelay_protocol::layout::Layout;
use roundelay_protocol::lineage::State;
use roundelay_protocol::metrics::Metrics;
use roundelay_protocol::plan::PlanKind;
use roundelay_tests::demo::model::Exported;

use crate::small::Small;

#[test]
fn a_federation_of_real_processes_trains_exactly_plain_fedavg_on_quantised_updates() {
    let tenants = 4;
    let mut small = Small::found(tenants, 3, false);
    small.run_to_the_end();

    let file = small.folder.path().join("model.safetensors");
    let path = file.display().to_string();
    let id = small.federation.id.clone();
    let rounds = small.federation.coordinator.verb(&["rounds", &id]).expect("rounds");
    let rounds = rounds.as_array().expect("a list").clone();
    let trained: Vec<u64> = rounds
        .iter()
        .filter(|round| round["kind"] == "train" && round["state"] == "published")
        .map(|round| {
            assert_eq!(round["survivors"], tenants, "nobody dropped out: {round}");
            round["round"].as_u64().expect("a number")
        })
        .collect();
    assert_eq!(trained.len(), 3, "{rounds:?}");
    let exported = ["model", "export", &id, "--to", &path];
    small.federation.coordinator.verb(&exported).expect("an export");
    let federated = Exported::read(&file, &small.task).expect("a model");

    let plain = plain_fedavg(&small, &trained);
    assert_eq!(federated.model, plain, "the same bits");
}

/// Every client's update, quantised and added without masks.
fn plain_fedavg(small: &Small, rounds: &[u64]) -> Vec<f32> {
    let task = &small.task;
    let clients = u32::try_from(small.rows.len()).expect("a few");
    let mut trainers: Vec<LocalTrainer> =
        (0..small.rows.len()).map(|place| trainer(small, place)).collect();
    let mut state = State::initial(task, None).expect("an initial state");
    for round in rounds {
        let layout = Layout::for_plan(PlanKind::Train, task, clients).expect("a layout");
        let mut sum: Option<Vec<u8>> = None;
        for trainer in &mut trainers {
            let update = trainer
                .train(state.model(), &task.hyperparameters, RoundNumber(*round), &Uninterrupted)
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
        let sum = sum.expect("a sum");
        state = state.advance(task, PlanKind::Train, &layout, &sum, clients).expect("next").state;
    }
    state.model().to_vec()
}

fn trainer(small: &Small, place: usize) -> LocalTrainer {
    let source = Source { path: small.rows[place].clone(), held_out_percent: 5 };
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
