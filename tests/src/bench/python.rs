//! Reference programs in Python: installed on first use, into a folder of their own under `target`,
//! and asked line by line.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use roundelay_program::note;

/// A Python process that answers each line of numbers with one.
pub struct Peer {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts a script, for which `requirements` are installed where they are not there yet.
    ///
    /// # Errors
    /// One line: what is missing.
    pub fn start(requirements: &[&str], script: &str) -> Result<Self, String> {
        let said = |error: std::io::Error| error.to_string();
        let mut process = Command::new(python(requirements)?)
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(said)?;
        let orders = process.stdin.take().ok_or("no way to give orders")?;
        let answers = BufReader::new(process.stdout.take().ok_or("no way to hear answers")?);
        Ok(Self { process, orders, answers })
    }

    /// The same; where there is no such peer, says why and goes on without.
    #[must_use]
    pub fn start_if_possible(requirements: &[&str], script: &str) -> Option<Self> {
        let peer = Self::start(requirements, script);
        peer.map_err(|reason| note!("no reference: {reason}")).ok()
    }

    /// The numbers that it answers a line with; none where it has ended.
    pub fn ask(&mut self, line: &str) -> Option<Vec<f64>> {
        writeln!(self.orders, "{line}").ok()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).ok()?;
        let numbers = answer.split_whitespace().map(|number| number.parse().ok());
        numbers.collect::<Option<Vec<f64>>>().filter(|numbers| !numbers.is_empty())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A Python with these packages.
fn python(requirements: &[&str]) -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no root")?;
    let folder = root.join("target").join(requirements.join("-").replace("==", "-"));
    let (python, finished) = (folder.join("bin/python"), folder.join("finished"));
    if finished.exists() {
        return Ok(python);
    }
    note!("installing {} into {}", requirements.join(" "), folder.display());
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run(Command::new(&python).args(install).args(requirements))?;
    std::fs::write(finished, "").map_err(|error| error.to_string())?;
    Ok(python)
}

fn run(command: &mut Command) -> Result<(), String> {
    let status = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} ended with {status}")) }
}
