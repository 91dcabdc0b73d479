//! The coordinator's side of the network: an endpoint takes connections in, a connection turns
//! bytes into messages under limits, and the driver runs the engine of each federation.
//!
//! | module | what lives there |
//! |---|---|
//! | [`transport`], [`quic`] | a connection with streams as traits; QUIC behind them |
//! | [`tls`], [`endpoint`], `reset` | TLS 1.3 with aws-lc-rs; the UDP socket; limits of QUIC; restarts |
//! | [`addresses`], [`places`] | how many handshakes one address may ask for, and hold at a time |
//! | [`admission`], [`enrolment`] | who may speak what; the connections that enrol |
//! | [`connection`], [`requests`], [`streams`] | one client's connection, frames and streams |
//! | [`windows`] | the budget of what uploads may have in flight |
//! | [`post`], [`registry`] | the queues to one client; who is connected |
//! | [`framing`], [`greeting`], [`closing`] | frames under deadlines, the first one of all; why a connection ends |
//! | [`driver`] | runs the engine of each federation |

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use roundelay_protocol::close::CloseCode;
use roundelay_protocol::ids::ClientId;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use crate::authority::{AuthorityError, Peer, SERVER_LIFE};
use crate::clients::ClientError;
use crate::config::Limits;
use crate::installation::Installation;
use crate::notice::NoticeKey;

pub mod addresses;
pub mod admission;
pub mod closing;
pub mod connection;
pub mod driver;
pub mod endpoint;
pub mod enrolment;
pub mod framing;
pub mod greeting;
pub mod places;
pub mod post;
pub mod quic;
pub mod registry;
pub mod requests;
mod reset;
pub mod streams;
#[cfg(test)]
pub(crate) mod tests;
pub mod tls;
pub mod transport;
pub mod windows;

use connection::Context;
use driver::Driver;
use endpoint::{Endpoint, EndpointError};
use places::Places;
use registry::Registry;
use streams::Rosters;
use transport::Connection;
use windows::Windows;

/// How long the engine may take to finish the step in flight before the process ends.
const FINISH: Duration = Duration::from_secs(20);
/// How long clients are given to read the notice before their connections close.
const NOTICE: Duration = Duration::from_millis(500);
/// How long closing connections are waited for.
const CLOSE: Duration = Duration::from_secs(3);
/// When clients are asked to come back after a stop: a restart takes about a second.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// How often the coordinator's own certificate is looked at.
const CERTIFICATE_CHECK: Duration = Duration::from_secs(3600);

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The socket or TLS.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The coordinator's own certificate.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// A listening coordinator.
pub struct Server {
    endpoint: Endpoint,
    context: Arc<Context>,
    notice_key: NoticeKey,
}

impl Server {
    /// Listens for the clients of an installation. Nothing is taken in before [`run`](Self::run).
    pub fn bind(
        listen: SocketAddr,
        installation: &Installation,
        driver: Driver,
        limits: &Limits,
    ) -> Result<Self, ServerError> {
        let clients = Arc::clone(&installation.clients);
        let authority = clients.authority();
        let identity = authority.certify_server(SystemTime::now())?;
        let endpoint = Endpoint::bind(listen, identity, authority, limits)?;
        let federations = Arc::clone(&installation.federations);
        federations.write_through(Arc::new(driver.clone()));
        let context = Context {
            clients,
            federations,
            driver,
            registry: Registry::new(limits.connections_per_tenant_max),
            strangers: Places::new(limits.enrolments_max, limits.address_enrolments_max),
            windows: Windows::new(limits),
            rosters: Rosters::new(limits.rosters_bytes_total),
            limits: *limits,
        };
        let notice_key = installation.notice_key.clone();
        Ok(Self { endpoint, context: Arc::new(context), notice_key })
    }

    /// Where it listens.
    #[must_use]
    pub fn listens_on(&self) -> SocketAddr {
        self.endpoint.listens_on()
    }

    /// Runs the rounds.
    #[must_use]
    pub fn driver(&self) -> &Driver {
        &self.context.driver
    }

    /// Whether a client is connected now.
    #[must_use]
    pub fn is_connected(&self, peer: &Peer) -> bool {
        self.context.registry.is_open(peer)
    }

    #[cfg(test)]
    fn rosters_free(&self) -> usize {
        self.context.rosters.free()
    }

    /// Revokes a client: it is refused from now on, and its connection closes at once.
    pub async fn revoke(&self, peer: &Peer) -> Result<ClientId, ClientError> {
        let client = self.context.clients.revoke(peer).await?;
        self.context.registry.close(peer, CloseCode::Revoked, "the client was revoked");
        Ok(client.client)
    }

    /// Takes connections in and serves them; returns when the endpoint is closed.
    pub async fn run(&self) {
        let mut connections = JoinSet::new();
        let mut certificate = interval(CERTIFICATE_CHECK);
        let mut renew_at = SystemTime::now() + SERVER_LIFE * 2 / 3;
        loop {
            tokio::select! {
                attempt = self.endpoint.attempt() => match attempt {
                    Some(attempt) => {
                        let context = Arc::clone(&self.context);
                        connections.spawn(take_in(attempt, context));
                    }
                    None => break,
                },
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "the task of a connection failed");
                    }
                }
                _ = certificate.tick() => renew_at = self.renew_identity(renew_at),
            }
        }
        while connections.join_next().await.is_some() {}
    }

    /// Stops within 30 s: nobody is let in any more, no round begins, the step in flight of every
    /// round finishes or is left to be resumed, and clients are told to come back, or to go to a
    /// successor, before their connections close.
    pub async fn stop(&self, successor: Option<&str>) {
        self.endpoint.refuse_all();
        // First the driver: whoever went at the notice would be a dropout of a round in flight.
        if timeout(FINISH, self.context.driver.shutdown()).await.is_err() {
            tracing::warn!("rounds did not reach a border in time; they go on at the next start");
        }
        let told = self.context.registry.notify_all(|| match successor {
            Some(address) => self.notice_key.redirect(address),
            None => self.notice_key.retry_after(RETRY_AFTER),
        });
        tracing::info!(clients = told, successor, "stopping: clients were told where to go on");
        if told > 0 {
            sleep(NOTICE).await;
        }
        self.endpoint.close(CloseCode::ShuttingDown, "the coordinator stops", CLOSE).await;
    }

    /// Replaces the coordinator's own certificate at two thirds of its life.
    fn renew_identity(&self, renew_at: SystemTime) -> SystemTime {
        let now = SystemTime::now();
        if now < renew_at {
            return renew_at;
        }
        let authority = self.context.clients.authority();
        let renewed = authority.certify_server(now).map_err(ServerError::from);
        let replaced =
            renewed.and_then(|identity| Ok(self.endpoint.replace_identity(identity, authority)?));
        if let Err(error) = replaced {
            tracing::error!(%error, "the coordinator's certificate was not renewed; trying again");
            return renew_at;
        }
        now + SERVER_LIFE * 2 / 3
    }
}

async fn take_in(attempt: endpoint::Attempt, context: Arc<Context>) {
    let remote = attempt.remote();
    match attempt.handshake().await {
        Ok(newcomer) => {
            let connection: Arc<dyn Connection> = newcomer.connection;
            connection::serve(connection, newcomer.waiting, context).await;
        }
        Err(error) => tracing::debug!(%remote, %error, "no handshake"),
    }
}
