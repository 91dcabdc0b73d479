//! The verbs of `roundelay-client`, for people and, with `--output json`, for programs.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | an internal error |
//! | 2 | the command line is wrong |
//! | 3 | the configuration or the state directory: missing, damaged, in use, full |
//! | 4 | the tenant's data, or the installation of its trainer |
//! | 5 | the coordinator is not there, or can't be trusted |
//! | 6 | the coordinator refuses: token, certificate, manifest |
//! | 7 | the deadline has passed |
//! | 8 | the manifest does not verify, or was not confirmed |

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod difference;
mod enrol;
mod error;
mod failure;
mod manifest;
mod show;
mod status;

pub use error::CliError;
pub(crate) use failure::Failure;
pub use failure::parse;

/// The program's name.
pub const PROGRAM: &str = "roundelay-client";

/// The exit codes, as `--help` says them.
pub const EXIT_STATUS: &str = "Exit status: 0 done, 1 internal error, 2 wrong command line, \
3 configuration or state directory, 4 the tenant's data or its trainer, 5 coordinator not there or \
not to be trusted, 6 refused by the coordinator, 7 deadline passed, 8 manifest does not verify or \
was not confirmed";

/// Trains a model together with other tenants on data that never leaves this machine.
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, after_help = EXIT_STATUS)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// The folder with this client's keys, certificate, history and models.
    #[arg(long, global = true, value_name = "DIR", default_value = "roundelay-client")]
    dir: PathBuf,
    /// How answers, errors and logs are written.
    #[arg(long, global = true, value_enum, default_value_t = Output::Human)]
    output: Output,
}

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Exchange a one-time token of the operator for a certificate.
    Enrol {
        /// The token, or `-` to read it from standard input.
        #[arg(long)]
        token: String,
    },
    /// Look at the manifests of federations, and sign them for this tenant.
    #[command(subcommand)]
    Manifest(ManifestVerb),
    /// Take part in every federation whose manifest this tenant has signed, until stopped.
    Run(RunArguments),
    /// Say what this client is and what it is doing.
    Status,
}

#[derive(Debug, Subcommand)]
enum ManifestVerb {
    /// Show members, rules and task, with fingerprints to compare by another channel.
    Show {
        /// Name or id of a federation; all of them without it.
        federation: Option<String>,
    },
    /// Agree to a manifest: sign it with the tenant's key, and pin it.
    Sign {
        /// Name or id of the federation.
        federation: String,
        /// Sign without asking.
        #[arg(long)]
        yes: bool,
    },
}

/// What `run` takes.
#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// The configuration; by default `client.toml` in --dir.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The tenant's rows, in place of the configuration's `[data]` path.
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
    /// `host:port` to dial, in place of the one of enrolment.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) coordinator: Option<String>,
    /// End when every federation is over; fail at once where the coordinator is not there.
    #[arg(long)]
    pub(crate) once: bool,
    /// Fail if it has not ended after so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) deadline: Option<Duration>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a whole number of seconds above 0".to_owned()),
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
    }
}

/// Runs the verb and says how it went.
#[must_use]
pub fn run(arguments: Arguments) -> ExitCode {
    let Arguments { verb, common: Common { dir, output } } = arguments;
    let done = match verb {
        Verb::Enrol { token } => enrol::enrol(dir, &token, output),
        Verb::Manifest(ManifestVerb::Show { federation }) => {
            manifest::show(dir, federation.as_deref(), output)
        }
        Verb::Manifest(ManifestVerb::Sign { federation, yes }) => {
            manifest::sign(dir, &federation, yes, output)
        }
        Verb::Run(arguments) => crate::daemon::run(dir, &arguments, output),
        Verb::Status => status::status(dir, output),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.failure().tell(PROGRAM, output),
    }
}

/// Writes one JSON object as a line. A reader that has gone away is no error.
pub(crate) fn say(value: &impl serde::Serialize) {
    use std::io::Write;
    if let Ok(line) = serde_json::to_string(value) {
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }
}

/// A runtime for a verb that talks to the coordinator once.
fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Internal(error.to_string()))?;
    runtime.block_on(work)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn common_arguments_stand_before_or_behind_the_verb() {
        for line in [
            "roundelay-client --dir d --output json status",
            "roundelay-client status --dir d --output json",
        ] {
            let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(arguments.common.dir, PathBuf::from("d"));
            assert_eq!(arguments.common.output, Output::Json);
        }
    }

    #[test]
    fn a_deadline_is_a_whole_number_of_seconds() {
        assert!(seconds("0").is_err() && seconds("-1").is_err() && seconds("x").is_err());
        assert_eq!(seconds("90"), Ok(Duration::from_secs(90)));
    }
}
