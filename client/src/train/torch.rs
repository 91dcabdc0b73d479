//! Training by libtorch (crate `tch`): softmax regression, MLP, CNN and any TorchScript module.
//! Everything that knows libtorch is below this module.
//!
//! All parameters of a model are views into one flat tensor, in the order of
//! [`roundelay_protocol::model`], so that a model goes in and out in one copy
//! whatever its number of layers, from a GPU too.

mod device;
mod memory;
mod network;
mod parameters;
mod script;

use roundelay_protocol::manifest::{Hyperparameters, Task};
use roundelay_protocol::model::ModelSpec;
use tch::{Kind, Reduction, TchError, Tensor};

use super::{Learner, Metrics, Options, TrainError};
use crate::data::InputShape;
use network::Network;
use parameters::Parameters;

pub use device::{check_version, describe};
pub use script::{initial, inspect};

/// The libtorch release that this build was made for.
pub const LIBTORCH_VERSION: &str = super::release::OURS;

/// Target value that the loss ignores; no class is negative.
const IGNORED_CLASS: i64 = -100;

/// The learner for a task's model.
///
/// # Errors
/// [`TrainError::Installation`] where libtorch, the GPU or the module file is not as asked for,
/// [`TrainError::Task`] where the model does not fit the schema.
pub(super) fn learner(task: &Task, options: &Options) -> Result<Box<dyn Learner>, TrainError> {
    check_version()?;
    let device = device::choose(options.device)?;
    tch::set_num_threads(i32::from(options.threads.max(1)));
    let shape = InputShape::of(&task.schema);
    let specs =
        task.model.parameters(&task.schema).map_err(|error| TrainError::Task(error.to_string()))?;
    let (network, parameters) = match &task.model {
        ModelSpec::TorchScript { module, .. } => {
            let file = options.module.as_deref().ok_or_else(|| {
                let what = "the task trains a TorchScript module; name its file as `module`";
                TrainError::Installation(what.to_owned())
            })?;
            let classes = task.schema.class_count();
            script::load(file, module, &specs, device, shape, classes)?
        }
        built_in => {
            let network = Network::built_in(built_in);
            (network, Parameters::zeros(&specs, device).map_err(internal)?)
        }
    };
    Ok(Box::new(TorchLearner {
        device,
        shape,
        network,
        parameters,
        anchor: None,
        velocity: None,
        hyperparameters: task.hyperparameters,
    }))
}

/// A network with its parameters and the state of one round's SGD.
struct TorchLearner {
    device: tch::Device,
    shape: InputShape,
    network: Network,
    parameters: Parameters,
    /// The round's first model, where there is a proximal term.
    anchor: Option<Vec<Tensor>>,
    /// One velocity per parameter, where there is momentum.
    velocity: Option<Vec<Tensor>>,
    hyperparameters: Hyperparameters,
}

impl TorchLearner {
    /// A batch on the device: inputs in their shape, and classes.
    fn batch(&self, inputs: &[f32], labels: &[u32]) -> Result<(Tensor, Tensor), TchError> {
        let labels: Vec<i64> = labels.iter().map(|label| i64::from(*label)).collect();
        let inputs = Tensor::f_from_slice(inputs)?.f_to_device(self.device)?;
        let inputs = inputs.f_view(network::dimensions(self.shape, labels.len()).as_slice())?;
        Ok((inputs, Tensor::f_from_slice(&labels)?.f_to_device(self.device)?))
    }

    fn descend(&mut self, inputs: &[f32], labels: &[u32]) -> Result<f64, TchError> {
        let (inputs, classes) = self.batch(inputs, labels)?;
        let scores = self.network.forward(&inputs, self.parameters.leaves())?;
        let loss = cross_entropy(&scores, &classes, Reduction::Mean)?;
        let leaves = self.parameters.leaves();
        let gradients = Tensor::f_run_backward(&[&loss], leaves, false, false)?;
        for (index, gradient) in gradients.into_iter().enumerate() {
            // A parameter that the network does not use has no gradient, and does not move.
            if gradient.defined() {
                self.step_of(index, gradient)?;
            }
        }
        Ok(loss.f_double_value(&[])? * count(labels.len()))
    }

