//! The demo's federation: processes on this machine, each with its own folder, certificate and
//! identity key.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Coordinator, FederationRequest, Programs, Site, SiteSettings};

/// How long a round may take before the demo gives up.
const ROUND_MAX: Duration = Duration::from_secs(180);
/// How often the demo looks how its federation stands.
const LOOK: Duration = Duration::from_millis(200);

/// A coordinator and its tenants' sites.
pub struct Federation {
    /// The coordinator.
    pub coordinator: Coordinator,
    /// One site for each tenant.
    pub sites: Vec<Site>,
    /// The federation's id.
    pub id: String,
    /// How long nothing may move before a watcher gives up.
    pub patience: Duration,
}

impl Federation {
    /// Starts a coordinator, enrols a client for each tenant and has everyone sign the manifest.
    /// `data` holds one folder of rows for each tenant.
    ///
    /// # Errors
    /// The line of the process that failed.
    pub fn found(
        programs: &Programs,
        folder: &Path,
        tenants: &[String],
        data: &[PathBuf],
        task: &Path,
        said: &dyn Fn(&str),
    ) -> Result<Self, String> {
        said("starting the coordinator");
        let coordinator = Coordinator::start(programs, &folder.join("coordinator"))?;
        let mut sites = Vec::new();
        for (tenant, rows) in tenants.iter().zip(data) {
            said(&format!("enrolling {tenant}"));
            let token = coordinator.token_for(tenant)?;
            let site = Site::enrol(programs, &folder.join(tenant), tenant, &token)?;
            site.configure(&SiteSettings {
                data: rows,
                held_out_percent: 5,
                seed: sites.len() as u64,
            })?;
            sites.push(site);
        }
        let owner = tenants.first().map_or("", String::as_str);
        let request = FederationRequest { name: "demo", owner, members: tenants, task };
        let id = coordinator.create(&request)?;
        for site in &sites {
            said(&format!("{} signs the manifest", site.name()));
            site.sign(&id)?;
        }
        Ok(Self { coordinator, sites, id, patience: ROUND_MAX })
    }

    /// Starts every client and the rounds.
    ///
    /// # Errors
    /// The line of the process that failed.
    pub fn start(&mut self) -> Result<(), String> {
        self.sites.iter_mut().try_for_each(Site::start)?;
        self.coordinator.verb(&["federation", "start", &self.id]).map(|_| ())
    }

    /// What `federation status` says.
    ///
    /// # Errors
    /// Where the verb fails.
    pub fn status(&self) -> Result<Value, String> {
        self.coordinator.verb(&["federation", "status", &self.id])
    }

    /// Watches until the federation has finished; each new status goes to `seen`.
    ///
    /// # Errors
    /// Where it stalls, stops or takes too long; the ends of the logs are in the text.
    pub fn watch(&mut self, seen: &mut dyn FnMut(&Value)) -> Result<Value, String> {
        self.watch_every(LOOK, seen)
    }

    /// The same, looking so often: each look is a process of its own.
    ///
    /// # Errors
    /// As for [`watch`](Self::watch).
    pub fn watch_every(
        &mut self,
        interval: Duration,
        seen: &mut dyn FnMut(&Value),
    ) -> Result<Value, String> {
        let (mut last, mut since) = (Value::Null, Instant::now());
        loop {
            let status = self.status()?;
            if status != last {
                since = Instant::now();
                seen(&status);
            }
            match status["federation"]["state"].as_str() {
                Some("finished") => return Ok(status),
                Some("stopped") => return Err(self.trouble(&status.to_string())),
                _ => {}
            }
            if let Some(trouble) = status["trouble"].as_str() {
                return Err(self.trouble(trouble));
            }
            if since.elapsed() > self.patience {
                return Err(self.trouble("nothing moves any more"));
            }
            last = status;
            std::thread::sleep(interval);
        }
    }

    fn trouble(&self, what: &str) -> String {
        let mut text = format!("{what}\n--- coordinator\n{}", self.coordinator.log_tail());
        for site in &self.sites {
            text += &format!("\n--- {}\n{}", site.name(), site.log_tail());
        }
        text
    }
}
