//! The verbs of `roundelay-trainer`. The daemon uses `work`; the others are for people: to see what
//! a build trains with, whether data fits a task, and what the data is worth without a federation.

mod alone;
mod arguments;
mod evaluate;
mod inspect;

use clap::{Parser, Subcommand};

use super::{LocalTrainer, Trainer, worker};
use arguments::{Local, Output};

pub use super::TrainError;

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
    /// Check data against a task's schema.
    Check(Local),
    /// Train on this data alone, without a federation.
    Alone(alone::Alone),
    /// Evaluate a model that was exported or saved.
    Evaluate(evaluate::Evaluate),
    /// Describe a TorchScript module as the `[model]` of a task file.
    Inspect(inspect::Inspect),
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
        Verb::Check(local) => check(&local),
        Verb::Alone(alone) => alone.run(),
        Verb::Evaluate(evaluate) => evaluate.run(),
        Verb::Inspect(inspect) => inspect.run(),
    }
}

fn check(local: &Local) -> Result<(), TrainError> {
    let summary = LocalTrainer::new(local.options()).prepare(&local.task()?)?;
    match local.output {
        Output::Json => println!(
            "{}",
            serde_json::json!({
                "rows": summary.rows,
                "held_out_rows": summary.held_out_rows,
                "schema": summary.schema.to_string(),
                "data": summary.data.to_string(),
            })
        ),
        Output::Text => println!(
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
