//! Which of the vectorised paths the tests of this crate could try on this processor.

use std::io::Write;

use roundelay_crypto::mask::Kernel;

#[test]
fn kernels_that_this_processor_lacks_are_told() {
    for (name, kernel) in Kernel::all() {
        if kernel.is_none() {
            skip(&format!("mask kernel {name}"), "this processor lacks its instructions");
        }
    }
}

/// Notes a skip where `cargo xtask test` looks for them.
fn skip(test: &str, reason: &str) {
    eprintln!("SKIPPED {test}: {reason}");
    assert!(std::env::var_os("ROUNDELAY_FORBID_SKIPS").is_none(), "{test} must not skip: {reason}");
    if let Some(path) = std::env::var_os("ROUNDELAY_SKIPS") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        let noted = file.and_then(|mut file| writeln!(file, "{test}: {reason}"));
        noted.expect("the list of skipped tests can be written");
    }
}
