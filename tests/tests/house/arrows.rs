//! Left may import right, and nothing else.

use std::process::Command;

use cargo_metadata::{DependencyKind, MetadataCommand};

use crate::sources::root;

/// Who imports whom among our own crates, tests of a crate included.
const ARROWS: &[(&str, &[&str])] = &[
    ("roundelay-crypto", &[]),
    ("roundelay-protocol", &["roundelay-crypto"]),
    ("roundelay-program", &["roundelay-protocol"]),
    ("roundelay-coordinator", &["roundelay-crypto", "roundelay-program", "roundelay-protocol"]),
    ("roundelay-client", &["roundelay-crypto", "roundelay-program", "roundelay-protocol"]),
    (
        "roundelay-simulations",
        &[
            "roundelay-client",
            "roundelay-coordinator",
            "roundelay-crypto",
            "roundelay-program",
            "roundelay-protocol",
        ],
    ),
    (
        "roundelay-tests",
        &[
            "roundelay-client",
            "roundelay-coordinator",
            "roundelay-crypto",
            "roundelay-program",
            "roundelay-protocol",
            "roundelay-simulations",
        ],
    ),
    ("xtask", &[]),
];

/// What a crate's own build must never hold, however deep.
const FORBIDDEN: &[(&str, &[&str])] = &[
    (
        "roundelay-crypto",
        &["tokio", "quinn", "rustls", "tch", "torch-sys", "getrandom", "bincode", "serde_json"],
    ),
    ("roundelay-protocol", &["tokio", "quinn", "rustls", "tch", "torch-sys", "getrandom"]),
    ("roundelay-coordinator", &["tch", "torch-sys", "roundelay-client", "ring"]),
    ("roundelay-client", &["tch", "torch-sys", "roundelay-coordinator", "ring"]),
    ("roundelay-simulations", &["quinn", "rustls", "tch", "torch-sys", "rusqlite"]),
];

#[test]
fn our_crates_import_along_the_arrows_alone() {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .no_deps()
        .other_options(vec!["--offline".to_owned()])
        .exec()
        .expect("cargo metadata");
    assert_eq!(metadata.packages.len(), ARROWS.len(), "every crate has its row in ARROWS");
    for package in &metadata.packages {
        let name = package.name.as_str();
        let (_, allowed) = ARROWS.iter().find(|(crate_, _)| *crate_ == name).expect("a row");
        let ours = package.dependencies.iter().filter(|dependency| dependency.path.is_some());
        for dependency in ours {
            let itself = dependency.name == name && dependency.kind == DependencyKind::Development;
            let along = allowed.contains(&dependency.name.as_str());
            assert!(along || itself, "{name} must not import {}", dependency.name);
        }
        let outside = package.dependencies.iter().filter(|dependency| dependency.path.is_none());
        assert!(name != "xtask" || outside.count() == 0, "xtask uses the standard library alone");
    }
}

#[test]
fn no_crate_is_built_with_what_it_must_never_hold() {
    for (name, forbidden) in FORBIDDEN {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--offline", "--package", name, "--edges", "normal"])
            .args(["--prefix", "none", "--format", "{p}"])
            .current_dir(root())
            .output()
            .expect("cargo tree");
        assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
        let tree = String::from_utf8_lossy(&output.stdout).into_owned();
        let held: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(held.contains(name), "the tree of {name} starts with it");
        for crate_ in *forbidden {
            assert!(!held.contains(crate_), "{name} must not be built with {crate_}");
        }
    }
}
