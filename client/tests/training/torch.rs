//! Training by libtorch, on one thread and with fixed seeds.

use roundelay_client::train::{
    Device, Engine, LocalTrainer, Options, TrainError, Trainer, Uninterrupted,
};
use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::ModelVersion;
use roundelay_protocol::manifest::Hyperparameters;
use roundelay_protocol::model::ModelSpec;

use crate::support::{blobs, hyperparameters, options, pictures, task};

fn by_torch() -> Options {
    Options { engine: Engine::Torch, device: Device::Cpu, ..options() }
}

fn trainer(model: ModelSpec, options: Options) -> LocalTrainer {
    let mut trainer = LocalTrainer::with_data(blobs(400), options);
    trainer.prepare(&task(pictures(), model)).unwrap();
    trainer
}

fn softmax() -> ModelSpec {
    ModelSpec::Softmax { seed: 7 }
}

fn mlp() -> ModelSpec {
    ModelSpec::Mlp { hidden: vec![16, 8], seed: 7 }
}

fn cnn() -> ModelSpec {
    ModelSpec::Cnn { channels: [4, 8], seed: 7 }
}

/// Model and held-out metrics after some rounds.
fn after(rounds: u64, trainer: &mut LocalTrainer, settings: &Hyperparameters) -> Vec<f32> {
    let mut model = trainer.initial().unwrap();
    for round in 1..=rounds {
        let update = trainer.train(&model, settings, ModelVersion(round), &Uninterrupted).unwrap();
        model.iter_mut().zip(&update.delta).for_each(|(value, change)| *value += change);
    }
    model
}

fn hash(model: &[f32]) -> Digest {
    let bytes: Vec<u8> = model.iter().flat_map(|value| value.to_le_bytes()).collect();
    Digest::of("test model", &[&bytes])
}

