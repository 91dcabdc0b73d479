//! `test`: lints, builds every test once, runs each, and closes with the time per crate, what was
//! skipped and why, and one line of counts.

mod build;
mod execute;
mod report;

use std::time::Instant;

use crate::run::{Outcome, root, target};
use crate::{lint, prerequisites, provision, setup};

/// Tests write a line `name: reason` to the file that this variable names when they skip.
const SKIPS: &str = "ROUNDELAY_SKIPS";
/// With this variable set, a test that would skip fails instead.
const FORBID_SKIPS: &str = "ROUNDELAY_FORBID_SKIPS";

/// Runs every test, or those whose name holds the filter.
pub(crate) fn test(arguments: &[String]) -> Outcome {
    let filter = match arguments {
        [] => None,
        [filter] => Some(filter.as_str()),
        _ => return Err("usage: cargo xtask test [filter]".to_owned()),
    };
    let began = Instant::now();
    let in_ci = std::env::var_os("CI").is_some();
    prerequisites::check()?;
    let libtorch = provision::libtorch()?;
    if in_ci {
        setup::setup()?;
    }
    let mut report = report::Report::default();
    if filter.is_none() {
        report.timed("lint", lint::lint)?;
    }
    let programs = report.timed("build", || build::tests(&libtorch))?;

    let skips = target().join("skips.txt");
    // Absent is as good as empty.
    let _ = std::fs::remove_file(&skips);
    let mut settings = vec![(SKIPS, skips.clone().into_os_string())];
    settings.push(("ROUNDELAY_BINARIES", target().join("debug").into_os_string()));
    settings.push(("ROUNDELAY_DATA", data()));
    settings.push(("ROUNDELAY_DIGITS", provision::digits()?.into_os_string()));
    if in_ci {
        settings.push((FORBID_SKIPS, "1".into()));
    }
    for program in &programs {
        report.add(&program.package, execute::program(program, filter, &settings)?);
    }
    report.add("doctests", execute::doctests(&libtorch, filter, &settings)?);
    report.close(&skips, began.elapsed())
}

/// Where tests find real data: ROUNDELAY_DATA, else `shared/data` beside the repository.
fn data() -> std::ffi::OsString {
    std::env::var_os("ROUNDELAY_DATA")
        .unwrap_or_else(|| root().join("../shared/data").into_os_string())
}
