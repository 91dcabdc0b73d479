//! Skipping a test loudly, and finding real data.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Notes that a test was skipped and why: on stderr, and in the file that `ROUNDELAY_SKIPS` names,
/// whose lines `cargo xtask test` lists at its end.
///
/// # Panics
/// Where `ROUNDELAY_FORBID_SKIPS` is set: in CI nothing is skipped.
pub fn skip(test: &str, reason: &str) {
    eprintln!("SKIPPED {test}: {reason}");
    assert!(std::env::var_os("ROUNDELAY_FORBID_SKIPS").is_none(), "{test} must not skip: {reason}");
    if let Some(list) = std::env::var_os("ROUNDELAY_SKIPS") {
        let file = OpenOptions::new().create(true).append(true).open(list);
        let noted = file.and_then(|mut file| writeln!(file, "{test}: {reason}"));
        noted.expect("the list of skipped tests can be written");
    }
}

/// The folder of real data: `ROUNDELAY_DATA`, else `shared/data` beside the repository.
#[must_use]
pub fn data_folder() -> Option<PathBuf> {
    let folder = std::env::var_os("ROUNDELAY_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        PathBuf::from,
    );
    folder.is_dir().then_some(folder)
}

/// scikit-learn's digits table: `ROUNDELAY_DIGITS`, which `cargo xtask` sets.
#[must_use]
pub fn digits_file() -> Option<PathBuf> {
    std::env::var_os("ROUNDELAY_DIGITS").map(PathBuf::from).filter(|file| file.is_file())
}
