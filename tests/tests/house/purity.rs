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

#[test]
fn what_needs_libtorch_is_tested_in_the_one_program_that_is_built_with_it() {
    // `cargo xtask test` builds `client/tests/training` with the feature `torch` and every other
    // test without, so unit tests here would never run.
    let files = rust_files("client/src/train");
    let torch: Vec<_> = files.iter().filter(|(name, _)| name.contains("train/torch")).collect();
    assert!(torch.len() > 3, "{torch:?}");
    for (name, text) in torch {
        assert!(
            !text.contains("#[cfg(test)]"),
            "{name}: its tests belong to client/tests/training"
        );
    }
}
