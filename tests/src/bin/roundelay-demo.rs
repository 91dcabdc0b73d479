//! The demo: `cargo xtask demo` builds and runs it.

use std::process::ExitCode;

use clap::Parser as _;
use roundelay_tests::demo::options::Options;
use roundelay_tests::demo::run;

fn main() -> ExitCode {
    match run::run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("demo: {reason}");
            ExitCode::FAILURE
        }
    }
}
