//! `roundelay-coordinator`: hosts federations of tenants.

use std::process::ExitCode;

use clap::Parser;
use roundelay_coordinator::cli::{Cli, run};

fn main() -> ExitCode {
    run(Cli::parse())
}
