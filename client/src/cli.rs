//! The verbs of `roundelay-client`, for people and, with `--output json`, for programs.
//! How it ends is told by `roundelay_protocol::exit`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use roundelay_program::Output;
use roundelay_protocol::enrol::is_address;

use crate::data::check_data_set;

pub(crate) mod compared;
mod difference;
mod enrol;
mod error;
mod manifest;
mod show;
mod status;

pub use error::CliError;

/// The program's name.
pub const PROGRAM: &str = "roundelay-client";

/// Trains a model together with other tenants on data that never leaves this machine.
#[derive(Debug, Parser)]
#[command(name = PROGRAM, version, after_help = roundelay_protocol::exit::HELP)]
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
        #[command(flatten)]
        reach: Reach,
    },
    /// Agree to a manifest: sign it with the tenant's key, and pin it.
    Sign {
        /// Name or id of the federation.
        federation: String,
        /// Sign without asking; no fingerprint counts as compared but those of --compared.
        #[arg(long)]
        yes: bool,
        /// Members or clients whose fingerprints you have compared by another channel: names of
        /// tenants, fingerprints of clients, or `all`.
        #[arg(long, value_name = "NAME|FINGERPRINT", value_delimiter = ',')]
        compared: Vec<String>,
        #[command(flatten)]
        reach: Reach,
    },
}

/// Where the coordinator is.
#[derive(Debug, Args)]
pub(crate) struct Reach {
    /// The configuration; by default `client.toml` in --dir.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// `host:port` to dial, in place of the one of enrolment.
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub(crate) coordinator: Option<String>,
}

/// What `run` takes.
#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// The tenant's rows, in place of the configuration's `[data]` path.
    #[arg(long, value_name = "PATH")]
    pub(crate) data: Option<PathBuf>,
    /// What this tenant calls the people behind its rows, in place of the configuration's; budgets of
    /// differential privacy are counted by this name.
    #[arg(long, value_name = "NAME", value_parser = data_set)]
    pub(crate) data_set: Option<String>,
    /// End when every federation is over; fail at once where the coordinator is not there.
    #[arg(long)]
    pub(crate) once: bool,
    /// Fail if it has not ended after so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) deadline: Option<Duration>,
}

fn address(text: &str) -> Result<String, String> {
    let words = || "HOST:PORT, such as fl.example.org:4433".to_owned();
    is_address(text).then(|| text.to_owned()).ok_or_else(words)
}

fn data_set(text: &str) -> Result<String, String> {
    check_data_set(text).map(|()| text.to_owned())
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
        Verb::Manifest(ManifestVerb::Show { federation, reach }) => {
            manifest::show(dir, &reach, federation.as_deref(), output)
        }
        Verb::Manifest(ManifestVerb::Sign { federation, yes, compared, reach }) => {
            let wish = manifest::Wish { yes, compared };
            manifest::sign(dir, &reach, &federation, &wish, output)
        }
        Verb::Run(arguments) => crate::daemon::run(dir, &arguments, output),
        Verb::Status => status::status(dir, output),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.failure().tell(output),
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
