//! Softmax regression by ndarray.

use roundelay_client::train::linear::Linear;
use roundelay_client::train::{Control, Learner, LocalTrainer, TrainError, Trainer, Uninterrupted};
use roundelay_protocol::ids::ModelVersion;
use roundelay_protocol::manifest::Hyperparameters;
use roundelay_protocol::model::ModelSpec;

use crate::support::{blobs, hyperparameters, options, pictures, task};

const SOFTMAX: ModelSpec = ModelSpec::Softmax { seed: 7 };

fn trainer() -> LocalTrainer {
    let mut trainer = LocalTrainer::with_data(blobs(400), options());
    trainer.prepare(&task(pictures(), SOFTMAX)).unwrap();
    trainer
}

fn apply(model: &mut [f32], delta: &[f32]) {
    model.iter_mut().zip(delta).for_each(|(value, change)| *value += change);
}

#[test]
fn the_gradient_agrees_with_finite_differences() {
    let (inputs, labels) = ([0.5, -1.0, 2.0, 1.5, 0.25, -0.75], [1_u32, 2]);
    let model: Vec<f32> = (0..12_u8).map(|i| (f32::from(i) - 6.0) * 0.1).collect();
    let loss = |model: &[f32]| {
        let mut learner = Linear::new(3, 3);
        learner.load(model).unwrap();
        learner.evaluate(&inputs, &labels).unwrap().loss_sum / 2.0
    };
    // One step with learning rate 1 moves by minus the gradient.
    let mut learner = Linear::new(3, 3);
    learner.load(&model).unwrap();
    let plain = Hyperparameters { learning_rate: 1.0, ..hyperparameters() };
    learner.begin(&plain, 0).unwrap();
    learner.step(&inputs, &labels).unwrap();
    let mut stepped = vec![0.0; 12];
    learner.store(&mut stepped).unwrap();
    for at in 0..12 {
        let (mut above, mut below) = (model.clone(), model.clone());
        above[at] += 0.01;
        below[at] -= 0.01;
        let numeric = (loss(&above) - loss(&below)) / 0.02;
        let analytic = f64::from(model[at] - stepped[at]);
        assert!((numeric - analytic).abs() < 1e-4, "{at}: {numeric} {analytic}");
    }
}

#[test]
fn the_loss_falls_and_the_held_out_rows_are_told_apart() {
    let mut trainer = trainer();
    let mut model = trainer.initial().unwrap();
    let before = trainer.evaluate(&model).unwrap();
    for round in 1..=5 {
        let round = ModelVersion(round);
        let update = trainer.train(&model, &hyperparameters(), round, &Uninterrupted).unwrap();
        apply(&mut model, &update.delta);
    }
    let after = trainer.evaluate(&model).unwrap();
    assert!(after.loss_sum < before.loss_sum / 2.0, "{before:?} {after:?}");
    assert!(after.correct * 100 >= after.rows * 95, "{after:?}");
}

#[test]
fn the_same_seed_and_round_give_the_same_bits_and_others_do_not() {
    let train = |seed: u64, round: u64| {
        let options = roundelay_client::train::Options { seed, ..options() };
        let mut trainer = LocalTrainer::with_data(blobs(100), options);
        trainer.prepare(&task(pictures(), SOFTMAX)).unwrap();
        let model = trainer.initial().unwrap();
        let control = &Uninterrupted;
        trainer.train(&model, &hyperparameters(), ModelVersion(round), control).unwrap().delta
    };
    assert_eq!(train(1, 1), train(1, 1));
    assert_ne!(train(1, 1), train(2, 1));
    assert_ne!(train(1, 1), train(1, 2));
}

#[test]
fn the_proximal_term_keeps_the_model_near_where_it_started() {
    let moved = |proximal: f32| {
        let mut trainer = trainer();
        let model = trainer.initial().unwrap();
        let held = Hyperparameters { proximal, local_epochs: 3, ..hyperparameters() };
        let update = trainer.train(&model, &held, ModelVersion(1), &Uninterrupted).unwrap();
        update.delta.iter().map(|change| f64::from(*change).powi(2)).sum::<f64>().sqrt()
    };
    let (free, near, nearer) = (moved(0.0), moved(0.5), moved(5.0));
    assert!(free > near && near > nearer && nearer > 0.0, "{free} {near} {nearer}");
}

