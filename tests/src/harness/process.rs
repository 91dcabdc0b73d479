//! One child process: its log in a file, killed when it is dropped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A running program whose output goes to two files, `<name>.out` and `<name>.log`.
pub struct Process {
    child: Child,
    output: PathBuf,
    log: PathBuf,
}

impl Process {
    /// Starts a program.
    ///
    /// # Errors
    /// Where it can't be started.
    pub fn start(command: &mut Command, folder: &Path, name: &str) -> Result<Self, String> {
        let (output, log) =
            (folder.join(format!("{name}.out")), folder.join(format!("{name}.log")));
        let open = |path: &Path| {
            fs::OpenOptions::new().create(true).append(true).open(path).map_err(|e| e.to_string())
        };
        let fresh = File::create(&output).map_err(|error| error.to_string())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(fresh)
            .stderr(open(&log)?)
            .spawn()
            .map_err(|error| format!("can't start {name}: {error}"))?;
        Ok(Self { child, output, log })
    }

    /// What it has written to stdout so far.
    #[must_use]
    pub fn output(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// What it has written to stderr, over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of what it has written to stderr, over all its starts.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = self.log();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and waits for its end.
    pub fn kill(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and waits up to the limit for its end; killed after it.
    pub fn terminate(&mut self, limit: Duration) -> Option<ExitStatus> {
        let id = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &id]).status();
        let ended = wait_until(limit, || self.ended());
        if ended.is_none() {
            self.kill();
        }
        ended
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Asks again every 20 ms until there is an answer or the time is over.
pub fn wait_until<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if began.elapsed() > limit {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a verb to its end and parses its stdout as JSON.
///
/// # Errors
/// The verb's own line on stderr, where it fails.
pub fn json_of(command: &mut Command) -> Result<Value, String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        return Err(told(&err).unwrap_or_else(|| err.trim().to_owned()));
    }
    let line = out.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("null");
    serde_json::from_str(line).map_err(|error| format!("{error} in: {out}"))
}

/// What stands under the one key that names an answer; an event of `run` stays as it is.
#[must_use]
pub(super) fn body_of(answer: Value) -> Value {
    match answer {
        Value::Object(kinds) if kinds.len() == 1 => {
            kinds.into_iter().next().map_or(Value::Null, |(_, body)| body)
        }
        other => other,
    }
}

/// The message of the error object that a program ends with.
fn told(errors: &str) -> Option<String> {
    let last: Value = serde_json::from_str(errors.lines().last()?).ok()?;
    last["error"]["message"].as_str().map(str::to_owned)
}
