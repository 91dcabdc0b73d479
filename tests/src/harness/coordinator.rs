//! A coordinator process and its verbs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::process::{Process, json_of, wait_until};
use super::programs::Programs;

/// How long a coordinator may take to serve.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// A coordinator in a folder of its own.
pub struct Coordinator {
    programs: Programs,
    folder: PathBuf,
    address: String,
    settings: Vec<(String, String)>,
    process: Option<Process>,
}

/// What a federation is made from.
pub struct FederationRequest<'a> {
    /// Its name.
    pub name: &'a str,
    /// The owning tenant.
    pub owner: &'a str,
    /// The member tenants.
    pub members: &'a [String],
    /// The task file.
    pub task: &'a Path,
}

impl Coordinator {
    /// Starts a coordinator on a free port of the loopback.
    ///
    /// # Errors
    /// Where it does not serve in time; the end of its log is in the text.
    pub fn start(programs: &Programs, folder: &Path) -> Result<Self, String> {
        Self::start_with(programs, folder, &[])
    }

    /// The same with variables in its environment, such as a failpoint.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(
        programs: &Programs,
        folder: &Path,
        settings: &[(&str, &str)],
    ) -> Result<Self, String> {
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut coordinator = Self {
            programs: programs.clone(),
            folder: folder.to_path_buf(),
            address: "127.0.0.1:0".to_owned(),
            settings: Vec::new(),
            process: None,
        };
        coordinator.start_again_with(settings)?;
        Ok(coordinator)
    }

    /// Starts a coordinator on an address of its own choice, such as that of a successor.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_at(programs: &Programs, folder: &Path, address: &str) -> Result<Self, String> {
        let mut coordinator = Self {
            programs: programs.clone(),
            folder: folder.to_path_buf(),
            address: address.to_owned(),
            settings: Vec::new(),
            process: None,
        };
        coordinator.start_again()?;
        Ok(coordinator)
    }

    /// Starts it again from its files, on the address that it had.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_again(&mut self) -> Result<(), String> {
        self.start_again_with(&[])
    }

    /// The same with variables in its environment.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_again_with(&mut self, settings: &[(&str, &str)]) -> Result<(), String> {
        self.settings =
            settings.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let mut command = self.command(&["serve", "--listen", &self.address]);
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        let mut process = Process::start(&mut command, &self.folder, "coordinator")?;
        let ready = wait_until(READY_WITHIN, || match process.ended() {
            Some(status) => Some(Err(format!("it ended with {status}"))),
            None => ready_address(&process.output()).map(Ok),
        });
        let log = process.log_tail();
        self.address = ready
            .unwrap_or_else(|| Err("it was not ready in time".to_owned()))
            .map_err(|why| format!("coordinator: {why}\n{log}"))?;
        self.process = Some(process);
        Ok(())
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// SIGTERM; whether it ended by itself within the limit.
    pub fn terminate(&mut self, limit: Duration) -> bool {
        let status = self.process.take().and_then(|mut process| process.terminate(limit));
        status.is_some_and(|status| status.success())
    }

    /// Whether it has ended, as after a failpoint.
    pub fn ended(&mut self) -> bool {
        self.process.as_mut().is_none_or(|process| process.ended().is_some())
    }

    /// The process id, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where its files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The end of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.process.as_ref().map_or_else(String::new, Process::log_tail)
    }

    /// Runs a verb and returns what it answers: the body of `{"<kind of answer>": body}`.
    ///
    /// # Errors
    /// The verb's line on stderr.
    pub fn verb(&self, arguments: &[&str]) -> Result<Value, String> {
        let answer = json_of(&mut self.command(arguments))
            .map_err(|why| format!("roundelay-coordinator {}: {why}", arguments.join(" ")))?;
        match answer {
            Value::Object(kinds) if kinds.len() == 1 => {
                Ok(kinds.into_iter().next().map_or(Value::Null, |(_, body)| body))
            }
            other => Err(format!("an answer of one kind was expected: {other}")),
        }
    }

    /// Adds a tenant and returns a one-time enrolment token for it.
    ///
    /// # Errors
    /// Where a verb fails.
    pub fn token_for(&self, tenant: &str) -> Result<String, String> {
        self.verb(&["tenant", "add", tenant])?;
        let made = self.verb(&["enrol-token", "--tenant", tenant])?;
        text(&made, "token")
    }

    /// Drafts a federation and returns its id.
    ///
    /// # Errors
    /// Where the verb fails.
    pub fn create(&self, request: &FederationRequest<'_>) -> Result<String, String> {
        let members = request.members.join(",");
        let task = request.task.display().to_string();
        let made = self.verb(&[
            "federation",
            "create",
            "--name",
            request.name,
            "--owner",
            request.owner,
            "--members",
            &members,
            "--task",
            &task,
        ])?;
        text(&made, "federation")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.programs.coordinator);
        command.args(arguments).arg("--data").arg(&self.folder).args(["--output", "json"]);
        // A test that needs other settings than the defaults puts them there.
        let config = self.folder.join("coordinator.toml");
        if config.exists() {
            command.arg("--config").arg(config);
        }
        command
    }
}

fn text(value: &Value, key: &str) -> Result<String, String> {
    let found = value.get(key).and_then(Value::as_str);
    found.map(str::to_owned).ok_or_else(|| format!("no `{key}` in {value}"))
}

/// The address in the ready line, once it is there.
fn ready_address(output: &str) -> Option<String> {
    let line: Value = serde_json::from_str(output.lines().next()?).ok()?;
    Some(line.get("ready")?.get("address")?.as_str()?.to_owned())
}
