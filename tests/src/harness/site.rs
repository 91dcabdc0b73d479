//! A tenant's site: its client's folder and daemon.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::process::{Process, body_of, json_of};
use super::programs::Programs;

/// One tenant's client.
pub struct Site {
    programs: Programs,
    folder: PathBuf,
    name: String,
    process: Option<Process>,
}

/// What the client's configuration says.
pub struct SiteSettings<'a> {
    /// The folder or file of the tenant's rows.
    pub data: &'a Path,
    /// Share of the rows that is held out for evaluation, in percent.
    pub held_out_percent: u8,
    /// Seed of the order of batches.
    pub seed: u64,
}

impl Site {
    /// A site whose client is enrolled with a token.
    ///
    /// # Errors
    /// Where enrolment fails; the client's line is in the text.
    pub fn enrol(
        programs: &Programs,
        folder: &Path,
        name: &str,
        token: &str,
    ) -> Result<Self, String> {
        std::fs::create_dir_all(folder)
            .map_err(|error| format!("{}: {error}", folder.display()))?;
        let site = Self {
            programs: programs.clone(),
            folder: folder.to_path_buf(),
            name: name.to_owned(),
            process: None,
        };
        site.verb(&["enrol", "--token", token])?;
        Ok(site)
    }

    /// Writes the client's configuration.
    ///
    /// # Errors
    /// Where the file can't be written.
    pub fn configure(&self, settings: &SiteSettings<'_>) -> Result<(), String> {
        let text = format!(
            "[data]\npath = {:?}\nheld_out_percent = {}\n\n[trainer]\nprogram = {:?}\nthreads = 1\nseed = {}\n",
            settings.data, settings.held_out_percent, self.programs.trainer, settings.seed
        );
        let file = self.folder.join("client.toml");
        std::fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))
    }

    /// Signs the federation's manifest with the tenant's key, and pins it. All sites are of one
    /// hand here, which is why it may say that all fingerprints were compared.
    ///
    /// # Errors
    /// Where the client refuses.
    pub fn sign(&self, federation: &str) -> Result<Value, String> {
        self.verb(&["manifest", "sign", federation, "--yes", "--compared", "all"])
    }

    /// Starts the daemon.
    ///
    /// # Errors
    /// Where it can't be started.
    pub fn start(&mut self) -> Result<(), String> {
        self.start_with(&[])
    }

    /// Starts the daemon with variables in its environment, such as a failpoint.
    ///
    /// # Errors
    /// Where it can't be started.
    pub fn start_with(&mut self, settings: &[(&str, &str)]) -> Result<(), String> {
        let mut command = self.command(&["run"]);
        command.envs(settings.iter().copied());
        self.process = Some(Process::start(&mut command, &self.folder, "client")?);
        Ok(())
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// SIGTERM; whether it ended well within the limit.
    pub fn terminate(&mut self, limit: Duration) -> bool {
        let status = self.process.take().and_then(|mut process| process.terminate(limit));
        status.is_some_and(|status| status.success())
    }

    /// Whether it has ended, as after a failpoint.
    pub fn ended(&mut self) -> bool {
        self.process.as_mut().is_none_or(|process| process.ended().is_some())
    }

    /// The exit status of a daemon that has ended by itself.
    pub fn exit_status(&mut self) -> Option<i32> {
        self.process.as_mut()?.ended()?.code()
    }

    /// The process id of the daemon, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Where its files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The tenant.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the daemon has told so far: one event in JSON a line.
    #[must_use]
    pub fn told(&self) -> String {
        self.process.as_ref().map_or_else(String::new, Process::output)
    }

    /// The end of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.process.as_ref().map_or_else(String::new, Process::log_tail)
    }

    /// Runs a verb and returns its JSON.
    ///
    /// # Errors
    /// The verb's line on stderr.
    pub fn verb(&self, arguments: &[&str]) -> Result<Value, String> {
        let answer = json_of(&mut self.command(arguments)).map_err(|why| {
            format!("{}: roundelay-client {}: {why}", self.name, arguments.join(" "))
        })?;
        Ok(body_of(answer))
    }

    /// Runs a verb that is to fail; its exit status, and the message of its error.
    ///
    /// # Panics
    /// Where it does not fail, or ends without an error.
    #[must_use]
    pub fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.command(arguments).output().expect("the client runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors.lines().last().unwrap_or_default();
        let error: Value = serde_json::from_str(last).expect("an error object ends the log");
        let message = error["error"]["message"].as_str().expect("a message").to_owned();
        (output.status.code().expect("an exit status"), message)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.programs.client);
        command.args(arguments).arg("--dir").arg(&self.folder).args(["--output", "json"]);
        command
    }
}