#[test]
fn momentum_follows_its_recurrence() {
    let (inputs, labels) = ([1.0, 2.0], [0_u32]);
    let settings = Hyperparameters { momentum: 0.5, learning_rate: 0.25, ..hyperparameters() };
    let gradient_at = |model: &[f32]| {
        let mut learner = Linear::new(2, 2);
        learner.load(model).unwrap();
        let plain = Hyperparameters { momentum: 0.0, learning_rate: 1.0, ..settings };
        learner.begin(&plain, 0).unwrap();
        learner.step(&inputs, &labels).unwrap();
        let mut stepped = vec![0.0; 6];
        learner.store(&mut stepped).unwrap();
        model.iter().zip(stepped).map(|(before, after)| before - after).collect::<Vec<f32>>()
    };
    let (mut expected, mut velocity) = (vec![0.0_f32; 6], vec![0.0_f32; 6]);
    for _ in 0..3 {
        let gradient = gradient_at(&expected);
        for at in 0..6 {
            velocity[at] = 0.5 * velocity[at] + gradient[at];
            expected[at] -= 0.25 * velocity[at];
        }
    }
    let mut learner = Linear::new(2, 2);
    learner.begin(&settings, 0).unwrap();
    for _ in 0..3 {
        learner.step(&inputs, &labels).unwrap();
    }
    let mut model = vec![0.0; 6];
    learner.store(&mut model).unwrap();
    for (value, wanted) in model.iter().zip(&expected) {
        assert!((value - wanted).abs() < 1e-6, "{model:?} {expected:?}");
    }
}

#[test]
fn a_round_reports_the_rows_it_trained_on_and_a_finite_loss() {
    let mut trainer = LocalTrainer::with_data(blobs(400), options());
    let summary = trainer.prepare(&task(pictures(), SOFTMAX)).unwrap();
    assert_eq!(summary.rows + summary.held_out_rows, 400);
    let model = trainer.initial().unwrap();
    let update =
        trainer.train(&model, &hyperparameters(), ModelVersion(1), &Uninterrupted).unwrap();
    assert_eq!(update.rows, summary.rows);
    assert!(update.loss > 0.0 && update.loss < 2.0, "{}", update.loss);
    assert_eq!(trainer.evaluate(&model).unwrap().rows, summary.held_out_rows);
}

#[test]
fn models_that_do_not_fit_are_the_senders_fault() {
    let mut trainer = trainer();
    let model = trainer.initial().unwrap();
    let refused = |trainer: &mut LocalTrainer, model: &[f32]| {
        trainer.evaluate(model).expect_err("a bad model").to_string()
    };
    assert_eq!(refused(&mut trainer, &model[1..]), "model: has 259 parameters, the task's has 260");
    let mut bad = model;
    bad[3] = f32::NAN;
    assert_eq!(refused(&mut trainer, &bad), "model: parameter 3 is NaN");
}

#[test]
fn a_run_that_diverges_is_an_error_and_not_an_update() {
    let mut trainer = trainer();
    let model = trainer.initial().unwrap();
    // The gradient of softmax regression is bounded: only a huge step overflows.
    let wild = Hyperparameters { learning_rate: 3e38, momentum: 0.9, ..hyperparameters() };
    let error = trainer.train(&model, &wild, ModelVersion(4), &Uninterrupted).unwrap_err();
    assert_eq!(error, TrainError::Diverged { version: ModelVersion(4) });
}

/// Cancels after some progress.
struct CancelAfter(std::cell::Cell<u32>);

impl Control for CancelAfter {
    fn cancelled(&self) -> bool {
        self.0.get() == 0
    }

    fn progress(&self, done: u64, total: u64) {
        assert!(done > 0 && done <= total);
        self.0.set(self.0.get() - 1);
    }
}

#[test]
fn a_cancelled_round_stops_between_two_batches_and_the_next_one_is_as_if_it_had_not_been() {
    let mut trainer = trainer();
    let model = trainer.initial().unwrap();
    let round = ModelVersion(1);
    let undisturbed = trainer.train(&model, &hyperparameters(), round, &Uninterrupted).unwrap();
    let cancel = CancelAfter(3.into());
    let error = trainer.train(&model, &hyperparameters(), round, &cancel).unwrap_err();
    assert_eq!((error, cancel.0.get()), (TrainError::Cancelled, 0));
    let again = trainer.train(&model, &hyperparameters(), round, &Uninterrupted).unwrap();
    assert_eq!(again, undisturbed);
}

#[test]
fn a_trainer_that_is_not_prepared_says_so() {
    let mut trainer = LocalTrainer::with_data(blobs(10), options());
    let error = trainer.evaluate(&[]).unwrap_err();
    assert_eq!(error.to_string(), "internal: the trainer was not prepared: prepare comes first");
}

#[cfg(not(feature = "torch"))]
#[test]
fn without_libtorch_an_mlp_is_refused_with_what_to_do() {
    let mut trainer = LocalTrainer::with_data(blobs(10), options());
    let mlp = ModelSpec::Mlp { hidden: vec![4], seed: 0 };
    let line = trainer.prepare(&task(pictures(), mlp)).unwrap_err().to_string();
    assert!(line.contains("built without libtorch") && line.contains("--features torch"), "{line}");
}
