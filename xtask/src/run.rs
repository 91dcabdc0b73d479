//! Running other programs, and where things are.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// What every step returns: nothing, or one line that says what, where and what to do.
pub(crate) type Outcome = Result<(), String>;

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Where cargo builds.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// A cargo command in the root of the repository, the same cargo that runs this program.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs to the end; an error names the command.
pub(crate) fn status(command: &mut Command) -> Result<ExitStatus, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.status().map_err(|error| format!("can't run `{name}`: {error}"))
}

/// Runs to the end and wants success.
pub(crate) fn succeed(command: &mut Command) -> Outcome {
    let status = status(command)?;
    if status.success() { Ok(()) } else { Err(format!("`{}` ended with {status}", shown(command))) }
}

/// Whether a command runs and succeeds, its output thrown away.
pub(crate) fn works(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The command as a person would type it, without the long paths.
fn shown(command: &Command) -> String {
    let name = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
    let program = Path::new(command.get_program()).file_name().map_or_else(String::new, name);
    let arguments: Vec<String> = command.get_args().map(name).take(8).collect();
    format!("{program} {}", arguments.join(" "))
}
