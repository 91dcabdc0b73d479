//! `bench NAME`: builds one benchmark of the package `roundelay-tests` and runs it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::prerequisites;
use crate::run::{Outcome, cargo, root, succeed, target};

const PREFIX: &str = "bench-";
/// Benches of crypto's kernels: they are built without the rest, for the processor at hand, so that
/// the libraries they are held against may use all of its instructions too.
const KERNELS: [&str; 2] = ["mask", "mask-vs-flower"];

/// Runs `bench-NAME`; what follows the name is passed on.
pub(crate) fn bench(arguments: &[String]) -> Outcome {
    let names = names(&root().join("tests/src/bin"))?;
    let Some((name, rest)) = arguments.split_first() else {
        return Err(format!("which benchmark? There are: {}", names.join(", ")));
    };
    if name == "--list" {
        names.iter().for_each(|name| out!("{name}"));
        return Ok(());
    }
    if name == "--help" || name == "-h" {
        out!("cargo xtask bench NAME [--json]; NAME is one of:");
        names.iter().for_each(|name| out!("  {name}"));
        return Ok(());
    }
    if !names.contains(name) {
        return Err(format!("there is no benchmark `{name}`. There are: {}", names.join(", ")));
    }
    prerequisites::check()?;
    let folder = if KERNELS.contains(&name.as_str()) { kernel(name)? } else { whole()? };
    let program = folder.join("release").join(format!("{PREFIX}{name}"));
    succeed(std::process::Command::new(program).args(rest).current_dir(root()))
}

/// Builds everything: the programs that a benchmark starts must be as fast as itself.
fn whole() -> Result<PathBuf, String> {
    succeed(cargo().args(["build", "--quiet", "--release", "--workspace", "--bins"]))?;
    Ok(target())
}

fn kernel(name: &str) -> Result<PathBuf, String> {
    let folder = target().join("native");
    succeed(
        cargo()
            .args(["build", "--quiet", "--release", "--package", "roundelay-tests"])
            .args(["--no-default-features", "--features", "kernels"])
            .args(["--bin", &format!("{PREFIX}{name}"), "--target-dir"])
            .arg(&folder)
            .env("RUSTFLAGS", "-C target-cpu=native"),
    )?;
    Ok(folder)
}

fn names(folder: &Path) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| stem(&entry.path())?.strip_prefix(PREFIX).map(str::to_owned))
        .collect();
    names.sort();
    Ok(names)
}
