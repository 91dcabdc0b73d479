//! `roundelay-coordinator`: hosts federations of tenants.

use std::process::ExitCode;

mod allocator;

fn main() -> ExitCode {
    allocator::settle();
    allocator::give_back();
    roundelay_program::main(roundelay_coordinator::cli::run)
}
