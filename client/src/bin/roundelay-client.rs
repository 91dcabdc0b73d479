//! `roundelay-client`: the tenant's daemon. It enrols, shows and signs manifests, takes part in
//! rounds, and links no libtorch: `roundelay-trainer` does the training.

use std::process::ExitCode;

use roundelay_client::cli::{PROGRAM, parse, run};

fn main() -> ExitCode {
    parse(PROGRAM).map_or_else(|ended| ended, run)
}
