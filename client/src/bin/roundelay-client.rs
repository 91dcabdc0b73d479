//! `roundelay-client`: the tenant's daemon. It enrols, shows and signs manifests, takes part in
//! rounds, and links no libtorch: `roundelay-trainer` does the training.

use std::process::ExitCode;

fn main() -> ExitCode {
    roundelay_program::main(roundelay_client::cli::run)
}
