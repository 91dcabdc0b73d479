//! `demo`: builds the programs, provisions what the demo needs and runs it.

use std::process::{Command, ExitCode};

use crate::build::{trainer, without_libtorch};
use crate::run::{status, target};
use crate::{prerequisites, provision};

/// Builds and runs the demo in the caller's folder; its options are passed on. Where it fails it
/// has said why itself, and its exit status is this program's.
pub(crate) fn demo(arguments: &[String]) -> Result<ExitCode, String> {
    prerequisites::check()?;
    without_libtorch("release")?;
    // A mistyped option is refused, and a question for help answered, before anything is fetched.
    let checked = ended(program(arguments).arg("--check"))?;
    if checked != ExitCode::SUCCESS || asks_for_help(arguments) {
        return Ok(checked);
    }
    let libtorch = provision::libtorch()?;
    let digits = provision::digits()?;
    trainer("release", &libtorch)?;
    let mut demo = program(arguments);
    if !arguments.iter().any(|argument| argument.starts_with("--report")) {
        demo.arg("--report").arg(target().join("demo-report.html"));
    }
    ended(demo.env("ROUNDELAY_DIGITS", digits))
}

fn asks_for_help(arguments: &[String]) -> bool {
    arguments.iter().any(|argument| argument == "--help" || argument == "-h")
}

/// How it ended; a signal, of which it could say nothing, is an error.
fn ended(command: &mut Command) -> Result<ExitCode, String> {
    let status = status(command)?;
    let code = status.code().ok_or_else(|| format!("the demo ended with {status}"))?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

fn program(arguments: &[String]) -> Command {
    let mut command = Command::new(target().join("release").join("roundelay-demo"));
    command.args(arguments);
    command
}
