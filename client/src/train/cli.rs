//! The verbs of `roundelay-trainer`. The daemon uses `work`; the others are for people: to see what
//! a build trains with, whether data fits a task, and what the data is worth without a federation.

mod alone;
mod arguments;
mod evaluate;
mod inspect;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use roundelay_protocol::exit::Kind;

use super::{LocalTrainer, Trainer, worker};
use roundelay_program::{Failure, Output, answer, tell};

use arguments::Local;

pub use super::TrainError;

/// The program's name.
pub const PROGRAM: &str = "roundelay-trainer";

/// Trains on a tenant's rows in a process of its own; started by roundelay-client.
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, after_help = roundelay_protocol::exit::HELP)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// How answers and errors are written.
    #[arg(long, global = true, value_enum, default_value_t = Output::Human)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Do the jobs of the daemon that started this process.
    #[command(hide = true)]
    Work,
    /// Say what this build trains with, and where.
    About,
    /// Check data against a task's schema.
    Check(Local),
    /// Train on this data alone, without a federation.
    Alone(alone::Alone),
    /// Evaluate a model that was exported or saved.
    Evaluate(evaluate::Evaluate),
    /// Describe a TorchScript module as the `[model]` of a task file.
    Inspect(inspect::Inspect),
}

/// Runs the verb that was asked for and says how it went.
#[must_use]
pub fn run(arguments: Arguments) -> ExitCode {
    let output = arguments.output;
    match perform(arguments.verb, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure(&error).tell(output),
    }
}

fn perform(verb: Verb, output: Output) -> Result<(), TrainError> {
    match verb {
        Verb::Work => worker::serve().map_err(|error| TrainError::Internal(error.to_string())),
        Verb::About => {
            about(output);
            Ok(())
        }
        Verb::Check(local) => check(&local, output),
        Verb::Alone(alone) => alone.run(output),
        Verb::Evaluate(evaluate) => evaluate.run(output),
        Verb::Inspect(inspect) => inspect.run(output),
    }
}

fn failure(error: &TrainError) -> Failure {
    let kind = match error {
        TrainError::Task(_) | TrainError::Model(_) => Kind::Invalid,
        TrainError::TaskFile(_) | TrainError::Installation(_) => Kind::Configuration,
        TrainError::Data(_) | TrainError::DataChanged => Kind::Data,
        _ => Kind::Internal,
    };
    let code = match error {
        TrainError::Task(_) => "task",
        TrainError::Model(_) => "model",
        TrainError::Diverged { .. } => "diverged",
        _ => kind.name(),
    };
    Failure::new(kind, code, error)
}

fn about(output: Output) {
    let (version, engines) = (env!("CARGO_PKG_VERSION"), engines());
    match output {
        Output::Human => tell!("{PROGRAM} {version}: {engines}"),
        Output::Json => {
            answer("about", serde_json::json!({ "version": version, "engines": engines }));
        }
    }
}

fn check(local: &Local, output: Output) -> Result<(), TrainError> {
    let summary = LocalTrainer::new(local.options()).prepare(&local.task()?)?;
    match output {
        Output::Json => answer(
            "checked",
            serde_json::json!({
                "rows": summary.rows,
                "held_out_rows": summary.held_out_rows,
                "schema": summary.schema.to_string(),
                "data": summary.data.to_string(),
            }),
        ),
        Output::Human => tell!(
            "{} fits: {} rows to train on, {} held out",
            local.data.display(),
            summary.rows,
            summary.held_out_rows
        ),
    }
    Ok(())
}

#[cfg(feature = "torch")]
fn engines() -> String {
    format!("ndarray; {}", super::torch::describe(super::Device::Auto))
}

#[cfg(not(feature = "torch"))]
fn engines() -> String {
    "ndarray; built without libtorch, so softmax regression only".to_owned()
}
