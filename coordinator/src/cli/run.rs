//! Runs one verb: over the socket of a running coordinator, or on the data folder itself.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use roundelay_program::{Failure, Output, say, tell};
use roundelay_protocol::exit;
use tokio::time::{Instant, sleep};

use super::waiting::Waiting;
use super::{
    AuditVerb, Cli, ClientVerb, CreateFederation, FederationVerb, ModelVerb, Options, TenantVerb,
    Verb, parameters, render, serve,
};
use crate::admin::{Admin, AdminError, Answer, Kind, Request, socket};
use crate::config::{Config, TaskFile};
use crate::installation::{DataLock, Installation, InstallationError, admin_socket};
use crate::telemetry;

/// How long a verb waits for another process that is about to let go of the data folder.
const PATIENCE: Duration = Duration::from_secs(10);

/// Threads for work that waits for a disk. Hundreds of uploads at once would start hundreds, each with
/// a stack and an allocator's caches, for two or three that a disk serves at a time.
const BLOCKING_THREADS_MAX: usize = 32;

/// How long work on other threads is waited for when the coordinator has stopped. With what
/// [`Server::stop`](crate::server::Server::stop) may take it stays below 30 s.
const LAST_WORK: Duration = Duration::from_secs(3);

/// Runs a command line; its answer goes to standard output, its error to standard error.
pub fn run(cli: Cli) -> ExitCode {
    let output = cli.options.output;
    match start(cli) {
        Ok(Some(answer)) => {
            print(&answer, output);
            ExitCode::from(exit::DONE)
        }
        Ok(None) => ExitCode::from(exit::DONE),
        Err(error) => Failure::new(error.kind, &error.code, &error.message).tell(output),
    }
}

fn start(cli: Cli) -> Result<Option<Answer>, AdminError> {
    if let Verb::Parameters(asked) = &cli.verb {
        return parameters::run(asked, cli.options.output).map(|()| None);
    }
    let config = config(&cli.options)?;
    let json = cli.options.output == Output::Json;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| {
        AdminError::new(Kind::Internal, "runtime", format_args!("no threads: {error}"))
    })?;
    match cli.verb {
        Verb::Serve { listen } => {
            telemetry::start(&config.log, json).map_err(misconfigured)?;
            let listen = listen.unwrap_or(config.listen);
            let served = runtime.block_on(serve::serve(config, listen, json));
            // Work on other threads that nobody waits for any more is in the records.
            runtime.shutdown_timeout(LAST_WORK);
            served.map(|()| None)
        }
        verb => {
            // A verb's own errors are its answer; of the rest only warnings are for its user.
            telemetry::start("warn", json).map_err(misconfigured)?;
            let request = request(verb)?;
            let _waiting = Waiting::on(&request, cli.options.output);
            runtime.block_on(perform(&config, request)).map(Some)
        }
    }
}

fn config(options: &Options) -> Result<Config, AdminError> {
    let mut config = match &options.config {
        Some(file) => Config::read(file).map_err(misconfigured)?,
        None => Config::default(),
    };
    if let Some(data) = &options.data {
        config.data.clone_from(data);
    }
    config.data = absolute(&config.data)?;
    Ok(config)
}

fn invalid(error: impl std::fmt::Display) -> AdminError {
    AdminError::new(Kind::Invalid, "invalid", error)
}

/// A configuration or task file that can't be read or does not hold.
fn misconfigured(error: impl std::fmt::Display) -> AdminError {
    AdminError::new(Kind::Configuration, "configuration", error)
}

/// A running coordinator has a working folder of its own.
fn absolute(path: &Path) -> Result<PathBuf, AdminError> {
    std::path::absolute(path).map_err(|error| invalid(format_args!("{}: {error}", path.display())))
}