    /// One parameter's step of SGD.
    fn step_of(&mut self, index: usize, mut gradient: Tensor) -> Result<(), TchError> {
        let Hyperparameters { learning_rate, momentum, proximal, .. } = self.hyperparameters;
        let values = &mut self.parameters.views_mut()[index];
        if let Some(anchor) = &self.anchor {
            let moved = values.f_sub(&anchor[index])?.f_mul_scalar(f64::from(proximal))?;
            let _ = gradient.f_add_(&moved)?;
        }
        if let Some(velocity) = &mut self.velocity {
            let _ = velocity[index].f_mul_scalar_(f64::from(momentum))?;
            let _ = velocity[index].f_add_(&gradient)?;
            gradient = velocity[index].shallow_clone();
        }
        let step = gradient.f_mul_scalar(f64::from(learning_rate))?;
        let _ = values.f_sub_(&step)?;
        Ok(())
    }

    fn sums(&mut self, inputs: &[f32], labels: &[u32]) -> Result<Metrics, TchError> {
        let _guard = tch::no_grad_guard();
        self.network.set_training(false)?;
        let (inputs, classes) = self.batch(inputs, labels)?;
        let scores = self.network.forward(&inputs, self.parameters.leaves())?;
        let correct = scores.f_argmax(-1, false)?.f_eq_tensor(&classes)?.f_sum(Kind::Int64)?;
        let loss_sum = cross_entropy(&scores, &classes, Reduction::Sum)?;
        Ok(Metrics {
            rows: labels.len() as u64,
            correct: u64::try_from(correct.f_int64_value(&[])?).unwrap_or_default(),
            loss_sum: loss_sum.f_double_value(&[])?,
        })
    }
}

impl Learner for TorchLearner {
    fn parameters(&self) -> usize {
        self.parameters.len()
    }

    fn load(&mut self, model: &[f32]) -> Result<(), TrainError> {
        self.parameters.load(model).map_err(internal)
    }

    fn store(&self, model: &mut [f32]) -> Result<(), TrainError> {
        self.parameters.store(model).map_err(internal)
    }

    fn begin(&mut self, hyperparameters: &Hyperparameters, seed: u64) -> Result<(), TrainError> {
        self.hyperparameters = *hyperparameters;
        tch::manual_seed(i64::from_le_bytes(seed.to_le_bytes()));
        let copies = |wanted: bool, copy: fn(&Tensor) -> Result<Tensor, TchError>| {
            let views = wanted.then(|| self.parameters.views().iter().map(copy).collect());
            views.transpose().map_err(internal)
        };
        self.anchor = copies(hyperparameters.proximal != 0.0, Tensor::f_detach_copy)?;
        self.velocity = copies(hyperparameters.momentum != 0.0, Tensor::f_zeros_like)?;
        self.network.set_training(true).map_err(internal)
    }

    fn step(&mut self, inputs: &[f32], labels: &[u32]) -> Result<f64, TrainError> {
        self.descend(inputs, labels).map_err(internal)
    }

    fn evaluate(&mut self, inputs: &[f32], labels: &[u32]) -> Result<Metrics, TrainError> {
        self.sums(inputs, labels).map_err(internal)
    }
}

fn cross_entropy(
    scores: &Tensor,
    classes: &Tensor,
    reduction: Reduction,
) -> Result<Tensor, TchError> {
    scores.f_cross_entropy_loss::<Tensor>(classes, None, reduction, IGNORED_CLASS, 0.0)
}

fn internal(error: TchError) -> TrainError {
    TrainError::Internal(one_line(&error))
}

/// The line of a libtorch error that says what was wrong; the rest is a trace.
fn one_line(error: &TchError) -> String {
    let text = error.to_string();
    let telling = text.lines().find(|line| line.starts_with("RuntimeError:"));
    telling.or_else(|| text.lines().next()).unwrap_or_default().to_owned()
}

#[allow(clippy::cast_precision_loss, reason = "a batch has far fewer than 2^53 rows")]
fn count(rows: usize) -> f64 {
    rows as f64
}
