//! Why a verb failed: one line for people, a code for programs, and the kind from which the exit
//! status of the process comes.

use std::io::ErrorKind;

pub use roundelay_protocol::exit::Kind;
use serde::{Deserialize, Serialize};

use crate::clients::ClientError;
use crate::federations::FederationError;
use crate::installation::InstallationError;
use crate::keys::KeyError;
use crate::server::driver::DriverError;
use crate::store::StoreError;

/// A verb that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct AdminError {
    /// What kind.
    pub kind: Kind,
    /// A stable code.
    pub code: String,
    /// One line that says what, where and what to do.
    pub message: String,
}

impl AdminError {
    /// A failure in words.
    #[must_use]
    pub fn new(kind: Kind, code: &str, message: impl std::fmt::Display) -> Self {
        let message = message.to_string().replace(['\n', '\r'], " ");
        Self { kind, code: code.to_owned(), message }
    }
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        let (kind, code) = match &error {
            StoreError::NoSuchTenant(_) => (Kind::NotFound, "unknown_tenant"),
            StoreError::NoSuchBlob { .. } => (Kind::NotFound, "unknown_blob"),
            StoreError::TenantExists(_) => (Kind::Conflict, "tenant_exists"),
            StoreError::Fenced(_) | StoreError::LeaseHeld { .. } => (Kind::Conflict, "lease_held"),
            StoreError::DiskFull { .. } | StoreError::Key(KeyError::DiskFull { .. }) => {
                (Kind::Internal, "disk_full")
            }
            StoreError::Denied { .. } | StoreError::Key(KeyError::Denied { .. }) => {
                (Kind::Configuration, "denied")
            }
            StoreError::Corrupt { .. } => (Kind::Damaged, "corrupt"),
            StoreError::Unsealable { .. } => (Kind::Damaged, "unsealable"),
            StoreError::Key(KeyError::Foreign(_)) => (Kind::Damaged, "foreign_key"),
            StoreError::Key(KeyError::Missing { .. } | KeyError::BadFile { .. }) => {
                (Kind::Configuration, "key")
            }
            StoreError::AuditBroken { .. } => (Kind::Damaged, "audit_broken"),
            _ => (Kind::Internal, "store"),
        };
        Self::new(kind, code, error)
    }
}

impl From<ClientError> for AdminError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Store(error) => error.into(),
            ClientError::Unknown(_) => Self::new(Kind::NotFound, error.code(), error),
            _ => Self::new(Kind::Internal, error.code(), error),
        }
    }
}

impl From<FederationError> for AdminError {
    fn from(error: FederationError) -> Self {
        let kind = match &error {
            FederationError::Store(_) => Kind::Internal,
            FederationError::Unknown(_)
            | FederationError::NotNamed
            | FederationError::NoSuchManifest => Kind::NotFound,
            FederationError::NameTaken(_)
            | FederationError::NotSigned { .. }
            | FederationError::ManifestChanged => Kind::Conflict,
            FederationError::NothingChanges
            | FederationError::NoClients(_)
            | FederationError::MemberTwice(_)
            | FederationError::OwnerNotMember(_)
            | FederationError::Manifest(_)
            | FederationError::Signature(_) => Kind::Invalid,
        };
        match error {
            FederationError::Store(error) => error.into(),
            other => Self::new(kind, other.code(), other),
        }
    }
}

impl From<InstallationError> for AdminError {
    fn from(error: InstallationError) -> Self {
        match error {
            InstallationError::Store(error) => error.into(),
            InstallationError::Folder { ref why, .. } => {
                let (kind, code) = match why.kind() {
                    ErrorKind::StorageFull => (Kind::Internal, "disk_full"),
                    _ => (Kind::Configuration, "data_folder"),
                };
                Self::new(kind, code, error)
            }
            InstallationError::Missing(_) => {
                Self::new(Kind::Configuration, "no_installation", error)
            }
            InstallationError::InUse(_) => Self::new(Kind::Conflict, "data_in_use", error),
            InstallationError::NoStore { .. }
            | InstallationError::NoticeKey
            | InstallationError::Authority(_) => Self::new(Kind::Damaged, "corrupt", error),
            other => Self::new(Kind::Internal, "installation", other),
        }
    }
}

impl From<DriverError> for AdminError {
    fn from(error: DriverError) -> Self {
        let (kind, code) = match error {
            DriverError::Store(error) => return error.into(),
            DriverError::NotRunning(_) => (Kind::Conflict, "not_running"),
            DriverError::Finished(_) => (Kind::Conflict, "finished"),
            DriverError::Load(_) => (Kind::Conflict, "cannot_run"),
            DriverError::Trouble(_) => (Kind::Conflict, "trouble"),
            DriverError::Closed => (Kind::Unreachable, "shutting_down"),
            DriverError::Spool { .. } => (Kind::Configuration, "spool"),
        };
        Self::new(kind, code, error)
    }
}