#[test]
fn the_loss_falls_and_the_held_out_rows_are_told_apart_by_every_architecture() {
    for (spec, rounds) in [(softmax(), 5), (mlp(), 10), (cnn(), 5)] {
        let mut trainer = trainer(spec.clone(), by_torch());
        let initial = trainer.initial().unwrap();
        let before = trainer.evaluate(&initial).unwrap();
        let model = after(rounds, &mut trainer, &hyperparameters());
        let after = trainer.evaluate(&model).unwrap();
        assert!(after.loss_sum < before.loss_sum / 2.0, "{spec:?} {before:?} {after:?}");
        assert!(after.correct * 100 >= after.rows * 95, "{spec:?} {after:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_on_every_run() {
    let settings = Hyperparameters { momentum: 0.9, proximal: 0.01, ..hyperparameters() };
    for spec in [softmax(), mlp(), cnn()] {
        let run = |seed| {
            let options = Options { seed, ..by_torch() };
            hash(&after(2, &mut trainer(spec.clone(), options), &settings))
        };
        assert_eq!(run(1), run(1), "{spec:?}");
        assert_ne!(run(1), run(2), "{spec:?}");
    }
}

#[test]
fn softmax_by_libtorch_and_by_ndarray_are_the_same_function_of_the_same_flat_vector() {
    let settings = Hyperparameters { momentum: 0.9, proximal: 0.1, ..hyperparameters() };
    let mut torch = trainer(softmax(), by_torch());
    let mut plain = trainer(softmax(), options());
    let model: Vec<f32> = (0..260_u16).map(|i| f32::from(i % 17) * 0.05 - 0.4).collect();
    let (a, b) = (torch.evaluate(&model).unwrap(), plain.evaluate(&model).unwrap());
    assert_eq!((a.rows, a.correct), (b.rows, b.correct));
    assert!((a.loss_sum - b.loss_sum).abs() < 1e-3, "{a:?} {b:?}");
    let (a, b) = (after(2, &mut torch, &settings), after(2, &mut plain, &settings));
    let largest = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(largest < 1e-4, "{largest}");
}

/// An MLP's metrics by plain loops over the flat vector in the protocol's order.
fn mlp_by_hand(model: &[f32], widths: &[usize]) -> (u64, f64) {
    let held_out = blobs(400).held_out;
    let (mut correct, mut loss_sum) = (0, 0.0);
    for (inputs, label) in held_out.inputs().chunks(64).zip(held_out.labels()) {
        let mut values: Vec<f64> = inputs.iter().map(|value| f64::from(*value)).collect();
        let mut unread = model;
        for (layer, pair) in widths.windows(2).enumerate() {
            let (weights, rest) = unread.split_at(pair[0] * pair[1]);
            let (biases, rest) = rest.split_at(pair[1]);
            unread = rest;
            if layer > 0 {
                values.iter_mut().for_each(|value| *value = value.max(0.0));
            }
            let unit = |(weights, bias): (&[f32], &f32)| {
                let products = weights.iter().zip(&values).map(|(w, x)| f64::from(*w) * x);
                products.sum::<f64>() + f64::from(*bias)
            };
            values = weights.chunks(pair[0]).zip(biases).map(unit).collect();
        }
        let sum: f64 = values.iter().map(|score| score.exp()).sum();
        loss_sum += sum.ln() - values[*label as usize];
        let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        correct += u64::from(values[*label as usize] == largest);
    }
    (correct, loss_sum)
}

#[test]
fn an_mlp_reads_the_flat_vector_in_the_protocols_order() {
    let mut trainer = trainer(mlp(), by_torch());
    let model = after(3, &mut trainer, &hyperparameters());
    let metrics = trainer.evaluate(&model).unwrap();
    let (correct, loss_sum) = mlp_by_hand(&model, &[64, 16, 8, 4]);
    assert_eq!(metrics.correct, correct);
    assert!((metrics.loss_sum - loss_sum).abs() < 1e-3, "{metrics:?} {loss_sum}");
}

#[test]
fn a_flat_vector_comes_back_as_it_went_in() {
    // With a learning rate of 0 nothing moves, and the delta is exactly zero.
    for spec in [softmax(), mlp(), cnn()] {
        let mut trainer = trainer(spec, by_torch());
        let model = trainer.initial().unwrap();
        let still = Hyperparameters { learning_rate: 0.0, ..hyperparameters() };
        let update = trainer.train(&model, &still, ModelVersion(1), &Uninterrupted).unwrap();
        assert!(update.delta.iter().all(|change| *change == 0.0));
    }
}

#[test]
fn a_gpu_that_is_not_there_is_named_and_auto_goes_on_without() {
    let on = |device| {
        let mut trainer = LocalTrainer::with_data(blobs(10), Options { device, ..by_torch() });
        trainer.prepare(&task(pictures(), mlp()))
    };
    on(Device::Auto).unwrap();
    match on(Device::Cuda) {
        Ok(_) => eprintln!("SKIPPED: this machine has a GPU"),
        Err(error) => {
            let line = error.to_string();
            assert!(matches!(error, TrainError::Installation(_)), "{line}");
            assert!(line.contains("set device to auto") && !line.contains('\n'), "{line}");
        }
    }
}

#[test]
fn a_run_that_diverges_is_an_error_and_not_an_update() {
    let mut trainer = trainer(mlp(), by_torch());
    let model = trainer.initial().unwrap();
    let wild = Hyperparameters { learning_rate: 1e30, ..hyperparameters() };
    let error = trainer.train(&model, &wild, ModelVersion(4), &Uninterrupted).unwrap_err();
    assert_eq!(error, TrainError::Diverged { version: ModelVersion(4) });
}

#[test]
fn the_libtorch_of_this_process_is_found_and_is_the_right_one() {
    use roundelay_client::train::torch::{LIBTORCH_VERSION, check_version, describe};
    assert_eq!(check_version(), Ok(()));
    let line = describe(Device::Cpu);
    assert!(line.starts_with(&format!("libtorch {LIBTORCH_VERSION}.")), "{line}");
    assert!(line.ends_with(", on the CPU"), "{line}");
}
