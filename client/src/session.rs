//! The connection to the coordinator: dialled over QUIC, pinned to the authority of enrolment and
//! not to an address, kept alive, moved by signed notices, and found again after it was lost.

use roundelay_protocol::close::CloseCode;
use roundelay_protocol::session::{Refused, SignedNotice};

use crate::gate::GateError;

pub mod backoff;
pub mod connection;
pub(crate) mod driver;
pub(crate) mod federation;
pub(crate) mod frames;
pub mod link;
#[cfg(test)]
pub(crate) mod memory;
pub mod notice;
mod order;
mod quic;
pub mod site;
pub(crate) mod tls;
pub(crate) mod trainer;

use backoff::Failure;
use connection::Lost;
pub use quic::QuicDialer;

/// Why a session can't begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The connection is gone.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// The coordinator refused, in its own words.
    #[error("the coordinator refuses ({}): {}", .0.code, .0.message)]
    Refused(Refused),
    /// The coordinator asks to come back later or elsewhere.
    #[error("the coordinator asks to come back later or elsewhere")]
    Notice(Box<SignedNotice>),
    /// The coordinator stops for a while.
    #[error("the coordinator stops, and asks its clients to come back")]
    ComeBack,
    /// The clocks are too far apart.
    #[error(
        "this machine's clock is {minutes} minutes {} the coordinator's; set it (60 minutes are \
         tolerated)",
        if *.ahead { "ahead of" } else { "behind" }
    )]
    Clock {
        /// How far.
        minutes: u64,
        /// Whether this machine's is the later one.
        ahead: bool,
    },
    /// A version that this build does not speak.
    #[error("the coordinator chose wire version {0}, which this build does not speak; update it")]
    Version(u16),
    /// The coordinator broke the rules of the wire.
    #[error("the coordinator sent something that is not of the protocol: {0}")]
    Malformed(String),
    /// The coordinator did not answer in time.
    #[error("the coordinator took too long to answer")]
    TooSlow,
    /// Something could not be sent.
    #[error(transparent)]
    Gate(#[from] GateError),
}

impl SessionError {
    fn malformed(error: &dyn std::fmt::Display) -> Self {
        Self::Malformed(error.to_string())
    }

    /// What the coordinator is told when this side ends the connection over it.
    #[must_use]
    pub fn close_code(&self) -> CloseCode {
        match self {
            Self::Malformed(_) => CloseCode::Malformed,
            Self::Version(_) => CloseCode::VersionUnsupported,
            Self::TooSlow => CloseCode::TooSlow,
            _ => CloseCode::Done,
        }
    }

    /// Whether the attempt drew an answer, of whatever kind.
    fn failure(&self) -> Failure {
        match self {
            Self::Lost(Lost::Unanswered(_) | Lost::Silent) => Failure::Unanswered,
            _ => Failure::Answered,
        }
    }

    /// Whether the same attempt may succeed later without anyone doing something here.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Lost(lost) | Self::Gate(GateError::Lost(lost)) => lost.may_pass(),
            Self::Clock { .. } | Self::Version(_) | Self::Refused(_) => false,
            Self::Gate(GateError::Checkpoint(_) | GateError::TooLarge(_)) => false,
            Self::Notice(_) | Self::ComeBack | Self::Malformed(_) | Self::TooSlow => true,
            Self::Gate(GateError::NotConnected) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_alone_counts_as_unanswered() {
        let closed = Lost::Closed { code: CloseCode::Busy, reason: "full".to_owned() };
        for (error, failure) in [
            (Lost::Unanswered("a:1".to_owned()).into(), Failure::Unanswered),
            (Lost::Silent.into(), Failure::Unanswered),
            (closed.into(), Failure::Answered),
            (Lost::Broken("reset by peer".to_owned()).into(), Failure::Answered),
            (SessionError::TooSlow, Failure::Answered),
        ] {
            assert_eq!(SessionError::failure(&error), failure, "{error}");
        }
    }
}
