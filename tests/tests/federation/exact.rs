//! The model of a real federation is plain FedAvg on the quantised updates, bit for bit, and FedAvg
//! on the updates themselves to within what the quantiser promises.

use roundelay_client::data::Source;
use roundelay_client::train::{Engine, LocalTrainer, Options, Trainer, Uninterrupted, Update};
use roundelay_crypto::mask::Ring;
use roundelay_crypto::quantize::{Quantizer, QuantizerSpec};

use crate::plain::{Trained, exported, fedavg, trained, trainer};
use crate::small::{Small, write_rows, write_test_rows};

#[test]
fn a_federation_of_real_processes_trains_exactly_plain_fedavg_on_quantised_updates() {
    let mut small = Small::found(4, 3, false);
    small.run_to_the_end();
    let (rounds, federated) = (trained(&small, None), exported(&small));

    let models: Vec<Vec<f32>> =
        (0..=rounds.len()).map(|until| fedavg(&small, &rounds[..until])).collect();
    assert_eq!(Some(&federated), models.last(), "the same bits");

    for (round, pair) in rounds.iter().zip(models.windows(2)) {
        let floats = float_round(&small, round, &pair[0]);
        assert_close(&pair[1], &floats, step(&small, round.cohort) / 2.0);
    }
    let floats =
        rounds.iter().fold(models[0].clone(), |model, round| float_round(&small, round, &model));
    let (secure, float) = (accuracy(&small, &federated), accuracy(&small, &floats));
    assert!(secure > 0.9 && (secure - float).abs() <= 0.002, "{secure} and {float}");
}

/// A model plus the mean of the clients' updates, none of which is clipped.
fn float_round(small: &Small, round: &Trained, model: &[f32]) -> Vec<f32> {
    let task = &small.task;
    let train = |place: &usize| {
        let settings = &task.hyperparameters;
        let update = trainer(small, *place).train(model, settings, round.version, &Uninterrupted);
        update.expect("it trains")
    };
    let weighted = |update: Update| {
        let clip = task.quantisation.clip;
        assert!(update.delta.iter().all(|value| value.abs() < clip), "nothing is clipped");
        (f64::from(task.quantisation.weight(update.rows)), update.delta)
    };
    let updates: Vec<(f64, Vec<f32>)> = round.tenants.iter().map(train).map(weighted).collect();
    let total: f64 = updates.iter().map(|(weight, _)| weight).sum();
    let mean = |at: usize| {
        updates.iter().map(|(weight, delta)| weight * f64::from(delta[at])).sum::<f64>() / total
    };
    model.iter().enumerate().map(|(at, value)| (f64::from(*value) + mean(at)) as f32).collect()
}

fn assert_close(ours: &[f32], floats: &[f32], bound: f64) {
    for (one, other) in ours.iter().zip(floats) {
        // Rounding both to f32 adds at most this to values below 2.
        let off = (f64::from(*one) - f64::from(*other)).abs();
        assert!(off <= bound + f64::from(f32::EPSILON), "{one} and {other}: {off} > {bound}");
    }
}

/// The step of the federation's quantiser.
fn step(small: &Small, cohort: u32) -> f64 {
    let by = &small.task.quantisation;
    let spec = QuantizerSpec {
        ring: Ring::Z32,
        clip: by.clip,
        contributors_max: cohort,
        weight_max: by.weight_max,
    };
    Quantizer::new(spec).expect("a quantiser").step()
}

/// On 2,000 rows that nobody trained on.
fn accuracy(small: &Small, model: &[f32]) -> f64 {
    let folder = small.folder.path().join("test");
    write_rows(&folder, 50, 40);
    write_test_rows(&folder, 51, 2_000);
    let mut trainer = LocalTrainer::new(Options {
        engine: Engine::Ndarray,
        ..Options::new(Source::new(&folder))
    });
    trainer.prepare(&small.task).expect("rows that fit");
    let metrics = trainer.evaluate(model).expect("an evaluation");
    assert_eq!(metrics.rows, 2_000);
    metrics.accuracy()
}
