//! How a program reads its arguments and how it fails: one line on standard error that begins with
//! `error: `, or with `--output json` one object, `{"error": {"kind", "code", "message"}}`. The exit
//! statuses are those of [`roundelay_protocol::exit`].

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use roundelay_protocol::exit::{DONE, Kind};
use roundelay_protocol::plain::shown;
use serde::Serialize;

use crate::Output;
use crate::line::{err, finished, keep};
use crate::usage::{one_line, wants_json};

/// Why a program ends without having done its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// What kind; the exit status follows from it.
    pub kind: Kind,
    /// A stable code, finer than the kind where there is a finer one.
    pub code: String,
    /// What, where and what to do.
    pub message: String,
}

impl Failure {
    /// A failure in words, which become one line.
    #[must_use]
    pub fn new(kind: Kind, code: &str, message: impl std::fmt::Display) -> Self {
        let message = message.to_string().replace(['\n', '\r'], " ");
        Self { kind, code: code.to_owned(), message }
    }

    /// Says it and gives the exit code.
    #[must_use]
    pub fn tell(&self, output: Output) -> ExitCode {
        match output {
            Output::Human => err(format_args!("error: {}", shown(&self.message))),
            Output::Json => err(format_args!("{}", serde_json::json!({ "error": self }))),
        }
        ExitCode::from(self.kind.status())
    }
}

/// A program: what it does with the arguments of this process. It ends with 0 after a help text, and
/// with 2 after a line that says what is wrong with them.
pub fn main<A: Parser>(run: impl FnOnce(A) -> ExitCode) -> ExitCode {
    finished(parse().map_or_else(|ended| ended, run))
}

fn parse<A: Parser>() -> Result<A, ExitCode> {
    A::try_parse().map_err(|error| {
        let json = wants_json(std::env::args_os().map(|it| it.to_string_lossy().into_owned()));
        let helps = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
        if !error.use_stderr() || (helps && !json) {
            let printed = error.print().and_then(|()| io::stdout().flush());
            if error.use_stderr() {
                // There is nobody to tell.
                return ExitCode::from(Kind::Invalid.status());
            }
            keep(printed);
            return ExitCode::from(DONE);
        }
        let message = if helps {
            format!("no verb was given; `{} --help` lists them", A::command().get_name())
        } else {
            one_line(&error.render().to_string())
        };
        let output = if json { Output::Json } else { Output::Human };
        Failure::new(Kind::Invalid, "usage", message).tell(output)
    })
}
