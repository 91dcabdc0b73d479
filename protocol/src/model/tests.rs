use super::*;
use crate::schema::{Column, ColumnKind};
use crate::testing::{self, images};

fn count(model: &ModelSpec, schema: &Schema) -> u64 {
    model.parameter_count(schema).unwrap()
}

#[test]
fn parameters_are_counted_from_the_schema() {
    let mnist = images(28, 10);
    assert_eq!(count(&ModelSpec::Softmax { seed: 0 }, &mnist), 784 * 10 + 10);
    let mlp = ModelSpec::Mlp { hidden: vec![200], seed: 0 };
    assert_eq!(count(&mlp, &mnist), 784 * 200 + 200 + 200 * 10 + 10);
    let cnn = ModelSpec::Cnn { channels: [8, 16], seed: 0 };
    let expected = 8 * 9 + 8 + 16 + 16 * 8 * 9 + 16 + 32 + 16 * 49 * 10 + 10;
    assert_eq!(count(&cnn, &mnist), expected);
    let names: Vec<_> = cnn.parameters(&mnist).unwrap().into_iter().map(|p| p.name).collect();
    assert_eq!(names.first().map(String::as_str), Some("conv1.weight"));
    assert_eq!(names.last().map(String::as_str), Some("linear.bias"));
}

#[test]
fn a_model_that_cannot_be_is_refused_with_what_would_do() {
    let table = Schema::Table {
        columns: vec![Column { name: "x".into(), kind: ColumnKind::Number { min: 0.0, max: 1.0 } }],
        label: "y".into(),
        labels: vec!["a".into(), "b".into()],
        standardise: false,
    };
    let cnn = |channels| ModelSpec::Cnn { channels, seed: 0 };
    assert_eq!(cnn([8, 8]).parameters(&table), Err(ModelError::NotImages));
    assert_eq!(cnn([8, 8]).parameters(&images(3, 2)), Err(ModelError::NotImages));
    assert_eq!(cnn([8, 6]).parameters(&images(8, 2)), Err(ModelError::Channels(6)));
    let mlp = |hidden| ModelSpec::Mlp { hidden, seed: 0 };
    for hidden in [vec![], vec![0], vec![1; HIDDEN_LAYERS_MAX + 1]] {
        assert_eq!(mlp(hidden).parameters(&table), Err(ModelError::Hidden));
    }
    assert_eq!(mlp(vec![u32::MAX; 2]).parameters(&table), Err(ModelError::Size));
    let parameter =
        |name: &str, shape: &[u32]| ParameterSpec { name: name.into(), shape: shape.into() };
    let script = |parameters| ModelSpec::TorchScript { module: module_digest(b""), parameters };
    let twice = script(vec![parameter("a", &[2]), parameter("a", &[2])]);
    assert_eq!(twice.parameters(&table), Err(ModelError::Parameter(1)));
    assert_eq!(
        script(vec![parameter("a", &[0])]).parameters(&table),
        Err(ModelError::Parameter(0))
    );
    assert_eq!(script(vec![]).parameters(&table), Err(ModelError::Size));
}

#[test]
fn the_initial_model_is_a_pure_function_of_the_task() {
    let task = testing::task(images(8, 10), ModelSpec::Mlp { hidden: vec![16], seed: 7 });
    let model = initial(&task).unwrap().unwrap();
    assert_eq!(model.len(), 64 * 16 + 16 + 16 * 10 + 10);
    assert_eq!(initial(&task).unwrap().unwrap(), model);
    let other = testing::task(images(8, 10), ModelSpec::Mlp { hidden: vec![16], seed: 8 });
    assert_ne!(initial(&other).unwrap().unwrap(), model);
    let (first, second) = model.split_at(64 * 16 + 16);
    assert!(first.iter().all(|x| x.abs() <= 0.125) && first.iter().any(|x| x.abs() > 0.12));
    assert!(second.iter().all(|x| x.abs() <= 0.25) && second.iter().any(|x| x.abs() > 0.24));
    let mean = first.iter().sum::<f32>() / first.len() as f32;
    assert!(mean.abs() < 0.01, "{mean}");
}

#[test]
fn the_normalisations_of_a_cnn_start_as_the_identity() {
    let task = testing::task(images(8, 10), ModelSpec::Cnn { channels: [4, 8], seed: 1 });
    let model = initial(&task).unwrap().unwrap();
    let norm = 4 * 9 + 4;
    assert_eq!(model[norm..norm + 8], [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(model.len() as u64, count(&task.model, &task.schema));
}

#[test]
fn a_torchscript_module_brings_its_own_parameters() {
    let parameters = vec![ParameterSpec { name: "w".into(), shape: vec![3, 2] }];
    let model = ModelSpec::TorchScript { module: module_digest(b"file"), parameters };
    let text = serde_json::to_string(&model).unwrap();
    assert!(text.contains(&module_digest(b"file").to_string()), "{text}");
    assert_eq!(serde_json::from_str::<ModelSpec>(&text).unwrap(), model);
    let bytes = crate::codec::encode(&model);
    assert_eq!(crate::codec::decode(&bytes, 4096), Ok(model.clone()));
    assert_eq!(initial(&testing::task(images(8, 10), model)), Ok(None));
}
