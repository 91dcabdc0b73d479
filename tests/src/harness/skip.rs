//! Skipping a test loudly. Tests of every package say it in these words, so their crates take this
//! file in by its path.

use std::fs::OpenOptions;
use std::io::Write as _;

/// Notes that a test was skipped and why: on stderr, and in the file that `ROUNDELAY_SKIPS` names,
/// whose lines `cargo xtask test` lists at its end.
///
/// # Panics
/// Where `ROUNDELAY_FORBID_SKIPS` is set: in CI nothing is skipped.
pub fn skip(test: &str, reason: &str) {
    let reason = reason.replace('\n', " ");
    #[expect(clippy::print_stderr, reason = "a test: libtest keeps it with the test's output")]
    let () = eprintln!("SKIPPED {test}: {reason}");
    assert!(std::env::var_os("ROUNDELAY_FORBID_SKIPS").is_none(), "{test} must not skip: {reason}");
    if let Some(list) = std::env::var_os("ROUNDELAY_SKIPS") {
        let file = OpenOptions::new().create(true).append(true).open(list);
        let noted = file.and_then(|mut file| writeln!(file, "{test}: {reason}"));
        noted.expect("the list of skipped tests can be written");
    }
}
