//! `status`: from the files of the state directory alone; a running daemon is not disturbed.

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use roundelay_protocol::manifest::readable;
use roundelay_protocol::plain::counted;
use serde::Serialize;
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use roundelay_program::{Output, answer, tell};

use super::CliError;
use crate::checkpoint::privacy::{DataSet, DataSets, Promise};
use crate::checkpoint::{CheckpointError, StateDir};
use crate::daemon::status::Status;
use crate::gate::ledger::Entries;
use crate::session::site::Site;

pub(super) fn status(dir: PathBuf, output: Output) -> Result<(), CliError> {
    let dir = StateDir::open(dir)?;
    let running = matches!(dir.lock(), Err(CheckpointError::Locked(_)));
    let site = Site::load(dir)?;
    let last = Status::read(&site.dir)?;
    let sent = Sent::of(&site.dir)?;
    let privacy = spent(&site.dir.data_sets()?);
    match output {
        Output::Json => answer(
            "status",
            json!({
                "tenant": site.enrolment.tenant,
                "client": site.client.to_string(),
                "coordinator": site.enrolment.moved_to.as_ref().unwrap_or(&site.enrolment.coordinator),
                "certificate_until_unix_ms": crate::clock::unix_ms_of(site.certificate.not_after()),
                "running": running,
                "last": last,
                "privacy": privacy,
                "sent": { "messages": sent.messages, "bytes": sent.bytes, "uploads": sent.uploads },
            }),
        ),
        Output::Human => {
            print(&site, running, last.as_ref(), &sent);
            privacy.iter().for_each(Spent::print);
        }
    }
    Ok(())
}

/// What a federation may release over a data set of this client, and what was released over that
/// data by all federations.
#[derive(Serialize)]
struct Spent {
    /// What the tenant calls the data set.
    data_set: String,
    federation: String,
    name: String,
    epsilon_spent: f64,
    epsilon: f64,
    delta: f64,
    rounds_charged: u64,
    rounds_left: u64,
    /// Federations that may have released sums over it without noise, before the promise.
    unprotected: Vec<String>,
}

/// Rounds are counted up to so many: no task has more.
const ROUNDS_MAX: u64 = 1_000_000;

fn spent(sets: &DataSets) -> Vec<Spent> {
    let of_set = |(data_set, set): (&String, &DataSet)| {
        let promises = set.promises.iter();
        let spent = promises.map(|(federation, (name, promise))| {
            let Promise { budget, release } = promise;
            Spent {
                data_set: data_set.clone(),
                federation: federation.to_string(),
                name: name.clone(),
                epsilon_spent: set.ledger.epsilon(budget.delta),
                epsilon: budget.epsilon,
                delta: budget.delta,
                rounds_charged: set.ledger.releases(),
                rounds_left: set.left(*release, ROUNDS_MAX),
                unprotected: set.unprotected.iter().cloned().collect(),
            }
        });
        spent.collect::<Vec<_>>()
    };
    sets.iter().flat_map(of_set).collect()
}

impl Spent {
    fn print(&self) {
        tell!(
            "privacy      data set {}: ε = {:.3} of {} at δ = {:e} is spent by {}; {} pays {} more",
            self.data_set,
            self.epsilon_spent,
            self.epsilon,
            self.delta,
            counted(self.rounds_charged, "round"),
            self.name,
            self.rounds_left,
        );
    }
}

/// What left this machine, by the ledger, whose chain is checked on the way.
#[derive(Default)]
struct Sent {
    messages: u64,
    bytes: u64,
    uploads: u64,
}

impl Sent {
    fn of(dir: &StateDir) -> Result<Self, CheckpointError> {
        let mut sent = Self::default();
        for entry in Entries::read(&dir.file("ledger"))?.into_iter().flatten() {
            let entry = entry?;
            sent.messages += 1;
            sent.bytes += entry.bytes;
            sent.uploads += u64::from(entry.kind == "masked-vector");
        }
        Ok(sent)
    }
}

fn print(site: &Site, running: bool, last: Option<&Status>, sent: &Sent) {
    let enrolment = &site.enrolment;
    tell!("tenant       {}", enrolment.tenant);
    tell!("client       {}", readable(&site.client.0));
    let coordinator = enrolment.moved_to.as_ref().unwrap_or(&enrolment.coordinator);
    tell!("coordinator  {coordinator}");
    tell!(
        "certificate  valid until {}",
        moment(crate::clock::unix_ms_of(site.certificate.not_after()))
    );
    tell!(
        "sent         {} messages, {} bytes, {} masked vectors; the ledger is whole",
        sent.messages,
        sent.bytes,
        sent.uploads
    );
    match (running, last) {
        (false, None) => tell!("daemon       never ran"),
        (false, Some(last)) => {
            tell!("daemon       stopped; last seen {}", moment(last.unix_ms));
            if let Some(trouble) = &last.trouble {
                tell!("             {trouble}");
            }
        }
        (true, None) => tell!("daemon       starting"),
        (true, Some(last)) => match &last.trouble {
            Some(trouble) => tell!("daemon       runs; {trouble}"),
            None if last.connected => tell!("daemon       runs, connected"),
            None => tell!("daemon       runs, connecting"),
        },
    }
    for federation in last.map(|last| last.federations.as_slice()).unwrap_or_default() {
        let evaluation = federation
            .evaluation
            .map(|it| format!("; accuracy {:.4} at version {}", it.accuracy, it.version));
        tell!(
            "  {:<12} {}; model version {}, {}{}",
            federation.name,
            federation.stage,
            federation.version,
            counted(federation.rounds, "round"),
            evaluation.unwrap_or_default()
        );
        if let Some(over) = &federation.over {
            tell!("  {:<12} {over}", "");
        }
    }
}

fn moment(unix_ms: u64) -> String {
    let moment = OffsetDateTime::from(UNIX_EPOCH + Duration::from_millis(unix_ms));
    let whole = moment.replace_nanosecond(0).unwrap_or(moment);
    whole.format(&Rfc3339).unwrap_or_else(|_| format!("{unix_ms} ms after 1970"))
}
