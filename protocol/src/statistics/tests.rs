use proptest::prelude::*;

use super::*;
use crate::contribution;
use crate::fixtures::{sum, table};
use crate::model::ModelSpec;
use crate::plan::PlanKind;
use crate::schema::{Column, ColumnKind};
use crate::testing;

/// Rows of (age, spend) per client.
fn standardisation(clients: &[Vec<(f32, f32)>]) -> Result<Standardisation, StatisticsError> {
    let schema = table();
    let task = testing::task(table(), ModelSpec::Softmax { seed: 0 });
    let layout = Layout::for_plan(PlanKind::Statistics, &task, clients.len() as u32).unwrap();
    let uploads: Vec<_> = clients.iter().map(|rows| upload(&schema, &layout, rows)).collect();
    Standardisation::from_sums(&schema, &layout, &sum(&layout, &uploads))
}

fn upload(schema: &Schema, layout: &Layout, rows: &[(f32, f32)]) -> Vec<u8> {
    let columns: Vec<_> = schema.numeric_columns().collect();
    let ages = ColumnStatistics::of(&columns[0], rows.iter().map(|row| row.0)).unwrap();
    let spends = ColumnStatistics::of(&columns[1], rows.iter().map(|row| row.1)).unwrap();
    contribution::statistics(layout, &[ages, spends]).unwrap()
}

#[test]
fn the_sums_of_all_clients_give_the_mean_and_deviation_of_all_rows() {
    let clients =
        [vec![(20.0, 100.0), (40.0, 300.0)], vec![(60.0, -5.0)], vec![(80.0, 9_999.0), (0.0, 0.0)]];
    let by = standardisation(&clients).unwrap();
    assert!(by.fits(&table()));
    assert!((by.columns[0].mean - 40.0).abs() < 1e-4);
    let deviation = 800.0_f32.sqrt();
    assert!((by.columns[0].inverse_deviation * deviation - 1.0).abs() < 1e-5);
    assert!((by.columns[0].apply(40.0 + deviation) - 1.0).abs() < 1e-4);
    assert!((by.columns[1].mean - 2078.8).abs() < 0.01);
}

#[test]
fn a_constant_column_says_nothing_to_the_model() {
    let by = standardisation(&vec![vec![(33.3, 7.0), (33.3, 8.0)]; 3]).unwrap();
    assert_eq!(by.columns[0].inverse_deviation, 0.0);
    assert_eq!(by.columns[0].apply(33.3), 0.0);
    assert!(by.columns[1].inverse_deviation > 0.0);
}

#[test]
fn no_rows_at_all_give_no_standardisation() {
    assert_eq!(standardisation(&vec![vec![]; 3]), Err(StatisticsError::NoRows));
}

#[test]
fn a_value_outside_its_bounds_is_named_by_its_row() {
    let schema = table();
    let age = schema.numeric_columns().next().unwrap();
    for bad in [-0.1, 120.1, f32::NAN, f32::INFINITY] {
        let error = ColumnStatistics::of(&age, [1.0, bad]).unwrap_err();
        assert_eq!(error.row, 1);
        assert!(error.to_string().contains("outside the bounds 0 to 120"), "{error}");
    }
    assert!(ColumnStatistics::of(&age, [0.0, 120.0]).is_ok());
}

#[test]
fn sums_that_no_rows_can_have_are_refused() {
    let task = testing::task(table(), ModelSpec::Softmax { seed: 0 });
    let layout = Layout::for_plan(PlanKind::Statistics, &task, 3).unwrap();
    for (sums, squares) in
        [([5.0, 0.0], [3.0, 0.0]), ([0.0; 2], [0.0, 5.0]), ([0.0; 2], [-1.0, 0.0])]
    {
        let mut forged = layout.blank();
        layout.write_counts(&mut forged, names::ROWS, &[4]).unwrap();
        layout.write_fixed(&mut forged, names::SUMS, &sums).unwrap();
        layout.write_fixed(&mut forged, names::SQUARES, &squares).unwrap();
        let refused = Standardisation::from_sums(&table(), &layout, &forged);
        assert!(matches!(refused, Err(StatisticsError::Impossible(_))), "{refused:?}");
    }
}

#[test]
fn columns_over_different_rows_do_not_go_into_an_upload() {
    let task = testing::task(table(), ModelSpec::Softmax { seed: 0 });
    let layout = Layout::for_plan(PlanKind::Statistics, &task, 3).unwrap();
    let column = |rows| ColumnStatistics { rows, sum: 0.0, squares: 0.0 };
    assert!(contribution::statistics(&layout, &[column(1), column(2)]).is_err());
    assert!(contribution::statistics(&layout, &[column(1)]).is_err());
}

proptest! {
    #[test]
    fn standardised_columns_have_mean_0_and_deviation_1(
        clients in prop::collection::vec(
            prop::collection::vec((0.0_f32..120.0, -10.0_f32..1e4), 2..30), 3..6),
    ) {
        let by = standardisation(&clients).unwrap();
        let rows: Vec<_> = clients.concat();
        let standardised = rows.iter().map(|row| f64::from(by.columns[0].apply(row.0)));
        let n = rows.len() as f64;
        let mean = standardised.clone().sum::<f64>() / n;
        let variance = standardised.map(|x| x * x).sum::<f64>() / n - mean * mean;
        prop_assert!(mean.abs() < 1e-3, "{mean}");
        prop_assert!((variance - 1.0).abs() < 1e-2, "{variance}");
    }
}

#[test]
fn without_a_look_at_data_columns_are_standardised_by_their_bounds() {
    let column = |name: &str, min, max| Column {
        name: name.to_owned(),
        kind: ColumnKind::Number { min, max },
    };
    let schema = Schema::Table {
        columns: vec![column("age", 20.0, 100.0), column("tiny", 0.0, 1e-40)],
        label: "y".to_owned(),
        labels: vec!["no".to_owned(), "yes".to_owned()],
        standardise: true,
    };
    let by = Standardisation::from_bounds(&schema);
    assert!(by.fits(&schema));
    let scaled = [20.0, 60.0, 100.0].map(|age| by.columns[0].apply(age));
    assert_eq!(scaled, [-1.0, 0.0, 1.0]);
}
