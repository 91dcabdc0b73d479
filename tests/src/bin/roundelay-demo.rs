//! The demo: `cargo xtask demo` builds and runs it.

use std::process::ExitCode;

use roundelay_program::Failure;
use roundelay_protocol::exit::Kind;
use roundelay_tests::demo::options::Options;
use roundelay_tests::demo::run;

fn main() -> ExitCode {
    roundelay_program::main(|options: Options| match run::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            // Whatever `--check` finds is the caller's to change.
            let kind = if options.check { Kind::Invalid } else { Kind::Internal };
            Failure::new(kind, kind.name(), reason).tell(options.output)
        }
    })
}
