//! Why the coordinator ends a connection: a code for the client's program, a sentence for its
//! people, and one line for the coordinator's own log.

use std::fmt;

use roundelay_protocol::close::CloseCode;
use roundelay_protocol::codec::{DecodeError, OversizedFrame};

use super::transport::Lost;

/// The end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Closing {
    /// The coordinator closes it.
    #[error("{code}: {reason}")]
    Ours {
        /// For the program.
        code: CloseCode,
        /// For people.
        reason: String,
    },
    /// It is gone already.
    #[error("{0}")]
    Theirs(#[from] Lost),
}

impl Closing {
    /// Closes with a code and a reason.
    pub fn new(code: CloseCode, reason: impl fmt::Display) -> Self {
        Self::Ours { code, reason: reason.to_string() }
    }

    /// The peer sent something that is no message here.
    pub fn malformed(reason: impl fmt::Display) -> Self {
        Self::new(CloseCode::Malformed, reason)
    }

    /// The peer took longer than `ms` for `what`.
    pub fn too_slow(what: &str, ms: u32) -> Self {
        Self::new(CloseCode::TooSlow, format_args!("{what} took longer than {ms} ms"))
    }

    /// Something of the coordinator's own failed; the cause is for its log, not for the peer.
    pub fn internal(cause: &impl fmt::Display) -> Self {
        tracing::error!(%cause, "a connection is closed for a fault of the coordinator");
        Self::new(CloseCode::Internal, "the coordinator had an internal error; try again")
    }

    /// Whether the peer is to blame: worth a line in the log at level warning.
    #[must_use]
    pub fn blames_peer(&self) -> bool {
        match self {
            Self::Ours { code, .. } => code.number() >= 16 || *code == CloseCode::TooSlow,
            Self::Theirs(_) => false,
        }
    }
}

impl From<OversizedFrame> for Closing {
    fn from(error: OversizedFrame) -> Self {
        Self::new(CloseCode::TooLarge, error)
    }
}

impl From<DecodeError> for Closing {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::TooLong { .. } => Self::new(CloseCode::TooLarge, error),
            other => Self::malformed(other),
        }
    }
}
