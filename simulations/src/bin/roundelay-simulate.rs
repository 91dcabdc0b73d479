//! `roundelay-simulate`: many federations in virtual time, or the story of one.

use std::process::ExitCode;

fn main() -> ExitCode {
    roundelay_simulations::cli::main()
}
