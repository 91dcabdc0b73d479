//! Why a verb failed, and with which exit code.

use roundelay_protocol::enrol::BadToken;
use roundelay_protocol::exit::Kind;
use roundelay_protocol::manifest::{AncestryError, PinError};
use roundelay_protocol::session::Refused;

use crate::checkpoint::CheckpointError;
use crate::checkpoint::pins::PinsError;
use crate::config::ConfigError;
use crate::enrol::EnrolError;
use crate::gate::GateError;
use crate::identity::certificate::CertificateError;
use crate::sdk::{Cause, ClientError};
use crate::session::SessionError;
use roundelay_program::Failure;

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
    /// The manifest is impossible, a signature on it or on one that it follows is wrong, or it does
    /// not follow from the one that is pinned.
    #[error("the manifest does not verify: {0}")]
    Manifest(#[from] AncestryError),
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
    /// The name that was asked for is not one federation's alone.
    #[error("several federations are called `{wanted}`; give the id: {}", .known.join(", "))]
    SeveralFederations {
        /// What was asked for.
        wanted: String,
        /// Those of that name.
        known: Vec<String>,
    },
    /// Neither a member nor a client of the manifest.
    #[error(
        "`{wanted}` is no member of this federation and no fingerprint of a client; its members \
         are {}",
        .members.join(", ")
    )]
    NoSuchPeer {
        /// What was given.
        wanted: String,
        /// Who there is.
        members: Vec<String>,
    },
    /// The manifest relies on more peers than were compared.
    #[error(
        "the manifest wants at least {required} pinned peers in every round, and the fingerprints \
         of {compared} were compared by another channel; compare those of `manifest show` with \
         their tenants and name them with --compared NAME,…"
    )]
    TooFewCompared {
        /// What the manifest says.
        required: u16,
        /// Peers that were compared.
        compared: usize,
    },
    /// The tenant's key is not here.
    #[error(
        "the manifest's key of this tenant is not the one in tenant.key; sign where the tenant's \
         key is kept"
    )]
    OtherTenantKey,
    /// Nothing was signed: nobody said yes, or there was nothing to say it to.
    #[error("{0}")]
    NotConfirmed(&'static str),
    /// Standard input could not be read.
    #[error("standard input: {0}; hand the token over through a pipe, or as `--token TOKEN`")]
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
    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Token(_) | Self::Input(_) | Self::NoSuchPeer { .. } => Kind::Invalid,
            Self::NoFederation { .. } | Self::SeveralFederations { .. } => Kind::NotFound,
            Self::Checkpoint(error) => checkpoint_kind(error),
            Self::Certificate(error) => certificate_kind(error),
            Self::Config(_) => Kind::Configuration,
            Self::Enrol(error) => enrol_kind(error),
            Self::Session(error) => session_kind(error),
            Self::Client(error) => client_kind(error),
            Self::Refused(_) => Kind::Refused,
            Self::Pin(_) | Self::Manifest(_) | Self::OtherTenantKey => Kind::Manifest,
            Self::NotConfirmed(_) | Self::TooFewCompared { .. } => Kind::Manifest,
            Self::Internal(_) => Kind::Internal,
        }
    }

    fn is_disk_full(&self) -> bool {
        let checkpoint = match self {
            Self::Checkpoint(error) | Self::Client(ClientError::Checkpoint(error)) => error,
            Self::Enrol(EnrolError::Checkpoint(error)) => error,
            Self::Session(SessionError::Gate(GateError::Checkpoint(error)))
            | Self::Client(ClientError::Session(SessionError::Gate(GateError::Checkpoint(
                error,
            )))) => error,
            _ => return false,
        };
        matches!(checkpoint, CheckpointError::DiskFull(_))
    }

    /// What is told of it.
    pub(crate) fn failure(&self) -> Failure {
        let kind = self.kind();
        let code = match self {
            Self::Refused(refused) => refused.code.to_string(),
            _ if self.is_disk_full() => "disk_full".to_owned(),
            _ => kind.name().to_owned(),
        };
        Failure::new(kind, &code, self)
    }
}

fn checkpoint_kind(error: &CheckpointError) -> Kind {
    match error {
        CheckpointError::DiskFull(_) => Kind::Internal,
        CheckpointError::Locked(_) => Kind::Conflict,
        CheckpointError::Damaged { .. } => Kind::Damaged,
        _ => Kind::Configuration,
    }
}

fn certificate_kind(error: &CertificateError) -> Kind {
    match error {
        CertificateError::Checkpoint(error) => checkpoint_kind(error),
        _ => Kind::Configuration,
    }
}

fn enrol_kind(error: &EnrolError) -> Kind {
    match error {
        EnrolError::Session(error) => session_kind(error),
        EnrolError::Refused(_) => Kind::Refused,
        EnrolError::ForeignToken(_) | EnrolError::OtherAuthority | EnrolError::Certificate(_) => {
            Kind::Unreachable
        }
        EnrolError::OtherCoordinator(_) | EnrolError::OtherTenant { .. } => Kind::Configuration,
        EnrolError::Checkpoint(error) => checkpoint_kind(error),
    }
}

fn session_kind(error: &SessionError) -> Kind {
    use crate::session::connection::Lost;
    match error {
        SessionError::Refused(_)
        | SessionError::Lost(Lost::CertificateRefused(_) | Lost::Revoked) => Kind::Refused,
        SessionError::Gate(GateError::Checkpoint(error)) => checkpoint_kind(error),
        SessionError::Gate(GateError::TooLarge(_)) => Kind::Internal,
        _ => Kind::Unreachable,
    }
}

fn client_kind(error: &ClientError) -> Kind {
    match error {
        ClientError::Checkpoint(error) => checkpoint_kind(error),
        ClientError::Certificate(error) => certificate_kind(error),
        ClientError::Session(error) => session_kind(error),
        ClientError::Federation { cause, .. } => match cause {
            Cause::Data => Kind::Data,
            Cause::Manifest => Kind::Manifest,
            Cause::State | Cause::Trainer => Kind::Configuration,
            Cause::Damaged => Kind::Damaged,
            Cause::Internal => Kind::Internal,
            Cause::Expelled | Cause::Stalled => Kind::Refused,
        },
        ClientError::Deadline { .. } => Kind::Deadline,
        ClientError::Incomplete(_) | ClientError::Runtime(_) => Kind::Internal,
    }
}
