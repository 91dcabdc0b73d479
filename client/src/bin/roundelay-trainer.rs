//! `roundelay-trainer`: trains on the tenant's rows in a process of its own. The daemon
//! `roundelay-client` starts it; people use its other verbs to look before they join.

use std::process::ExitCode;

use clap::Parser;
use roundelay_client::train::cli::{Arguments, run};

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("roundelay-trainer: {error}");
            ExitCode::FAILURE
        }
    }
}
