//! `roundelay-trainer`: trains on the tenant's rows in a process of its own. The daemon
//! `roundelay-client` starts it; people use its other verbs to look before they join.

use std::process::ExitCode;

use roundelay_client::cli::parse;
use roundelay_client::train::cli::{PROGRAM, run};

fn main() -> ExitCode {
    parse(PROGRAM).map_or_else(|ended| ended, run)
}
