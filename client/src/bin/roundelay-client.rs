//! `roundelay-client`: the tenant's daemon. It enrols, shows and signs manifests, takes part in
//! rounds, and links no libtorch: `roundelay-trainer` does the training.

use std::process::ExitCode;

use clap::Parser;
use roundelay_client::cli::{Arguments, run};

fn main() -> ExitCode {
    run(Arguments::parse())
}
