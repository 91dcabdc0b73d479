//! Runs test programs, shows their output, and reads the counts of their closing lines.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::build::Program;
use crate::run::cargo;

/// What one run of tests came to.
#[derive(Default, Clone, Copy)]
pub(super) struct Counts {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) ignored: u64,
    pub(super) took: Duration,
    /// The program ended in another way than by its closing line.
    pub(super) broken: bool,
}

/// Runs one test program in the folder of its package.
pub(super) fn program(
    program: &Program,
    filter: Option<&str>,
    settings: &[(&str, OsString)],
) -> Result<Counts, String> {
    out!("\n== {}: {}", program.package, program.target);
    let mut command = Command::new(&program.executable);
    command.args(filter).current_dir(&program.folder);
    run(&mut command, settings)
}

/// Runs the examples in the documentation.
pub(super) fn doctests(
    libtorch: &Path,
    filter: Option<&str>,
    settings: &[(&str, OsString)],
) -> Result<Counts, String> {
    out!("\n== doctests");
    let mut command = cargo();
    command.args(["test", "--workspace", "--doc"]).env("LIBTORCH", libtorch);
    command.arg("--").args(filter);
    run(&mut command, settings)
}

fn run(command: &mut Command, settings: &[(&str, OsString)]) -> Result<Counts, String> {
    let began = Instant::now();
    for (name, value) in settings {
        command.env(name, value);
    }
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |error: std::io::Error| format!("can't run {name}: {error}");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(failed)?;
    let mut counts = Counts::default();
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            out!("{line}");
            counts.read(&line);
        }
    }
    let status = child.wait().map_err(failed)?;
    counts.broken = !status.success() && counts.failed == 0;
    counts.took = began.elapsed();
    Ok(counts)
}

impl Counts {
    /// Adds a closing line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    fn read(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test result: ") else { return };
        let number = |word: &str| {
            let before = rest.split_once(word).map(|(before, _)| before.trim_end());
            before.and_then(|text| text.rsplit([' ', ';']).next()?.parse::<u64>().ok())
        };
        self.passed += number("passed").unwrap_or(0);
        self.failed += number("failed").unwrap_or(0);
        self.ignored += number("ignored").unwrap_or(0);
    }

    /// Adds another run of the same crate.
    pub(super) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.took += other.took;
        self.broken |= other.broken;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closing_line_is_counted() {
        let mut counts = Counts::default();
        counts.read(
            "test result: FAILED. 12 passed; 3 failed; 4 ignored; 0 measured; 0 filtered out",
        );
        counts.read("running 5 tests");
        assert_eq!((counts.passed, counts.failed, counts.ignored), (12, 3, 4));
    }
}
