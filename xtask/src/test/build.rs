//! Builds every program and every test of the workspace in one go, and lists the test programs.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::run::{cargo, root, succeed};

/// One test executable.
pub(super) struct Program {
    /// The package that it tests, such as `roundelay-crypto`.
    pub(super) package: String,
    /// Its target, such as `roundelay_crypto` or the name of a file in `tests/`.
    pub(super) target: String,
    /// The folder of the package, where cargo would run it.
    pub(super) folder: PathBuf,
    /// The file.
    pub(super) executable: PathBuf,
}

/// The features of every test build: one set, so that nothing is built twice.
pub(super) const FEATURES: [&str; 2] = ["--features", "roundelay-client/torch"];

/// Builds programs and tests; compiler messages go to the terminal.
pub(super) fn tests(libtorch: &Path) -> Result<Vec<Program>, String> {
    let programs = ["build", "--workspace", "--bins"];
    succeed(cargo().args(programs).args(FEATURES).env("LIBTORCH", libtorch))?;
    let output = cargo()
        .args(["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"])
        .args(FEATURES)
        .env("LIBTORCH", libtorch)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("can't run cargo: {error}"))?;
    if !output.status.success() {
        return Err("the tests do not build".to_owned());
    }
    let mut programs: Vec<Program> =
        String::from_utf8_lossy(&output.stdout).lines().filter_map(program).collect();
    programs.sort_by(|a, b| (&a.package, &a.target).cmp(&(&b.package, &b.target)));
    Ok(programs)
}

/// Reads one line of cargo's messages, where it announces a test executable.
fn program(line: &str) -> Option<Program> {
    if !line.contains(r#""reason":"compiler-artifact""#) || !line.contains(r#""test":true"#) {
        return None;
    }
    let executable = text_after(line, r#""executable":""#)?;
    let manifest = text_after(line, r#""manifest_path":""#)?;
    let folder = Path::new(manifest).parent()?.to_path_buf();
    let name = folder.strip_prefix(root()).ok()?.display().to_string();
    let target =
        line.split(r#""target":{"#).nth(1).and_then(|rest| text_after(rest, r#""name":""#));
    Some(Program {
        package: name,
        target: target?.to_owned(),
        folder,
        executable: executable.into(),
    })
}

/// The text between a mark and the next quotation mark. Paths here hold no escapes.
fn text_after<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(mark)?;
    rest.split_once('"').map(|(text, _)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_executable_is_read_from_cargos_messages() {
        let root = root().display().to_string();
        let line = format!(
            r#"{{"reason":"compiler-artifact","package_id":"x","manifest_path":"{root}/crypto/Cargo.toml","target":{{"kind":["lib"],"name":"roundelay_crypto"}},"profile":{{"test":true}},"executable":"/t/a-1"}}"#
        );
        let program = program(&line).expect("a test executable");
        assert_eq!(
            (program.package.as_str(), program.target.as_str()),
            ("crypto", "roundelay_crypto")
        );
        assert_eq!(program.executable, Path::new("/t/a-1"));
    }

    #[test]
    fn other_messages_are_passed_over() {
        assert!(program(r#"{"reason":"build-finished","success":true}"#).is_none());
        assert!(program(r#"{"reason":"compiler-artifact","profile":{"test":false}}"#).is_none());
    }
}
