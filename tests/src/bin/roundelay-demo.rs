//! The demo: `cargo xtask demo` builds and runs it.

use std::process::ExitCode;

use clap::Parser as _;
use roundelay_program::line::finished;
use roundelay_program::note;
use roundelay_tests::demo::options::Options;
use roundelay_tests::demo::run;

fn main() -> ExitCode {
    finished(match run::run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            note!("error: {reason}");
            ExitCode::FAILURE
        }
    })
}
