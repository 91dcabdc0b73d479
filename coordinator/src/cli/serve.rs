//! `serve`: runs the coordinator until it is told to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use roundelay_program::out;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use crate::admin::socket::AdminSocket;
use crate::admin::{Admin, AdminError, Kind};
use crate::config::Config;
use crate::installation::{DataLock, Installation, InstallationError, admin_socket};
use crate::server::driver::Driver;
use crate::server::endpoint::EndpointError;
use crate::server::{Server, ServerError};

/// How long a verb that holds the data folder is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves until SIGTERM or SIGINT. Says that it is ready in one line on standard output.
pub(super) async fn serve(
    config: Config,
    listen: SocketAddr,
    json: bool,
) -> Result<(), AdminError> {
    let lock = take(&config).await?;
    let installation = Installation::open(lock, config.certificate_life()).await?;
    for (tenant, error) in installation.unreadable().await.map_err(InstallationError::Store)? {
        tracing::error!(%tenant, "its rows can't be read, the other tenants are served: {error}");
    }
    let installation = Arc::new(installation);
    let settings = config.rounds.settings(&config.limits, installation.spool());
    let (store, blobs) = (Arc::clone(&installation.store), installation.blobs.clone());
    let driver = Driver::start(store, blobs, settings).await?;
    let server = Arc::new(Server::bind(listen, &installation, driver, &config.limits)?);
    let path = admin_socket(&config.data);
    let socket = AdminSocket::bind(&path).map_err(|error| {
        let remedy = "the coordinator makes its socket there: move away what is in its place";
        let message = format!("{}: {error}; {remedy}", path.display());
        AdminError::new(Kind::Configuration, "admin_socket", message)
    })?;
    let (live, address) = (Some(Arc::clone(&server)), config.address.clone());
    let admin = Admin::new(Arc::clone(&installation), live, address, config.token_minutes);
    say_ready(&server, &installation, json);
    let admin = Arc::new(admin);
    let stopped = run_until_told(&server, &socket, admin, config.successor.as_deref()).await;
    drop(socket);
    stopped
}

async fn take(config: &Config) -> Result<DataLock, AdminError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match DataLock::take(&config.data) {
            Ok(lock) => return Ok(lock),
            Err(InstallationError::InUse(_)) if Instant::now() < until => {
                sleep(Duration::from_millis(50)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn say_ready(server: &Server, installation: &Installation, json: bool) {
    let (listens_on, data) = (server.listens_on(), installation.data().display().to_string());
    let authority = installation.clients.authority().fingerprint().to_string();
    let line = if json {
        let ready = serde_json::json!({
            "ready": { "address": listens_on.to_string(), "data": data, "authority": authority }
        });
        ready.to_string()
    } else {
        format!("ready on UDP {listens_on}, data in {data}, authority {authority}")
    };
    // Where it can't be written the coordinator serves anyway, and says so when it ends.
    out!("{line}");
}

async fn run_until_told(
    server: &Arc<Server>,
    socket: &AdminSocket,
    admin: Arc<Admin>,
    successor: Option<&str>,
) -> Result<(), AdminError> {
    let no_signals =
        |error| AdminError::new(Kind::Internal, "signals", format_args!("no signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let running = tokio::spawn({
        let server = Arc::clone(server);
        async move { server.run().await }
    });
    tokio::select! {
        () = socket.serve(admin) => {}
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
    }
    server.stop(successor).await;
    running.await.map_err(|error| {
        AdminError::new(Kind::Internal, "server", format_args!("the server failed: {error}"))
    })
}

impl From<ServerError> for AdminError {
    fn from(error: ServerError) -> Self {
        let (kind, code) = match &error {
            ServerError::Endpoint(EndpointError::InUse(_)) => (Kind::Conflict, "port_in_use"),
            ServerError::Endpoint(EndpointError::Denied(_)) => (Kind::Invalid, "port_denied"),
            ServerError::Endpoint(EndpointError::NotHere(_)) => (Kind::Invalid, "address_not_here"),
            ServerError::Endpoint(_) => (Kind::Internal, "endpoint"),
            ServerError::Authority(_) => (Kind::Internal, "authority"),
        };
        Self::new(kind, code, error)
    }
}
