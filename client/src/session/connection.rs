//! A connection as the session sees it: one control stream, and one-way streams in both
//! directions. QUIC is behind it today; where a site blocks UDP the same frames can go over TLS on
//! TCP without the session noticing.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use roundelay_protocol::close::CloseCode;

/// Opens connections.
#[async_trait]
pub trait Dialer: Send + Sync {
    /// A connection to `host:port`, authenticated both ways.
    async fn dial(&self, address: &str) -> Result<Arc<dyn Connection>, Lost>;
}

/// An open connection. Dropping the last handle closes it.
#[async_trait]
pub trait Connection: Send + Sync {
    /// Opens the control stream. Its frames go before everything else.
    async fn control(&self) -> Result<(Box<dyn Sending>, Box<dyn Receiving>), Lost>;
    /// Opens a one-way stream to the coordinator.
    async fn open(&self) -> Result<Box<dyn Sending>, Lost>;
    /// The next one-way stream from the coordinator.
    async fn accept(&self) -> Result<Box<dyn Receiving>, Lost>;
    /// Ends it. The other side gets the code and its name and nothing else: whatever words an error
    /// has here may name files and addresses of this machine, and pass no gate.
    fn close(&self, code: CloseCode);
}

/// The sending end of a stream. Dropped before `finish`, it tells the peer that the stream broke
/// off, so that a part is never taken for the whole.
#[async_trait]
pub trait Sending: Send {
    /// Sends bytes, waiting for the peer's window.
    async fn send(&mut self, bytes: Bytes) -> Result<(), Lost>;
    /// Says that these were all.
    fn finish(&mut self) -> Result<(), Lost>;
}

/// The receiving end of a stream. Dropped before its end, it tells the peer to stop.
#[async_trait]
pub trait Receiving: Send {
    /// The next bytes, at most `bytes_max`; `None` at the end of the stream.
    async fn receive(&mut self, bytes_max: usize) -> Result<Option<Bytes>, Lost>;
}

/// Why a connection or stream is no more, and whether trying again can help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The address can't be resolved.
    #[error("the address {0} can't be resolved; check its spelling and this machine's DNS")]
    Unresolvable(String),
    /// Nobody answers there.
    #[error("no coordinator answers at {0}; check that it runs and that UDP gets through")]
    Unanswered(String),
    /// The coordinator's certificate is not from the pinned authority.
    #[error(
        "the coordinator at {0} shows a certificate of another authority than the one this client \
         enrolled with; it is not trusted"
    )]
    ForeignAuthority(String),
    /// The coordinator's certificate is outside its dates, as this machine's clock has it.
    #[error(
        "the coordinator's certificate {0} by this machine's clock; set that clock, or where it is \
         right, tell the operator to set the coordinator's"
    )]
    OutOfDates(&'static str),
    /// The coordinator does not accept this client's certificate.
    #[error(
        "the coordinator does not accept this client's certificate ({0}); ask its operator for a \
         new enrolment token and enrol again, keys and history are kept"
    )]
    CertificateRefused(String),
    /// The operator has revoked this client: its identity key never enrols again.
    #[error(
        "the coordinator has revoked this client; for another one move `identity.key` out of this \
         client's folder, ask the operator for a new enrolment token and enrol again"
    )]
    Revoked,
    /// A newer connection of this client took this one's place.
    #[error(
        "another connection with this client's certificate took this one's place; if a copy of its \
         folder is run elsewhere, stop one of the two: they push each other out, and neither knows \
         what the other has signed"
    )]
    Replaced,
    /// The coordinator closed the connection.
    #[error("the coordinator closed the connection ({code}): {reason}")]
    Closed {
        /// Why, for programs.
        code: CloseCode,
        /// Why, for people.
        reason: String,
    },
    /// Silence for longer than the idle limit.
    #[error("the coordinator fell silent")]
    Silent,
    /// This side closed it.
    #[error("the connection was closed here")]
    Here,
    /// One stream was ended by the peer; the connection lives on.
    #[error("the coordinator ended a stream early")]
    StreamEnded,
    /// Anything else.
    #[error("the connection broke: {0}")]
    Broken(String),
}

impl Lost {
    /// Whether the same attempt may succeed later without anyone doing something here.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::ForeignAuthority(_)
            | Self::OutOfDates(_)
            | Self::CertificateRefused(_)
            | Self::Revoked => false,
            Self::Closed { code, .. } => !code.is_final(),
            _ => true,
        }
    }
}
