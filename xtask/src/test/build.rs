//! Builds every program and every test of the workspace in one go, and lists the test programs.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::run::{cargo, root};

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

/// Builds programs and tests; compiler messages go to the terminal.
///
/// The tests of the libtorch trainer are built apart, and everything else without libtorch: one
/// build with the feature would link it into the daemon too. The last step leaves the trainer with
/// libtorch in place.
pub(super) fn tests(libtorch: &Path) -> Result<Vec<Program>, String> {
    let mut programs =
        compile(&["--test", "training", "--features", "roundelay-client/torch"], libtorch)?;
    programs
        .extend(compile(&[], libtorch)?.into_iter().filter(|program| program.target != "training"));
    crate::build::without_libtorch("dev")?;
    crate::build::trainer("dev", libtorch)?;
    programs.sort_by(|a, b| (&a.package, &a.target).cmp(&(&b.package, &b.target)));
    Ok(programs)
}

fn compile(options: &[&str], libtorch: &Path) -> Result<Vec<Program>, String> {
    let output = cargo()
        .args(["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"])
        .args(options)
        .env("LIBTORCH", libtorch)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("can't run cargo: {error}"))?;
    if !output.status.success() {
        return Err("the tests do not build".to_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(program).collect())
}

/// Reads one line of cargo's messages, where it announces a test executable.
fn program(line: &str) -> Option<Program> {
    if !line.contains(r#""reason":"compiler-artifact""#) {
        return None;
    }
    // A program that tests start is built too; only its profile says that it is no test itself.
    let (_, profile) = line.split_once(r#""profile":{"#)?;
    if !profile.split_once('}')?.0.contains(r#""test":true"#) {
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
        let built =
            r#"{"reason":"compiler-artifact","target":{"test":true},"profile":{"test":false}}"#;
        assert!(program(built).is_none());
    }
}
