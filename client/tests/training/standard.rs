//! Tables that are standardised by the federation's common statistics.

use roundelay_client::data::Data;
use roundelay_client::train::{LocalTrainer, TrainError, Trainer, Uninterrupted};
use roundelay_protocol::ids::ModelVersion;
use roundelay_protocol::model::ModelSpec;
use roundelay_protocol::schema::{Column, ColumnKind, Schema};
use roundelay_protocol::statistics::{Standardisation, StandardisedColumn};

use crate::support::{hyperparameters, options, task};

fn schema() -> Schema {
    let number = |name: &str, min, max| Column {
        name: name.to_owned(),
        kind: ColumnKind::Number { min, max },
    };
    let values = ["red", "green", "blue"].map(str::to_owned).to_vec();
    Schema::Table {
        columns: vec![
            number("age", 0.0, 100.0),
            Column { name: "colour".to_owned(), kind: ColumnKind::Category { values } },
            number("spend", -1000.0, 1000.0),
        ],
        label: "y".to_owned(),
        labels: vec!["no".to_owned(), "yes".to_owned()],
        standardise: true,
    }
}

/// Three rows: (age, colour, spend).
fn trainer() -> LocalTrainer {
    let inputs = [
        [20.0, 1.0, 0.0, 0.0, -500.0], //
        [40.0, 0.0, 0.0, 1.0, 0.0],
        [60.0, 0.0, 1.0, 0.0, 500.0],
    ];
    let data = Data::from_memory(&schema(), inputs.as_flattened(), &[0, 0, 1], 0).unwrap();
    let mut trainer = LocalTrainer::with_data(data, options());
    trainer.prepare(&task(schema(), ModelSpec::Softmax { seed: 1 })).unwrap();
    trainer
}

fn by(columns: &[(f32, f32)]) -> Standardisation {
    let column = |&(mean, inverse_deviation)| StandardisedColumn { mean, inverse_deviation };
    Standardisation { columns: columns.iter().map(column).collect() }
}

#[test]
fn the_statistics_are_sums_of_each_numeric_column_scaled_by_its_bounds() {
    let columns = trainer().statistics().unwrap();
    assert_eq!(columns.len(), 2);
    // Ages 20, 40, 60 of 0..100 are -0.6, -0.2 and 0.2.
    assert_eq!(columns[0].rows, 3);
    assert!((columns[0].sum + 0.6).abs() < 1e-12 && (columns[0].squares - 0.44).abs() < 1e-12);
    assert!(columns[1].sum.abs() < 1e-12 && (columns[1].squares - 0.5).abs() < 1e-12);
}

#[test]
fn numbers_are_standardised_and_categories_are_left_as_they_are() {
    let mut trainer = trainer();
    trainer.standardise(&by(&[(40.0, 0.05), (0.0, 0.002)])).unwrap();
    // Weights that show one input after the other as the score of "yes".
    let score = |trainer: &mut LocalTrainer, input: usize, scale: f32| {
        let mut model = vec![0.0; 12];
        model[5 + input] = scale;
        let inputs = [[40.0, 0.0, 1.0, 0.0, 250.0]];
        let rows = Data::from_memory(&schema(), inputs.as_flattened(), &[1], 0).unwrap().train;
        trainer.evaluate_on(&model, &rows).unwrap().loss_sum
    };
    let loss = |score: f64| (1.0 + (-score).exp()).ln();
    for (input, expected) in [(0, 0.0), (1, 0.0), (2, 1.0), (3, 0.0), (4, 0.5)] {
        let found = score(&mut trainer, input, 1.0);
        assert!((found - loss(expected)).abs() < 1e-6, "{input}: {found} {}", loss(expected));
    }
}

#[test]
fn a_later_standardisation_replaces_the_first() {
    let mut trainer = trainer();
    let round = ModelVersion(1);
    let mut train = |columns: &[(f32, f32)]| {
        trainer.standardise(&by(columns)).unwrap();
        let model = trainer.initial().unwrap();
        trainer.train(&model, &hyperparameters(), round, &Uninterrupted).unwrap().delta
    };
    let first = train(&[(40.0, 0.05), (0.0, 0.002)]);
    assert_ne!(train(&[(20.0, 0.1), (100.0, 0.001)]), first);
    assert_eq!(train(&[(40.0, 0.05), (0.0, 0.002)]), first);
}

#[test]
fn a_table_is_not_trained_on_before_it_is_standardised() {
    let mut trainer = trainer();
    let model = trainer.initial().unwrap();
    let round = ModelVersion(1);
    let early = trainer.train(&model, &hyperparameters(), round, &Uninterrupted).unwrap_err();
    assert!(matches!(&early, TrainError::NotPrepared(what) if what == "standardise comes first"));
    assert_eq!(trainer.evaluate(&model).unwrap_err(), early);
}

#[test]
fn a_standardisation_that_does_not_fit_is_refused() {
    let mut trainer = trainer();
    for bad in [by(&[(0.0, 1.0)]), by(&[(0.0, 1.0), (f32::NAN, 1.0)])] {
        assert!(matches!(trainer.standardise(&bad), Err(TrainError::Task(_))));
    }
}

#[test]
fn a_schema_that_no_data_can_have_is_refused_before_the_data_is_read() {
    let Schema::Table { label, labels, .. } = schema() else { return };
    let empty = Schema::Table { columns: Vec::new(), label, labels, standardise: false };
    let mut trainer = LocalTrainer::new(options());
    let error = trainer.prepare(&task(empty, ModelSpec::Softmax { seed: 1 })).unwrap_err();
    assert!(matches!(error, TrainError::Task(_)), "{error}");
}
