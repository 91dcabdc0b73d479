//! `roundelay-coordinator`: hosts federations of tenants.

use std::process::ExitCode;

/// Uploads are chunks of 1 MiB among packets of 1.4 kB on many threads. The C library's allocator
/// keeps as much again as is in use then (decision 0084).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    roundelay_program::main(roundelay_coordinator::cli::run)
}
