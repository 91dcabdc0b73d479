//! `demo`: builds the programs, provisions what the demo needs and runs it.

use std::process::Command;

use crate::build::{trainer, without_libtorch};
use crate::run::{Outcome, succeed, target};
use crate::{prerequisites, provision};

/// Builds and runs the demo in the caller's folder; its options are passed on.
pub(crate) fn demo(arguments: &[String]) -> Outcome {
    prerequisites::check()?;
    without_libtorch("release")?;
    // A mistyped option is refused, and a question for help answered, before anything is fetched.
    succeed(program(arguments).arg("--check"))?;
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        return Ok(());
    }
    let libtorch = provision::libtorch()?;
    let digits = provision::digits()?;
    trainer("release", &libtorch)?;
    let mut demo = program(arguments);
    if !arguments.iter().any(|argument| argument.starts_with("--report")) {
        demo.arg("--report").arg(target().join("demo-report.html"));
    }
    succeed(demo.env("ROUNDELAY_DIGITS", digits))
        .map_err(|reason| format!("the demo failed: {reason}"))
}

fn program(arguments: &[String]) -> Command {
    let mut command = Command::new(target().join("release").join("roundelay-demo"));
    command.args(arguments);
    command
}
