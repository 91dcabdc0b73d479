//! `roundelay-coordinator`: hosts federations of tenants.

use std::process::ExitCode;

use roundelay_coordinator::cli::{parse, run};

fn main() -> ExitCode {
    parse().map_or_else(|ended| ended, run)
}