/// What a verb asks for. Files are read here, where the user's paths mean something.
fn request(verb: Verb) -> Result<Request, AdminError> {
    Ok(match verb {
        Verb::Serve { .. } | Verb::Parameters(_) => {
            return Err(invalid("this verb asks no coordinator"));
        }
        Verb::Tenant(TenantVerb::Add { name }) => Request::TenantAdd { tenant: name },
        Verb::Tenant(TenantVerb::List) => Request::TenantList,
        Verb::EnrolToken { tenant, minutes, address } => {
            Request::EnrolToken { tenant, minutes, address }
        }
        Verb::Client(ClientVerb::List { tenant }) => Request::ClientList { tenant },
        Verb::Client(ClientVerb::Revoke { tenant, client }) => {
            Request::ClientRevoke { tenant, client }
        }
        Verb::Federation(FederationVerb::Create(create)) => federation_create(create)?,
        Verb::Federation(FederationVerb::Amend { federation, members, task }) => {
            let terms =
                task.map(|file| TaskFile::read(&file).map_err(misconfigured)).transpose()?;
            let terms = terms.map(|file| Box::new(file.into_parts()));
            Request::FederationAmend { federation, members, terms }
        }
        Verb::Federation(FederationVerb::Start { federation, initial }) => {
            let initial = initial.as_deref().map(absolute).transpose()?;
            Request::FederationStart { federation, initial }
        }
        Verb::Federation(FederationVerb::Stop { federation }) => {
            Request::FederationStop { federation }
        }
        Verb::Federation(FederationVerb::Status { federation }) => {
            Request::FederationStatus { federation }
        }
        Verb::Federation(FederationVerb::List) => Request::FederationList,
        Verb::Rounds { federation, last } => Request::Rounds { federation, last },
        Verb::Model(ModelVerb::List { federation, last }) => {
            Request::ModelList { federation, last }
        }
        Verb::Model(ModelVerb::Export { federation, version, to }) => {
            Request::ModelExport { federation, version, to: absolute(&to)? }
        }
        Verb::Audit(AuditVerb::Verify { tenant }) => Request::AuditVerify { tenant },
    })
}

fn federation_create(create: CreateFederation) -> Result<Request, AdminError> {
    let (mut task, mut rules) = TaskFile::read(&create.task).map_err(misconfigured)?.into_parts();
    task.rounds = create.rounds.unwrap_or(task.rounds);
    rules.clients_min = create.clients_min.unwrap_or(rules.clients_min);
    rules.pinned_peers_min = create.pinned_peers_min.unwrap_or(rules.pinned_peers_min);
    rules.dropout_permille = create.dropout_permille.unwrap_or(rules.dropout_permille);
    let CreateFederation { name, owner, members, .. } = create;
    let (task, rules) = (Box::new(task), Box::new(rules));
    Ok(Request::FederationCreate { name, owner, members, task, rules })
}

/// Asks the coordinator that runs on the data folder, or opens the folder where none does.
pub(super) async fn perform(config: &Config, request: Request) -> Result<Answer, AdminError> {
    let socket = admin_socket(&config.data);
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = socket::ask(&socket, &request).await? {
            return Ok(answer);
        }
        let lock = match request {
            // The first use, as `serve` is.
            Request::TenantAdd { .. } => DataLock::take(&config.data),
            _ => DataLock::take_existing(&config.data),
        };
        match lock {
            Ok(lock) => return answer_from(lock, config, request).await,
            // Another verb is at work, or a coordinator is about to listen or to end.
            Err(InstallationError::InUse(_)) if Instant::now() < until => {
                sleep(Duration::from_millis(50)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn answer_from(
    lock: DataLock,
    config: &Config,
    request: Request,
) -> Result<Answer, AdminError> {
    let installation = Installation::open(lock, config.certificate_life()).await?;
    let (address, minutes) = (config.address.clone(), config.token_minutes);
    Admin::new(Arc::new(installation), None, address, minutes).handle(request).await
}

fn print(answer: &Answer, output: Output) {
    match output {
        // Names and reasons come from outside: they can't act on the terminal.
        Output::Human => render::render(answer).lines().for_each(|line| tell!("{line}")),
        Output::Json => say(answer),
    }
}
