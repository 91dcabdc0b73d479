//! Crates and modules without input and output name none, so that every driver can run them.
//!
//! Clippy bans the methods in `crypto` and `protocol` by type (see their clippy.toml); this test
//! also covers the `engine` modules of the coordinator and the client.

use crate::sources::{CRATES, before_tests, rust_files};

const PURE: &[&str] =
    &["crypto/src/", "protocol/src/", "coordinator/src/engine", "client/src/engine"];

const BANNED: &[&str] = &[
    "tokio::",
    "quinn::",
    "rustls::",
    "tch::",
    "std::fs",
    "std::net",
    "std::thread",
    "std::env",
    "std::process",
    "std::io::",
    "Instant::now",
    "SystemTime::now",
    "getrandom",
    "async fn",
    "HashMap",
    "HashSet",
    "rand::rng(",
];

#[test]
fn pure_modules_name_no_socket_file_clock_thread_or_unordered_map() {
    let mut seen = 0;
    for folder in ["crypto/src", "protocol/src", "coordinator/src", "client/src"] {
        for (name, text) in rust_files(folder) {
            if !PURE.iter().any(|start| name.starts_with(start)) {
                continue;
            }
            seen += 1;
            let code = before_tests(&text).filter(|line| !line.trim_start().starts_with("//"));
            for line in code {
                let found = BANNED.iter().find(|word| line.contains(**word));
                assert!(
                    found.is_none(),
                    "{name}: {} has no place here: {line}",
                    found.unwrap_or(&"")
                );
            }
        }
    }
    assert!(seen > 20, "the pure modules are where this test looks for them");
}

#[test]
fn bincode_is_named_in_the_codec_alone() {
    for crate_ in CRATES {
        let sources = rust_files(crate_).into_iter().filter(|(name, _)| name.contains("/src/"));
        for (name, text) in sources {
            let named = before_tests(&text).any(|line| line.contains("bincode::"));
            assert!(!named || name == "protocol/src/codec.rs", "{name} names bincode");
        }
    }
}

#[test]
fn the_daemon_and_the_coordinator_link_no_libtorch() {
    let programs = roundelay_tests::harness::Programs::find().expect("the programs are built");
    for program in [&programs.client, &programs.coordinator] {
        let bytes = std::fs::read(program).expect("a program");
        let named = bytes.windows(12).any(|window| window == b"libtorch_cpu");
        assert!(!named, "{} links libtorch", program.display());
    }
}
