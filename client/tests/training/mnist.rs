//! MNIST as it comes: gzipped IDX files, read, split and trained on.

use std::sync::{Arc, OnceLock};

use roundelay_client::data::{Data, Source};
use roundelay_client::train::{LocalTrainer, Trainer, Uninterrupted};
use roundelay_protocol::ids::ModelVersion;
use roundelay_protocol::manifest::Hyperparameters;
use roundelay_protocol::model::ModelSpec;
use roundelay_protocol::schema::Schema;

use crate::support::{hyperparameters, options, real_data, task};

fn schema() -> Schema {
    Schema::Images { channels: 1, height: 28, width: 28, classes: 10 }
}

/// A tenth of the training rows, in the file's order, and the test rows; read once.
fn mnist() -> Option<Arc<Data>> {
    static DATA: OnceLock<Option<Arc<Data>>> = OnceLock::new();
    let read = || {
        let mut data = Data::load(&Source::new(real_data("mnist")?), &schema()).unwrap();
        assert_eq!((data.train.len(), data.held_out.len()), (60_000, 10_000));
        let (inputs, labels) = (&data.train.inputs()[..6000 * 784], &data.train.labels()[..6000]);
        data.train = Data::from_memory(&schema(), inputs, labels, 0).unwrap().train;
        Some(Arc::new(data))
    };
    DATA.get_or_init(read).clone()
}

/// Share of the test rows that are right after one epoch over 6,000 rows.
fn accuracy(model: ModelSpec) -> Option<f64> {
    let mut trainer = LocalTrainer::with_data(mnist()?, options());
    trainer.prepare(&task(schema(), model)).unwrap();
    let mut model = trainer.initial().unwrap();
    let settings = Hyperparameters { batch_rows: 32, ..hyperparameters() };
    let update = trainer.train(&model, &settings, ModelVersion(1), &Uninterrupted).unwrap();
    model.iter_mut().zip(&update.delta).for_each(|(value, change)| *value += change);
    let metrics = trainer.evaluate(&model).unwrap();
    assert_eq!(metrics.rows, 10_000);
    Some(f64::from(u32::try_from(metrics.correct).unwrap()) / 10_000.0)
}

#[test]
fn softmax_regression_learns_mnist_from_six_thousand_rows() {
    if let Some(accuracy) = accuracy(ModelSpec::Softmax { seed: 1 }) {
        assert!(accuracy > 0.84, "{accuracy}");
    }
}

#[cfg(feature = "torch")]
#[test]
fn an_mlp_learns_mnist_from_six_thousand_rows() {
    if let Some(accuracy) = accuracy(ModelSpec::Mlp { hidden: vec![200], seed: 1 }) {
        assert!(accuracy > 0.85, "{accuracy}");
    }
}
