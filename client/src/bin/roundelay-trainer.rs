//! `roundelay-trainer`: trains on the tenant's rows in a process of its own. The daemon
//! `roundelay-client` starts it; people use its other verbs to look before they join.

use std::process::ExitCode;

fn main() -> ExitCode {
    roundelay_program::main(roundelay_client::train::cli::run)
}
