//! TorchScript modules exported from Python: the example's, and ones that cannot be trained.

use std::path::{Path, PathBuf};

use roundelay_client::train::{
    Device, LocalTrainer, Options, TrainError, Trainer, Uninterrupted, torch,
};
use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::ModelVersion;
use roundelay_protocol::manifest::{Hyperparameters, Task};
use roundelay_protocol::model::{ModelSpec, ParameterSpec};
use roundelay_protocol::schema::Schema;

use crate::support::{blobs, hyperparameters, options, pictures, task};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn example() -> PathBuf {
    file("examples/small_cnn.pt")
}

/// The task that names a module as it is.
fn task_of(module: &Path) -> Task {
    let (module, parameters) = torch::inspect(module).unwrap();
    task(pictures(), ModelSpec::TorchScript { module, parameters })
}

fn trainer(module: PathBuf) -> LocalTrainer {
    let options = Options { module: Some(module), device: Device::Cpu, ..options() };
    LocalTrainer::with_data(blobs(400), options)
}

fn refused(module: PathBuf, task: &Task) -> TrainError {
    let error = trainer(module).prepare(task).expect_err("a module that does not fit");
    assert!(!error.to_string().contains('\n'), "{error}");
    error
}

/// The model after some rounds.
fn rounds(count: u64, trainer: &mut dyn Trainer) -> Vec<f32> {
    let settings = Hyperparameters { momentum: 0.5, ..hyperparameters() };
    let mut model = trainer.initial().unwrap();
    for round in 1..=count {
        let update = trainer.train(&model, &settings, ModelVersion(round), &Uninterrupted).unwrap();
        model.iter_mut().zip(&update.delta).for_each(|(value, change)| *value += change);
    }
    model
}

#[test]
fn the_examples_module_is_trained_from_its_own_parameters_and_the_loss_falls() {
    let (_, parameters) = torch::inspect(&example()).unwrap();
    let names: Vec<_> = parameters.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names[0], "features.0.weight");
    assert_eq!(names.last(), Some(&"head.2.bias"));
    let mut trainer = trainer(example());
    trainer.prepare(&task_of(&example())).unwrap();
    let initial = trainer.initial().unwrap();
    let before = trainer.evaluate(&initial).unwrap();
    let model = rounds(5, &mut trainer);
    let after = trainer.evaluate(&model).unwrap();
    assert!(after.loss_sum < before.loss_sum / 2.0, "{before:?} {after:?}");
    assert!(after.correct * 100 >= after.rows * 95, "{after:?}");
}

/// Dropout draws from libtorch's generator, of which a process has one: here each run has its own.
#[cfg(feature = "daemon")]
#[test]
fn a_module_with_dropout_gives_the_same_bits_on_every_run_of_its_process() {
    use roundelay_client::train::process::TrainerProcess;

    let folder = tempfile::tempdir().unwrap();
    let run = |folder: &Path| {
        let options = Options {
            module: Some(example()),
            device: Device::Cpu,
            ..crate::support::options_of(folder, &blobs(400))
        };
        let program = env!("CARGO_BIN_EXE_roundelay-trainer");
        let mut trainer = TrainerProcess::new(program, options);
        trainer.prepare(&task_of(&example())).unwrap();
        [rounds(3, &mut trainer), rounds(3, &mut trainer)]
    };
    let [first, second] = run(folder.path());
    assert_eq!(first, second);
    assert_eq!([first, second], run(folder.path()));
}

#[test]
fn the_initial_model_stays_the_files_whatever_was_loaded_since() {
    let mut trainer = trainer(example());
    trainer.prepare(&task_of(&example())).unwrap();
    let initial = trainer.initial().unwrap();
    let zeros = vec![0.0; initial.len()];
    trainer.evaluate(&zeros).unwrap();
    assert_eq!(trainer.initial().unwrap(), initial);
    assert!(initial.iter().any(|value| *value != 0.0));
}

