//! `fmt` and `lint`: style, clippy with warnings as errors, and the builds that must stay free of
//! libtorch and of sockets.

use crate::provision;
use crate::run::{Outcome, cargo, succeed, works};

/// Formats the workspace.
pub(crate) fn fmt() -> Outcome {
    succeed(cargo().args(["fmt", "--all"]))
}

/// All of the lints; provisions libtorch first, since clippy reads the trainer too.
pub(crate) fn lint() -> Outcome {
    let libtorch = provision::libtorch()?;
    style()?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--features", "roundelay-client/torch"];
    succeed(cargo().args(clippy).args(["--", "--deny", "warnings"]).env("LIBTORCH", libtorch))?;
    without_sockets()?;
    kernels_alone()?;
    succeed(cargo().args(["check", "--workspace", "--all-targets"]))
}

/// `deny`: licences, advisories and sources of what we depend on, as deny.toml has them. A command of
/// its own: it needs cargo-deny and the advisories of the day, which no test may depend on.
pub(crate) fn dependencies() -> Outcome {
    if !works("cargo", &["deny", "--version"]) {
        let how = "`cargo install cargo-deny --locked` installs it";
        return Err(format!("deny: cargo-deny is not there; {how}"));
    }
    succeed(cargo().args(["deny", "check"]))
}

/// rustfmt agrees with every file.
pub(crate) fn style() -> Outcome {
    succeed(cargo().args(["fmt", "--all", "--check"]))
        .map_err(|_| "some files are not formatted; `cargo xtask fmt` formats them".to_owned())
}

/// The simulator is built from the pure halves alone: no QUIC, no TLS, no libtorch.
fn without_sockets() -> Outcome {
    succeed(cargo().args(["check", "--package", "roundelay-simulations"]))
}

/// The benches of crypto's kernels are built without the rest.
fn kernels_alone() -> Outcome {
    let alone = ["check", "--package", "roundelay-tests", "--no-default-features"];
    let bins = ["--features", "kernels", "--bin", "bench-mask", "--bin", "bench-mask-vs-flower"];
    succeed(cargo().args(alone).args(bins))
}
