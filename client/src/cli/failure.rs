//! How a program of this crate fails: one line on standard error, and with `--output json` one
//! object, `{"error": {"kind", "code", "message"}}`, as the coordinator's program writes it.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use roundelay_protocol::exit::{DONE, Kind};
use roundelay_protocol::plain::shown;
use roundelay_protocol::usage::{one_line, wants_json};

use super::Output;

/// Why a program ends without having done its work.
pub(crate) struct Failure {
    /// Its exit status.
    pub(crate) kind: Kind,
    /// A stable code, finer than the kind where there is a finer one.
    pub(crate) code: String,
    /// What, where and what to do.
    pub(crate) message: String,
}

impl Failure {
    /// Says it and gives the exit code.
    pub(crate) fn tell(&self, program: &str, output: Output) -> ExitCode {
        let Self { kind, code, message } = self;
        let message = message.replace(['\n', '\r'], " ");
        let line = match output {
            Output::Human => format!("{program}: {}", shown(&message)),
            Output::Json => {
                let error = serde_json::json!({ "kind": kind, "code": code, "message": message });
                serde_json::json!({ "error": error }).to_string()
            }
        };
        // Where the log is on the disk that is full, the exit status has to do.
        let _ = writeln!(std::io::stderr().lock(), "{line}");
        ExitCode::from(kind.status())
    }
}

/// The arguments of this process, or how it ends without them.
///
/// # Errors
/// The exit code: 0 after a help text, 2 after a line that says what is wrong.
pub fn parse<A: Parser>(program: &str) -> Result<A, ExitCode> {
    A::try_parse().map_err(|error| {
        let json = wants_json(std::env::args_os().map(|it| it.to_string_lossy().into_owned()));
        let helps = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
        if !error.use_stderr() || (helps && !json) {
            // A reader that has gone away is no error.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { Kind::Invalid.status() } else { DONE });
        }
        let message = if helps {
            format!("no verb was given; `{program} --help` lists them")
        } else {
            one_line(&error.render().to_string())
        };
        let failure = Failure { kind: Kind::Invalid, code: "usage".to_owned(), message };
        failure.tell(program, if json { Output::Json } else { Output::Human })
    })
}
