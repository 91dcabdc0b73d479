//! `demo`: provisions what the demo needs, builds the programs and runs it.

use crate::build::programs;
use crate::run::{Outcome, root, succeed, target};
use crate::{prerequisites, provision};

/// Builds and runs the demo; its options are passed on.
pub(crate) fn demo(arguments: &[String]) -> Outcome {
    prerequisites::check()?;
    let libtorch = provision::libtorch()?;
    let digits = provision::digits()?;
    programs("release", &libtorch)?;
    succeed(
        std::process::Command::new(target().join("release").join("roundelay-demo"))
            .args(arguments)
            .env("ROUNDELAY_DIGITS", digits)
            .current_dir(root()),
    )
    .map_err(|reason| format!("the demo failed: {reason}"))
}
