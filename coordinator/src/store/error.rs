//! What can go wrong in the store, each with what, where and what to do.

use std::path::PathBuf;

use roundelay_protocol::ids::{FederationId, TenantId};
use roundelay_protocol::session::Refused;

use super::LeaseName;
use crate::keys::KeyError;

/// As a client is told of a failure inside the coordinator. What went wrong there is for its log
/// alone, but for a full disk: trying again is of no use before its operator has looked.
pub(crate) fn told_of_failure(
    error: &dyn std::fmt::Display,
    store: Option<&StoreError>,
) -> Refused {
    tracing::error!(%error, "a client could not be served");
    if store.is_some_and(StoreError::is_disk_full) {
        let words = "the coordinator's disk is full and it can't store this; tell its operator, \
                     and try again once there is room";
        return Refused::new("coordinator_disk_full", words);
    }
    Refused::new("internal", "the coordinator had an internal error; try again")
}

/// Why the store refused or failed. Nothing of the batch was applied, unless the variant says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another process drives the federation now.
    #[error("the lease of federation {} was taken by another process; this one stops driving it", .0.federation)]
    Fenced(LeaseName),
    /// A write that drives rounds came without the fence of its federation.
    #[error(
        "internal error: {write} of federation {federation} came without the fence of its lease"
    )]
    FenceMissing {
        /// The write.
        write: &'static str,
        /// The federation that it is for.
        federation: FederationId,
    },
    /// Somebody else holds the lease.
    #[error("federation {} is driven by {holder} until {until_unix_ms} ms since 1970; stop that process or wait", lease.federation)]
    LeaseHeld {
        /// The lease.
        lease: LeaseName,
        /// Who holds it.
        holder: String,
        /// When it runs out.
        until_unix_ms: u64,
    },
    /// No such tenant.
    #[error("there is no tenant {0}; add it with `roundelay-coordinator tenant add {0}`")]
    NoSuchTenant(TenantId),
    /// The tenant is there already.
    #[error(
        "tenant {0} exists already; choose another name, or go on with `enrol-token --tenant {0}`"
    )]
    TenantExists(TenantId),
    /// A write on behalf of a tenant that is no member of the federation.
    #[error("tenant {tenant} is not a member of federation {federation}")]
    NotAMember {
        /// The tenant.
        tenant: TenantId,
        /// The federation.
        federation: FederationId,
    },
    /// The federation belongs to another tenant.
    #[error("federation {federation} does not belong to tenant {tenant}")]
    NotTheOwner {
        /// The tenant whose handle was used.
        tenant: TenantId,
        /// The federation.
        federation: FederationId,
    },
    /// No token with this secret was issued, or it was forgotten.
    #[error(
        "the enrolment token is not one that this coordinator issued, or it expired more than 30 \
         days ago; ask its operator for a new one"
    )]
    TokenUnknown,
    /// The token is too old.
    #[error("the enrolment token has expired; ask the operator for a new one")]
    TokenExpired,
    /// The token was used with another key.
    #[error("the enrolment token was used already; ask the operator for a new one")]
    TokenUsed,
    /// The token enrols clients of another tenant than the one that uses it.
    #[error(
        "the enrolment token is for another tenant, and this directory is enrolled for {0}; the \
         token is unused: use it in a directory of its own (`--dir`), or ask the operator for one \
         for {0}"
    )]
    TokenOfOtherTenant(TenantId),
    /// The database was written by a newer build.
    #[error("{} has schema version {found}, this build knows up to {known}; run the build that wrote it, or a newer one", path.display())]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that this build knows.
        known: u32,
    },
    /// No room left.
    #[error("no space left at {} while {what}; nothing was lost, free some space and try again", path.display())]
    DiskFull {
        /// What was being done.
        what: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// This user may not read or write there.
    #[error(
        "no permission at {} while {what}; let this user read and write all that is in the data \
         folder, or choose another one (`--data`)",
        path.display()
    )]
    Denied {
        /// What was being done.
        what: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// Bytes on disk are not what was written.
    #[error("{} is damaged ({what}); restore it from a backup", path.display())]
    Corrupt {
        /// What was found.
        what: String,
        /// Where.
        path: PathBuf,
    },
    /// A sealed value does not open: it was altered, moved to another place, or its key is not
    /// the one at hand.
    #[error(
        "the sealed value at {place} does not open: it was altered or moved, or the tenant's key is not the one it was sealed under; restore both from the same backup"
    )]
    Unsealable {
        /// Tenant, table and row.
        place: String,
    },
    /// A value opens but is not of the type that this build keeps there.
    #[error(
        "the value at {place} is not what this build keeps there ({why}); run the build that wrote it"
    )]
    Undecodable {
        /// Tenant, table and row.
        place: String,
        /// What does not decode.
        why: String,
    },
    /// A key-encryption key is not there or cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The audit log does not follow from its entries.
    #[error("the audit log of tenant {tenant} is broken at entry {entry}: {what}")]
    AuditBroken {
        /// Whose log.
        tenant: TenantId,
        /// Sequence number of the first bad entry.
        entry: u64,
        /// What does not follow.
        what: String,
    },
    /// Another process kept the database locked.
    #[error("{} is locked by another process; try again", path.display())]
    Busy {
        /// The database.
        path: PathBuf,
    },
    /// There is no blob of this name.
    #[error("there is no blob {name} of tenant {tenant}")]
    NoSuchBlob {
        /// Whose.
        tenant: TenantId,
        /// Its name.
        name: roundelay_crypto::digest::Digest,
    },
    /// The operating system or the database refused.
    #[error("{what} at {}: {why}", path.display())]
    Failed {
        /// What was being done.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The cause in its own words.
        why: String,
    },
    /// The store was shut down, or its writer has died.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// Whether a write failed for want of room.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::DiskFull { .. } | Self::Key(KeyError::DiskFull { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_hears_of_a_full_disk_and_of_no_other_failure_inside() {
        let path = PathBuf::from("/data/store.sqlite");
        let full = StoreError::DiskFull { what: "committing", path };
        let told = told_of_failure(&full, Some(&full));
        assert_eq!(told.code.to_string(), "coordinator_disk_full");
        assert!(told.message.to_string().contains("tell its operator"), "{told:?}");
        assert!(!told.message.to_string().contains("/data"), "{told:?}");
        let told = told_of_failure(&StoreError::Closed, Some(&StoreError::Closed));
        assert_eq!(told.code.to_string(), "internal");
    }
}
