//! Building the programs of the workspace.

use std::path::Path;

use crate::run::{Outcome, cargo, succeed};

/// Builds every program, the trainer without libtorch.
pub(crate) fn without_libtorch(profile: &str) -> Outcome {
    succeed(cargo().args(["build", "--workspace", "--profile", profile, "--bins"]))
}

/// Builds the trainer with libtorch, in the place of the one without.
pub(crate) fn trainer(profile: &str, libtorch: &Path) -> Outcome {
    let trainer = ["--bin", "roundelay-trainer", "--features", "roundelay-client/torch"];
    let build = ["build", "--workspace", "--profile", profile];
    succeed(cargo().args(build).args(trainer).env("LIBTORCH", libtorch))
}
