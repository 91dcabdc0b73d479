//! One connection from its handshake to its end.
//!
//! ```text
//! handshake ─▶ admit ─┬─▶ one enrolment ─▶ closed
//!                     └─▶ hello ─▶ registered ─▶ { requests, streams, post, certificate } ─▶ closed
//! ```
//! The four run side by side; the first that ends, ends the connection with its reason. Whatever a
//! peer sends, the worst that it can do is to end its own connection.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use roundelay_protocol::close::CloseCode;
use roundelay_protocol::limits::FRAME_BYTES_MAX;
use roundelay_protocol::session::{PROTOCOL_VERSIONS, ToClient, ToCoordinator, negotiate};
use tokio::sync::{Mutex, watch};
use tokio::time::sleep;

use super::admission::{Admission, Purpose, admit};
use super::closing::Closing;
use super::driver::{Driver, Outbox};
use super::endpoint::Waiting;
use super::enrolment;
use super::framing::{Frames, Meter};
use super::greeting::{Greeting, greeting};
use super::places::Places;
use super::post::Post;
use super::registry::Registry;
use super::requests::Requests;
use super::streams::{Rosters, Streams};
use super::transport::{Connection, Outgoing};
use super::windows::Windows;
use crate::authority::PeerCertificate;
use crate::clients::{ClientError, Clients};
use crate::clock::now_unix_ms;
use crate::config::Limits;
use crate::federations::Federations;

/// How often a connection compares its certificate with the clock.
const CERTIFICATE_CHECK: Duration = Duration::from_secs(30);

/// What all connections share.
pub struct Context {
    /// Who is enrolled.
    pub clients: Arc<Clients>,
    /// Manifests and their signatures.
    pub federations: Arc<Federations>,
    /// Runs the rounds.
    pub driver: Driver,
    /// Who is connected.
    pub registry: Arc<Registry>,
    /// The places of connections without a certificate.
    pub strangers: Places,
    /// The budget of upload windows.
    pub windows: Windows,
    /// The budget of rosters.
    pub rosters: Rosters,
    /// What a connection may take up.
    pub limits: Limits,
}

/// Serves a connection until its end and logs that end in one line. `waiting` is what it takes up
/// until the peer has said hello.
pub async fn serve(connection: Arc<dyn Connection>, waiting: Waiting, context: Arc<Context>) {
    let remote = connection.remote();
    let (who, closing) = match admit(&*connection) {
        Err(closing) => (None, closing),
        Ok(Admission::Enrolment) => {
            let (strangers, clients) = (&context.strangers, &context.clients);
            let limits = &context.limits;
            let served = enrolment::serve(&*connection, waiting, strangers, clients, limits);
            (None, served.await)
        }
        Ok(Admission::Client(certificate, purpose)) => {
            let (peer, connection) = (certificate.peer.clone(), Arc::clone(&connection));
            (Some(peer), client(connection, certificate, purpose, waiting, &context).await)
        }
    };
    if let Closing::Ours { code, reason } = &closing {
        connection.close(*code, reason);
    }
    let tenant = who.as_ref().map(|peer| tracing::field::display(&peer.tenant));
    let client = who.as_ref().map(|peer| tracing::field::display(peer.client));
    if closing.blames_peer() {
        tracing::warn!(%remote, tenant, client, reason = %closing, "connection closed");
    } else {
        tracing::debug!(%remote, tenant, client, reason = %closing, "connection closed");
    }
}

async fn client(
    connection: Arc<dyn Connection>,
    certificate: PeerCertificate,
    purpose: Purpose,
    waiting: Waiting,
    context: &Arc<Context>,
) -> Closing {
    match greeted(connection, &certificate, waiting, context).await {
        Ok(session) => session.run(certificate, purpose, context).await,
        Err(closing) => closing,
    }
}

/// A connection whose peer has said hello.
struct Session {
    connection: Arc<dyn Connection>,
    outgoing: Box<dyn Outgoing>,
    frames: Frames,
    meter: Arc<Meter>,
    version: u16,
}

/// Waits for the control stream and the hello on it.
async fn greeted(
    connection: Arc<dyn Connection>,
    certificate: &PeerCertificate,
    waiting: Waiting,
    context: &Context,
) -> Result<Session, Closing> {
    let Waiting { place, hello_by } = waiting;
    let greeting = greeting(&*connection, &context.limits, hello_by, "the hello").await?;
    let Greeting { outgoing, mut frames, meter, first: hello } = greeting;
    let ToCoordinator::Hello { versions, build } = hello else {
        return Err(Closing::malformed("the first frame is not a hello"));
    };
    let version = negotiate(PROTOCOL_VERSIONS, &versions)
        .map_err(|error| Closing::new(CloseCode::VersionUnsupported, error))?;
    let peer = &certificate.peer;
    tracing::debug!(tenant = %peer.tenant, client = %peer.client, version, build = &*build, "hello");
    drop(place);
    frames.set_limit(FRAME_BYTES_MAX);
    Ok(Session { connection, outgoing, frames, meter, version })
}

impl Session {
    async fn run(
        self,
        certificate: PeerCertificate,
        purpose: Purpose,
        context: &Arc<Context>,
    ) -> Closing {
        let Self { connection, outgoing, frames, meter, version } = self;
        let (peer, limits) = (certificate.peer.clone(), &context.limits);
        let (post, postman) = Post::new(Arc::clone(&connection), limits);
        // Registered first, looked up second: a revocation between the two finds the connection.
        let _entry = match context.registry.enter(&peer, purpose, Arc::clone(&post)) {
            Ok(entry) => entry,
            Err(closing) => return closing,
        };
        if let Err(error) = context.clients.find(&peer).await {
            return not_let_in(&error);
        }
        post.send(ToClient::Welcome { version, unix_ms: now_unix_ms() });
        let outbox: Arc<dyn Outbox> = Arc::clone(&post) as _;
        let connected = Arc::new(context.driver.connect(peer.clone(), outbox));
        let (certificate, expiry) = watch::channel(certificate);
        if purpose == Purpose::Rounds {
            connection.allow_streams(limits.streams_max);
        }
        let streams = Streams {
            connection: Arc::clone(&connection),
            connected: Arc::clone(&connected),
            context: Arc::clone(context),
            meter,
            account: context.windows.account(Arc::clone(&connection)),
            rosters: Mutex::default(),
        };
        let context = Arc::clone(context);
        let requests = Requests { peer, purpose, connected, post, certificate, context };
        tokio::select! {
            closing = requests.serve(frames) => closing,
            closing = streams.serve() => closing,
            closing = postman.carry(outgoing) => closing,
            closing = expired(expiry) => closing,
            lost = connection.closed() => lost.into(),
        }
    }
}

fn not_let_in(error: &ClientError) -> Closing {
    match error {
        ClientError::Revoked(_) => Closing::new(CloseCode::Revoked, error),
        ClientError::Unknown(_) => Closing::new(CloseCode::CertificateUnknown, error),
        other => Closing::internal(other),
    }
}

/// Returns when the certificate in use has ended. The wall clock may jump, so it is looked at.
async fn expired(certificate: watch::Receiver<PeerCertificate>) -> Closing {
    loop {
        let not_after = certificate.borrow().not_after;
        let left = not_after.duration_since(SystemTime::now()).unwrap_or_default();
        if left.is_zero() {
            let reason = "the certificate's life has ended; renew it earlier";
            return Closing::new(CloseCode::CertificateExpired, reason);
        }
        sleep(left.min(CERTIFICATE_CHECK)).await;
    }
}
