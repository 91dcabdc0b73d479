//! TorchScript modules exported from Python. The file is named by its digest in the manifest and
//! brings its own initial parameters; only parameters are aggregated, so a module with any other
//! state, such as BatchNorm's running means, is refused.

use std::path::Path;

use roundelay_crypto::digest::Digest;
use roundelay_protocol::model::{ParameterSpec, module_digest};
use tch::{CModule, Device, Kind, TchError, Tensor};

use super::network::{Network, dimensions};
use super::one_line;
use super::parameters::Parameters;
use crate::data::InputShape;
use crate::train::TrainError;

/// Largest module file that is read, in bytes.
const MODULE_BYTES_MAX: u64 = 16 << 30;

/// What a task says of a module: its digest and its parameters in module order.
///
/// # Errors
/// [`TrainError::Installation`] where the file is missing or holds no TorchScript module,
/// [`TrainError::Model`] where the module has no parameters.
pub fn inspect(file: &Path) -> Result<(Digest, Vec<ParameterSpec>), TrainError> {
    let bytes = read(file)?;
    let (_, named) = open(file, &bytes, Device::Cpu)?;
    if named.is_empty() {
        return Err(TrainError::Model(format!(
            "{} has no parameters, so there is nothing to train: export a module whose layers are \
             its attributes, without freezing it",
            file.display()
        )));
    }
    let specs = named.iter().map(|(name, tensor)| spec_of(name, tensor)).collect();
    Ok((module_digest(&bytes), specs))
}

/// The initial parameters in a module's file, flat and in module order.
///
/// # Errors
/// As [`inspect`], and [`TrainError::Task`] for parameters that are no 32-bit floats.
pub fn initial(file: &Path) -> Result<Vec<f32>, TrainError> {
    let (_, named) = open(file, &read(file)?, Device::Cpu)?;
    let mut flat = Vec::new();
    for (name, tensor) in named {
        if tensor.kind() != Kind::Float {
            return Err(not_floats(&name));
        }
        let values = Vec::<f32>::try_from(tensor.detach().reshape(-1)).map_err(super::internal)?;
        flat.extend(values);
    }
    Ok(flat)
}

/// Loads the module that the task names and takes over its parameters.
pub(super) fn load(
    file: &Path,
    expected: &Digest,
    specs: &[ParameterSpec],
    device: Device,
    shape: InputShape,
    classes: usize,
) -> Result<(Network, Parameters), TrainError> {
    let bytes = read(file)?;
    let found = module_digest(&bytes);
    if found != *expected {
        let what = format!(
            "{} has the digest {found}, the task names {expected}; get the federation's file",
            file.display()
        );
        return Err(TrainError::Installation(what));
    }
    let (module, named) = open(file, &bytes, device)?;
    check_parameters(&named, specs)?;
    let tensors = named.into_iter().map(|(_, tensor)| tensor).collect();
    let parameters = Parameters::adopt(specs, tensors, device).map_err(super::internal)?;
    let mut network = Network::Script(module);
    check_outputs(&mut network, &parameters, shape, classes, device)?;
    Ok((network, parameters))
}

fn read(file: &Path) -> Result<Vec<u8>, TrainError> {
    let unreadable = |error: std::io::Error| {
        let what = format!("{}: {error}; name the module's file as `module`", file.display());
        TrainError::Installation(what)
    };
    roundelay_program::file::read(file, MODULE_BYTES_MAX).map_err(unreadable)
}

type Named = Vec<(String, Tensor)>;

fn open(file: &Path, bytes: &[u8], device: Device) -> Result<(CModule, Named), TrainError> {
    let load = || {
        let module = CModule::load_data_on_device(&mut &*bytes, device)?;
        let named = module.named_parameters()?;
        Ok((module, named))
    };
    load().map_err(|error: TchError| {
        let what = format!("{} is no TorchScript module: {}", file.display(), one_line(&error));
        TrainError::Installation(what)
    })
}

fn spec_of(name: &str, tensor: &Tensor) -> ParameterSpec {
    let shape = tensor.size().into_iter().map(|side| u32::try_from(side).unwrap_or(u32::MAX));
    ParameterSpec { name: name.to_owned(), shape: shape.collect() }
}

fn not_floats(name: &str) -> TrainError {
    TrainError::Task(format!("the module's parameter {name:?} is not of 32-bit floats"))
}

fn check_parameters(named: &Named, specs: &[ParameterSpec]) -> Result<(), TrainError> {
    if named.len() != specs.len() {
        let what = format!("the module has {} parameters, the task {}", named.len(), specs.len());
        return Err(TrainError::Task(what));
    }
    for (index, ((name, tensor), spec)) in named.iter().zip(specs).enumerate() {
        let found = spec_of(name, tensor);
        if found != *spec {
            let what = format!(
                "the module's parameter {index} is {:?} {:?}, the task's is {:?} {:?}",
                found.name, found.shape, spec.name, spec.shape
            );
            return Err(TrainError::Task(what));
        }
        if tensor.kind() != Kind::Float {
            return Err(not_floats(name));
        }
    }
    Ok(())
}

/// Tries the module on two rows: it gives a score per class, and training it leaves nothing behind
/// but in its parameters.
fn check_outputs(
    network: &mut Network,
    parameters: &Parameters,
    shape: InputShape,
    classes: usize,
    device: Device,
) -> Result<(), TrainError> {
    let _guard = tch::no_grad_guard();
    let mut scores = |training: bool| {
        network.set_training(training)?;
        let size = dimensions(shape, 2);
        let values = size.iter().product::<i64>();
        let inputs = Tensor::f_arange(values, (Kind::Float, device))?
            .f_remainder(7.0)?
            .f_view(size.as_slice())?;
        network.forward(&inputs, parameters.leaves())
    };
    let failed = |error: TchError| {
        let what = format!("the module does not take the schema's rows: {}", one_line(&error));
        TrainError::Task(what)
    };
    let before = scores(false).map_err(failed)?;
    let expected = [2, i64::try_from(classes).unwrap_or(i64::MAX)];
    if before.size() != expected {
        let what = format!(
            "the module gives {:?} for two rows, a score per class is {expected:?}",
            before.size()
        );
        return Err(TrainError::Task(what));
    }
    let _ = scores(true).map_err(failed)?;
    if !scores(false).map_err(failed)?.allclose(&before, 0.0, 0.0, true) {
        let what = "the module keeps state outside its parameters (BatchNorm's running means?), \
                    which cannot be aggregated; use GroupNorm or LayerNorm";
        return Err(TrainError::Task(what.to_owned()));
    }
    Ok(())
}
