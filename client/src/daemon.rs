//! `roundelay-client run`: the SDK's client with trainers in child processes, a status file, and a
//! clean end on SIGTERM.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use roundelay_protocol::manifest::Manifest;
use tracing_subscriber::EnvFilter;

use crate::checkpoint::StateDir;
use roundelay_program::{Output, say};

use crate::cli::{CliError, RunArguments};
use crate::config::{Config, ConfigError};
use crate::data::Source;
use crate::sdk::{Board, Client, ClientError, FederationStanding, Stopper, Summary};

mod report;
pub(crate) mod status;

use report::Reporter;
use status::Status;

/// How often the status file is replaced.
const STATUS_INTERVAL: Duration = Duration::from_millis(500);

/// Runs until it is stopped, or as the arguments say.
pub(crate) fn run(dir: PathBuf, arguments: &RunArguments, output: Output) -> Result<(), CliError> {
    let state = StateDir::open(&dir)?;
    let file = arguments.reach.config.clone().unwrap_or_else(|| dir.join("client.toml"));
    let config = match configuration(&file, arguments) {
        // Where everything has finished, data is needed no more.
        Err(ConfigError::NoData(_)) if arguments.once && state.has_finished() => Config::default(),
        config => config?,
    };
    start_log(&config, &file, output)?;
    let before = Status::read(&state)?.map(|status| status.board(&state.names()));
    let board = Arc::new(Mutex::new(before.unwrap_or_default()));
    let reporter = Reporter::new(output, Arc::clone(&board));
    let mut builder = Client::builder()
        .dir(&dir)
        .once(arguments.once)
        .on_event(move |event| reporter.take(event));
    if let Some(address) =
        arguments.reach.coordinator.clone().or_else(|| config.coordinator.clone())
    {
        builder = builder.coordinator(address);
    }
    if let Some(deadline) = arguments.deadline {
        builder = builder.deadline(deadline);
    }
    if let Some(hours) = config.patience_hours {
        builder = builder.patience(Duration::from_secs(u64::from(hours) * 60 * 60));
    }
    let make = move |manifest: &Manifest| config.trainer(manifest, &state.names(), &file);
    let client = builder.trainers(make).build()?;
    let scribe = Scribe::start(dir, board).map_err(ClientError::Runtime)?;
    let ended = run_until_signal(client);
    scribe.stop(ended.as_ref().err().map(ToString::to_string));
    let summary = ended?;
    if output == Output::Json {
        say(&summary_json(&summary));
    }
    Ok(())
}

/// The configuration of a file, with what the command line says in place of it.
fn configuration(file: &Path, arguments: &RunArguments) -> Result<Config, ConfigError> {
    // The default file need not be there if the command line says where the data is.
    let optional = arguments.reach.config.is_none() && !file.exists();
    let mut config = match optional {
        true if arguments.data.is_none() => return Err(ConfigError::NoData(file.to_owned())),
        true => Config::default(),
        false => Config::read(file)?,
    };
    if let Some(path) = &arguments.data {
        let before = config.data.take().unwrap_or_else(|| Source::new(path));
        config.data = Some(Source { path: path.clone(), ..before });
    }
    if let (Some(data), Some(name)) = (&mut config.data, &arguments.data_set) {
        data.data_set.clone_from(name);
    }
    if config.data.is_none() && config.federations.is_empty() {
        return Err(ConfigError::NoData(file.to_owned()));
    }
    Ok(config)
}

/// Logs go to standard error, one line or with `--output json` one object each.
fn start_log(config: &Config, file: &Path, output: Output) -> Result<(), ConfigError> {
    const VARIABLE: &str = "ROUNDELAY_LOG";
    let (origin, filter) = match (std::env::var(VARIABLE).ok(), &config.log) {
        (Some(filter), _) => (Path::new(VARIABLE), filter),
        (None, Some(filter)) => (file, filter.clone()),
        (None, None) => (file, "info".to_owned()),
    };
    let checked = roundelay_program::log::check_filter(&filter);
    let parsed = checked.and_then(|()| EnvFilter::try_new(&filter).map_err(|why| why.to_string()));
    let filter = parsed.map_err(|why| ConfigError::Value {
        path: origin.to_owned(),
        what: format!("`{filter}` is not what `log` may be, a level or target=level,…: {why}"),
    })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Nobody to tell: this would panic.
        .log_internal_errors(false);
    // A program that embeds this verb may have set a log up already.
    let _ = match output {
        Output::Json => log.json().try_init(),
        Output::Human => {
            log.with_target(false).with_ansi(roundelay_program::answer::paints()).try_init()
        }
    };
    Ok(())
}

fn run_until_signal(client: Client) -> Result<Summary, ClientError> {
    let runtime = crate::sdk::runtime().map_err(ClientError::Runtime)?;
    runtime.block_on(async {
        let stopper = client.stopper();
        tokio::spawn(stop_on_signal(stopper));
        client.run_async().await
    })
}

/// As shells report an interrupt.
const SIGNALLED_TWICE: i32 = 130;

/// The first signal ends the client in good order, the second at once.
async fn stop_on_signal(stopper: Stopper) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return;
    };
    let mut signalled = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    signalled().await;
    tracing::info!("stopping, once no round counts on this client any more");
    stopper.stop();
    signalled().await;
    tracing::warn!("stopping at once");
    // As a crash would: what matters is durable before it is said.
    std::process::exit(SIGNALLED_TWICE);
}

/// Writes the status file now and then, and once more at the end.
struct Scribe {
    board: Arc<Mutex<Board>>,
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Scribe {
    fn start(dir: PathBuf, board: Arc<Mutex<Board>>) -> std::io::Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let (ends, since) = (Arc::clone(&over), crate::clock::unix_ms());
        let shared = Arc::clone(&board);
        let thread = std::thread::Builder::new().name("status".to_owned()).spawn(move || {
            let write = |connected: bool| {
                let mut board = board.lock().unwrap_or_else(PoisonError::into_inner).clone();
                board.connected &= connected;
                Status::of(&board, since).write(&dir);
            };
            while !ends.load(Ordering::Relaxed) {
                write(true);
                std::thread::park_timeout(STATUS_INTERVAL);
            }
            write(false);
        })?;
        Ok(Self { board: shared, over, thread })
    }

    /// Writes for the last time, with what ended the daemon if something did.
    fn stop(self, trouble: Option<String>) {
        self.board.lock().unwrap_or_else(PoisonError::into_inner).trouble = trouble;
        self.over.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        // It does not panic; and if it did, the status file is all that is lost.
        let _ = self.thread.join();
    }
}

fn summary_json(summary: &Summary) -> serde_json::Value {
    let federations: Vec<serde_json::Value> = summary
        .federations
        .iter()
        .map(|(id, standing)| {
            let FederationStanding { name, version, rounds, evaluation, over, .. } = standing;
            let evaluation = evaluation.map(|(version, it)| {
                serde_json::json!({
                    "version": version,
                    "rows": it.rows,
                    "accuracy": it.accuracy,
                    "loss": it.loss,
                })
            });
            serde_json::json!({
                "federation": id.to_string(),
                "name": name,
                "version": version,
                "rounds": rounds,
                "evaluation": evaluation,
                "over": over,
            })
        })
        .collect();
    serde_json::json!({ "event": "ended", "federations": federations })
}
