//! The README's federation by hand does what it says, line by line.

use std::path::{Path, PathBuf};
use std::process::Command;

use roundelay_tests::harness::Programs;

#[test]
fn the_readmes_federation_by_hand_runs_to_its_exported_model() {
    let programs = Programs::find().expect("the programs are built");
    let folder = a_checkout(&programs);
    let here = folder.path();
    // A free port in place of the README's; whatever still runs ends with the shell.
    let block = code_block().replace("127.0.0.1:4433", "127.0.0.1:0");
    let script = format!("set -eu\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{block}wait\n");
    let output = Command::new("timeout")
        .args(["--kill-after=5", "150", "bash", "-c", &script])
        .current_dir(here)
        .env_remove("ROUNDELAY_LOG")
        .output()
        .expect("bash runs");
    let (said, logged) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{:?}\n{said}\n{logged}", output.status);
    for words in ["of acme: finished", "3 of 3 signatures", "over; model version 30", "accuracy 0."]
    {
        assert!(said.contains(words), "no `{words}` in\n{said}\n{logged}");
    }
    assert!(here.join("payments.safetensors").exists(), "{said}\n{logged}");
    let log = std::fs::read_to_string(here.join("coord.log")).expect("the coordinator's log");
    assert!(log.contains("stopping"), "{log}");
}

/// The shell block of the README.
fn code_block() -> String {
    let readme = std::fs::read_to_string(repository().join("README.md")).expect("the README");
    let (_, rest) = readme.split_once("```sh\n").expect("a shell block");
    let (block, _) = rest.split_once("```").expect("its end");
    assert!(block.contains("127.0.0.1:4433"), "{block}");
    block.to_owned()
}

/// A folder with what the block takes from a checkout: the samples, and the programs.
fn a_checkout(programs: &Programs) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let link = |to: &Path, name: &str| {
        std::os::unix::fs::symlink(to, folder.path().join(name)).expect("a link");
    };
    std::fs::create_dir(folder.path().join("target")).expect("a folder");
    link(programs.client.parent().expect("a folder of programs"), "target/debug");
    link(&repository().join("docs"), "docs");
    folder
}

fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("the repository").to_path_buf()
}