#[test]
fn a_module_whose_state_is_not_all_in_its_parameters_is_refused() {
    let module = file("tests/training/batch_norm.pt");
    let error = refused(module.clone(), &task_of(&module));
    assert!(error.to_string().contains("use GroupNorm or LayerNorm"), "{error}");
}

#[test]
fn a_file_that_is_not_the_tasks_module_is_refused() {
    let mut task = task_of(&example());
    let missing = refused("/nowhere/module.pt".into(), &task);
    assert!(missing.to_string().starts_with("installation: /nowhere/module.pt: "), "{missing}");

    let folder = tempfile::tempdir().unwrap();
    let nonsense = folder.path().join("nonsense.pt");
    std::fs::write(&nonsense, "nonsense").unwrap();
    let other = refused(nonsense.clone(), &task).to_string();
    assert!(other.contains("has the digest") && other.contains("get the federation's"), "{other}");
    let line = torch::inspect(&nonsense).unwrap_err().to_string();
    assert!(line.contains("is no TorchScript module") && !line.contains('\n'), "{line}");

    if let ModelSpec::TorchScript { module, .. } = &mut task.model {
        *module = Digest([7; 32]);
    }
    assert!(matches!(refused(example(), &task), TrainError::Installation(_)));
}

#[test]
fn a_module_without_parameters_is_nothing_to_train_and_inspect_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("relu.pt");
    let mut relu = |inputs: &[tch::Tensor]| vec![inputs[0].relu()];
    let input = tch::Tensor::zeros([1, 4], (tch::Kind::Float, tch::Device::Cpu));
    let traced = tch::CModule::create_by_tracing("Relu", "forward", &[input], &mut relu).unwrap();
    traced.save(&module).unwrap();
    let line = torch::inspect(&module).unwrap_err().to_string();
    assert!(line.contains("relu.pt has no parameters") && !line.contains('\n'), "{line}");
}

#[test]
fn a_module_whose_shape_differs_from_the_tasks_is_refused() {
    let with = |change: fn(&mut Vec<ParameterSpec>)| {
        let mut task = task_of(&example());
        if let ModelSpec::TorchScript { parameters, .. } = &mut task.model {
            change(parameters);
        }
        refused(example(), &task).to_string()
    };
    assert_eq!(with(|list| list.truncate(5)), "task: the module has 6 parameters, the task 5");
    assert_eq!(
        with(|list| list[2].shape = vec![5]),
        "task: the module's parameter 2 is \"features.1.weight\" [4], the task's is \
         \"features.1.weight\" [5]"
    );
}

#[test]
fn a_module_that_does_not_take_the_schemas_rows_is_refused() {
    let spec = task_of(&example()).model;
    let wide = Schema::Images { channels: 1, height: 9, width: 20, classes: 4 };
    let inputs = vec![0.0; 180];
    let data = roundelay_client::data::Data::from_memory(&wide, &inputs, &[0], 0).unwrap();
    let options = Options { module: Some(example()), device: Device::Cpu, ..options() };
    let refused = LocalTrainer::with_data(data, options).prepare(&task(wide, spec.clone()));
    let line = refused.unwrap_err().to_string();
    assert!(line.starts_with("task: the module does not take the schema's rows: "), "{line}");
    assert!(!line.contains('\n'), "{line}");

    let more = Schema::Images { channels: 1, height: 8, width: 8, classes: 5 };
    let line = refused_with(more, spec);
    assert_eq!(line, "task: the module gives [2, 4] for two rows, a score per class is [2, 5]");
}

fn refused_with(schema: Schema, model: ModelSpec) -> String {
    refused(example(), &task(schema, model)).to_string()
}

#[test]
fn a_task_with_a_module_needs_its_file() {
    let mut trainer = LocalTrainer::with_data(blobs(10), options());
    let line = trainer.prepare(&task_of(&example())).unwrap_err().to_string();
    assert!(line.contains("name its file as `module`"), "{line}");
}
