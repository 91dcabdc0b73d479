//! The frozen vectors, recomputed by scripts that share no code with this crate.

use std::path::Path;
use std::process::Command;

use self::skip::skip;

#[path = "../../tests/src/harness/skip.rs"]
#[allow(unreachable_pub, reason = "the file is public in the package that it belongs to")]
mod skip;

fn agrees(name: &str, needs: &[&str]) {
    let missing =
        needs.iter().find(|program| Command::new(program).arg("--version").output().is_err());
    if let Some(program) = missing {
        return skip(
            &format!("independent check of {name}"),
            &format!("the program `{program}` is not there"),
        );
    }
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let script = vectors.join(name).join("check.py");
    let output = Command::new("python3").arg(&script).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", script.display());
}

#[test]
fn the_wire_messages_are_built_from_the_rules_alone() {
    agrees("wire-v1", &["python3"]);
}

#[test]
fn the_optimisers_are_recomputed_from_their_formulas() {
    agrees("optimiser", &["python3"]);
}

#[test]
fn the_lineage_is_recomputed_from_keys_and_sums() {
    agrees("lineage", &["python3", "openssl"]);
}
