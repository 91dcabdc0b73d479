//! Building the programs of the workspace.

use std::path::Path;

use crate::run::{Outcome, cargo, succeed};

/// Builds every program without libtorch, then the trainer with it.
pub(crate) fn programs(profile: &str, libtorch: &Path) -> Outcome {
    let build = ["build", "--workspace", "--profile", profile];
    succeed(cargo().args(build).arg("--bins").env("LIBTORCH", libtorch))?;
    let trainer = ["--bin", "roundelay-trainer", "--features", "roundelay-client/torch"];
    succeed(cargo().args(build).args(trainer).env("LIBTORCH", libtorch))
}
