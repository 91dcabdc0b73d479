//! Why a verb failed, and with which exit code.

use roundelay_protocol::enrol::BadToken;
use roundelay_protocol::manifest::{PinError, SignatureError};
use roundelay_protocol::session::Refused;

use super::Failure;
use crate::checkpoint::CheckpointError;
use crate::checkpoint::pins::PinsError;
use crate::config::ConfigError;
use crate::enrol::EnrolError;
use crate::gate::GateError;
use crate::identity::certificate::CertificateError;
use crate::sdk::{Cause, ClientError};
use crate::session::SessionError;

/// One line that says what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CliError {
    /// The token can't be read.
    #[error(transparent)]
    Token(#[from] BadToken),
    /// Enrolment.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// The state directory.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The connection.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A running client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The coordinator refused what was asked.
    #[error("the coordinator refuses: {} ({})", .0.message, .0.code)]
    Refused(Refused),
    /// The manifest names this client under other keys, or its tenant not at all.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The manifest is impossible, or a signature on it is wrong.
    #[error("the manifest does not verify: {0}")]
    Manifest(SignatureError),
    /// There is no such federation for this client.
    #[error(
        "no federation `{wanted}` names this client; {}",
        if .known.is_empty() {
            "none does yet: the operator has to create one with this tenant as a member".to_owned()
        } else {
            format!("there is {}", .known.join(", "))
        }
    )]
    NoFederation {
        /// What was asked for.
        wanted: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The tenant's key is not here.
    #[error(
        "the manifest's key of this tenant is not the one in tenant.key; sign where the tenant's \
         key is kept"
    )]
    OtherTenantKey,
    /// A newer manifest than the one that the coordinator lists is pinned.
    #[error("{0}")]
    NotConfirmed(&'static str),
    /// Standard input could not be read.
    #[error("standard input: {0}")]
    Input(std::io::Error),
    /// Nobody's fault but this program's.
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<GateError> for CliError {
    fn from(error: GateError) -> Self {
        match error {
            GateError::Checkpoint(error) => Self::Checkpoint(error),
            other => Self::Session(other.into()),
        }
    }
}

impl From<PinsError> for CliError {
    fn from(error: PinsError) -> Self {
        match error {
            PinsError::Pin(error) => Self::Pin(error),
            PinsError::Checkpoint(error) => Self::Checkpoint(error),
        }
    }
}

impl CliError {
    /// The exit code, as the module `cli` lists them.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Token(_) | Self::NoFederation { .. } => 2,
            Self::Checkpoint(_) | Self::Config(_) | Self::Certificate(_) => 3,
            Self::Enrol(error) => enrol_code(error),
            Self::Session(error) => session_code(error),
            Self::Client(error) => client_code(error),
            Self::Refused(_) => 6,
            Self::Pin(_) | Self::Manifest(_) | Self::OtherTenantKey | Self::NotConfirmed(_) => 8,
            Self::Input(_) | Self::Internal(_) => 1,
        }
    }

    /// What is told of it.
    pub(crate) fn failure(&self) -> Failure {
        let kind = self.kind();
        let code = match self {
            Self::Refused(refused) => refused.code.to_string(),
            _ => kind.to_owned(),
        };
        Failure { kind, code, message: self.to_string(), exit: self.exit_code() }
    }

    /// A stable name of the exit code, for programs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.exit_code() {
            2 => "usage",
            3 => "configuration",
            4 => "data",
            5 => "unreachable",
            6 => "refused",
            7 => "deadline",
            8 => "manifest",
            _ => "internal",
        }
    }
}

fn enrol_code(error: &EnrolError) -> u8 {
    match error {
        EnrolError::Session(error) => session_code(error),
        EnrolError::Refused(_) => 6,
        EnrolError::OtherAuthority | EnrolError::Certificate(_) => 5,
        EnrolError::OtherCoordinator(_)
        | EnrolError::OtherTenant { .. }
        | EnrolError::Checkpoint(_) => 3,
    }
}

fn session_code(error: &SessionError) -> u8 {
    use crate::session::connection::Lost;
    match error {
        SessionError::Refused(_) | SessionError::Lost(Lost::CertificateRefused(_)) => 6,
        SessionError::Gate(GateError::Checkpoint(_)) => 3,
        SessionError::Gate(GateError::TooLarge(_)) => 1,
        _ => 5,
    }
}

fn client_code(error: &ClientError) -> u8 {
    match error {
        ClientError::Checkpoint(_) | ClientError::Certificate(_) => 3,
        ClientError::Session(error) => session_code(error),
        ClientError::Federation { cause, .. } => match cause {
            Cause::Data | Cause::Trainer => 4,
            Cause::Manifest => 8,
            Cause::State => 3,
            Cause::Internal => 1,
        },
        ClientError::Deadline { .. } => 7,
        ClientError::Incomplete(_) | ClientError::Runtime(_) => 1,
    }
}
