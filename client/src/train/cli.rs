//! The verbs of `roundelay-trainer`. The daemon uses `work`; the others are for people.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::{TrainError, worker};

/// Trains on a tenant's rows in a process of its own; started by roundelay-client.
#[derive(Debug, Parser)]
#[command(name = "roundelay-trainer", version)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Do the jobs of the daemon that started this process.
    #[command(hide = true)]
    Work,
    /// Say what this build trains with, and where.
    About,
    /// Describe a TorchScript module as a task file's `[task.model]`.
    Inspect {
        /// The module's file.
        module: PathBuf,
    },
}

/// Runs the verb that was asked for.
///
/// # Errors
/// One line for people.
pub fn run(arguments: Arguments) -> Result<(), TrainError> {
    match arguments.verb {
        Verb::Work => worker::serve().map_err(|error| TrainError::Internal(error.to_string())),
        Verb::About => {
            println!("roundelay-trainer {}: {}", env!("CARGO_PKG_VERSION"), engines());
            Ok(())
        }
        Verb::Inspect { module } => inspect(&module),
    }
}

#[cfg(feature = "torch")]
fn engines() -> String {
    format!("ndarray; {}", super::torch::describe(super::Device::Auto))
}

#[cfg(not(feature = "torch"))]
fn engines() -> String {
    "ndarray; built without libtorch, so softmax regression only".to_owned()
}

#[cfg(feature = "torch")]
fn inspect(module: &std::path::Path) -> Result<(), TrainError> {
    let (digest, parameters) = super::torch::inspect(module)?;
    println!("[task.model.torchscript]\nmodule = \"{digest}\"");
    for parameter in parameters {
        println!("[[task.model.torchscript.parameters]]");
        println!("name = {:?}\nshape = {:?}", parameter.name, parameter.shape);
    }
    Ok(())
}

#[cfg(not(feature = "torch"))]
fn inspect(_module: &std::path::Path) -> Result<(), TrainError> {
    Err(TrainError::Installation(
        "this build has no libtorch; build roundelay-client with --features torch".to_owned(),
    ))
}
