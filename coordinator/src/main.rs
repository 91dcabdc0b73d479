//! `roundelay-coordinator`: hosts federations of tenants.

use std::process::ExitCode;

fn main() -> ExitCode {
    roundelay_program::main(roundelay_coordinator::cli::run)
}
