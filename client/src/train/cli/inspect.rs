//! `inspect`: a TorchScript module's digest and parameters, in the words of a task file.

use std::path::PathBuf;

use clap::Args;

use roundelay_program::Output;

use crate::train::TrainError;
#[cfg(feature = "torch")]
use crate::train::model_file::ModelFile;

/// Describe a TorchScript module.
#[derive(Debug, Args)]
pub(super) struct Inspect {
    /// The module's file.
    module: PathBuf,
    /// Write its initial parameters to a safetensors file, for `federation start --initial`.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

impl Inspect {
    #[cfg(feature = "torch")]
    pub(super) fn run(&self, output: Output) -> Result<(), TrainError> {
        let (digest, parameters) = crate::train::torch::inspect(&self.module)?;
        if let Some(file) = &self.save {
            let model = crate::train::torch::initial(&self.module)?;
            ModelFile { model, standardisation: None }.write_as(parameters.clone(), file)?;
        }
        if output == Output::Json {
            let module = digest.to_string();
            let model = serde_json::json!({ "module": module, "parameters": parameters });
            roundelay_program::answer("torchscript", model);
            return Ok(());
        }
        roundelay_program::tell!("[model.torchscript]");
        roundelay_program::tell!("module = \"{digest}\"");
        roundelay_program::tell!("parameters = [");
        for parameter in parameters {
            roundelay_program::tell!(
                "    {{ name = {:?}, shape = {:?} }},",
                parameter.name,
                parameter.shape
            );
        }
        roundelay_program::tell!("]");
        Ok(())
    }

    #[cfg(not(feature = "torch"))]
    pub(super) fn run(&self, _output: Output) -> Result<(), TrainError> {
        Err(TrainError::Installation(format!(
            "{}: this build has no libtorch; build roundelay-client with --features torch",
            self.module.display()
        )))
    }
}
