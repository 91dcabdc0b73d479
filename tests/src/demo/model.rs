//! Reading an exported model back into the flat vector and the standardisation it was trained with.

use std::path::Path;

use roundelay_protocol::manifest::Task;
use roundelay_protocol::statistics::Standardisation;
use safetensors::SafeTensors;

/// A model as `model export` writes it.
pub struct Exported {
    /// The parameters in flat order.
    pub model: Vec<f32>,
    /// How numeric columns were standardised, for tables that are.
    pub standardisation: Option<Standardisation>,
}

impl Exported {
    /// Reads a file.
    ///
    /// # Errors
    /// Where the file can't be read or is not a model of this task.
    pub fn read(file: &Path, task: &Task) -> Result<Self, String> {
        let failed = |why: String| format!("{}: {why}", file.display());
        let bytes = std::fs::read(file).map_err(|error| failed(error.to_string()))?;
        let tensors =
            SafeTensors::deserialize(&bytes).map_err(|error| failed(error.to_string()))?;
        let floats = |name: &str| -> Result<Vec<f32>, String> {
            let tensor = tensors.tensor(name).map_err(|error| failed(error.to_string()))?;
            let (words, _) = tensor.data().as_chunks::<4>();
            Ok(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
        };
        let specs = task.model.parameters(&task.schema).map_err(|error| error.to_string())?;
        let mut model = Vec::new();
        for spec in specs {
            model.extend(floats(&spec.name)?);
        }
        let (_, header) =
            SafeTensors::read_metadata(&bytes).map_err(|error| failed(error.to_string()))?;
        let named = header.metadata().as_ref().and_then(|entries| entries.get("standardisation"));
        let standardisation = match named {
            Some(text) => serde_json::from_str(text).map_err(|error| failed(error.to_string()))?,
            None => None,
        };
        Ok(Self { model, standardisation })
    }
}
