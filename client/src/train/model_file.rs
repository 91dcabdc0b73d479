//! Models as safetensors files: a tensor per named parameter, as the coordinator exports them, and
//! for standardised tables the standardisation they were trained under as the metadata entry
//! [`STANDARDISATION`].

use std::collections::HashMap;
use std::path::Path;

use roundelay_program::file::read;
use roundelay_protocol::manifest::Task;
use roundelay_protocol::model::ParameterSpec;
use roundelay_protocol::statistics::Standardisation;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use zerocopy::IntoBytes;

use super::TrainError;

/// Bytes of the header of a safetensors file.
const HEADER_BYTES_MAX: u64 = 16 << 20;

/// The metadata entry that holds the standardisation, as JSON.
pub(crate) const STANDARDISATION: &str = "standardisation";

/// A flat model and how tables are standardised for it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ModelFile {
    pub(crate) model: Vec<f32>,
    pub(crate) standardisation: Option<Standardisation>,
}

impl ModelFile {
    /// Writes the model under the task's parameter names.
    pub(crate) fn write(&self, task: &Task, file: &Path) -> Result<(), TrainError> {
        self.write_as(parameters(task)?, file)
    }

    /// Writes the model under these names, in this order.
    pub(crate) fn write_as(
        &self,
        parameters: Vec<ParameterSpec>,
        file: &Path,
    ) -> Result<(), TrainError> {
        let mut unread = self.model.as_slice();
        let mut tensors = Vec::new();
        for spec in parameters {
            let values = usize::try_from(spec.values()).unwrap_or(usize::MAX);
            let (own, rest) = unread.split_at_checked(values).ok_or_else(|| short(&spec.name))?;
            unread = rest;
            let shape = spec.shape.iter().map(|side| *side as usize).collect();
            let view = TensorView::new(Dtype::F32, shape, own.as_bytes())
                .map_err(|error| TrainError::Internal(error.to_string()))?;
            tensors.push((spec.name, view));
        }
        let metadata = self.standardisation.as_ref().map(|by| {
            let json = serde_json::to_string(by).unwrap_or_default();
            HashMap::from([(STANDARDISATION.to_owned(), json)])
        });
        safetensors::serialize_to_file(tensors, metadata, file)
            .map_err(|error| wrong(file, &error.to_string()))
    }

    /// Reads a model of the task's shape.
    pub(crate) fn read(task: &Task, file: &Path) -> Result<Self, TrainError> {
        let values: u64 = parameters(task)?.iter().map(ParameterSpec::values).sum();
        let bytes_max = 4 * values + HEADER_BYTES_MAX;
        let bytes = read(file, bytes_max).map_err(|error| wrong(file, &error.to_string()))?;
        let tensors =
            SafeTensors::deserialize(&bytes).map_err(|error| wrong(file, &error.to_string()))?;
        let mut model = Vec::new();
        for spec in parameters(task)? {
            let tensor = tensors
                .tensor(&spec.name)
                .map_err(|_| wrong(file, &format!("has no tensor {:?}", spec.name)))?;
            let shape: Vec<usize> = spec.shape.iter().map(|side| *side as usize).collect();
            if tensor.dtype() != Dtype::F32 || tensor.shape() != shape {
                let (name, dtype, found) = (&spec.name, tensor.dtype(), tensor.shape());
                let what = format!("{name:?} is {dtype:?} {found:?}, the task's is F32 {shape:?}");
                return Err(wrong(file, &what));
            }
            let (words, _) = tensor.data().as_chunks::<4>();
            model.extend(words.iter().map(|word| f32::from_le_bytes(*word)));
        }
        Ok(Self { model, standardisation: standardisation(&bytes, file)? })
    }
}

fn standardisation(bytes: &[u8], file: &Path) -> Result<Option<Standardisation>, TrainError> {
    let metadata = SafeTensors::read_metadata(bytes).map_err(|e| wrong(file, &e.to_string()))?.1;
    let json = metadata.metadata().as_ref().and_then(|entries| entries.get(STANDARDISATION));
    json.map(|json| serde_json::from_str(json).map_err(|error| wrong(file, &error.to_string())))
        .transpose()
}

fn parameters(task: &Task) -> Result<Vec<ParameterSpec>, TrainError> {
    task.model.parameters(&task.schema).map_err(|error| TrainError::Task(error.to_string()))
}

fn short(name: &str) -> TrainError {
    TrainError::Internal(format!("the model ends before its parameter {name:?}"))
}

fn wrong(file: &Path, what: &str) -> TrainError {
    TrainError::Model(format!("{}: {what}; give a model of this task", file.display()))
}
