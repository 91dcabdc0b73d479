//! Key-encryption keys: one per tenant and one of the installation. Nobody but a [`Kms`] sees
//! them; the store hands it the data keys of single values to wrap and unwrap. [`FileKms`] keeps
//! them in files and is the default; an HSM or a cloud service fits behind the same trait. A
//! tenant's end is the end of its key: what is sealed under it is then noise, backups included.

use std::fmt;
use std::path::PathBuf;

use async_trait::async_trait;
use roundelay_crypto::envelope::DataKey;
use roundelay_protocol::ids::TenantId;

mod file;

pub use file::FileKms;

/// Whose key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// The installation's own.
    Installation,
    /// A tenant's.
    Tenant(TenantId),
}

impl Scope {
    /// A name that no other scope has: no tenant's name holds a `_`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Installation => "_installation",
            Self::Tenant(tenant) => tenant.as_str(),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installation => f.write_str("the installation"),
            Self::Tenant(tenant) => write!(f, "tenant {tenant}"),
        }
    }
}

/// Holds key-encryption keys and uses them; never hands one out.
#[async_trait]
pub trait Kms: Send + Sync {
    /// Makes the key of a scope, durably. A key that is there already stays.
    async fn create(&self, scope: &Scope) -> Result<(), KeyError>;

    /// Wraps the data key of a value under the scope's key. The bytes are the provider's own
    /// format, at most 64 KiB.
    async fn wrap(&self, scope: &Scope, key: &DataKey) -> Result<Vec<u8>, KeyError>;

    /// Unwraps what [`Kms::wrap`] made for the same scope.
    async fn unwrap(&self, scope: &Scope, wrapped: &[u8]) -> Result<DataKey, KeyError>;

    /// Destroys the key of a scope. Nothing that was wrapped under it opens again.
    async fn destroy(&self, scope: &Scope) -> Result<(), KeyError>;
}

/// Why a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no such key.
    #[error("the key of {scope} is not at {}; restore it from a backup: without it nothing of {scope} can be read", path.display())]
    Missing {
        /// Whose.
        scope: Scope,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file is not a key, or others may read it.
    #[error("{} {why}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what to do.
        why: String,
    },
    /// The wrapped key was not made under this key.
    #[error(
        "a value of {0} does not open under the key at hand: one of them was altered, or they are not \
         of the same backup; restore the data folder, `keys` and all, from one backup"
    )]
    Foreign(Scope),
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
    /// The operating system refused.
    #[error("{what} at {}: {why}", path.display())]
    Failed {
        /// What was being done.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// The cause.
        why: String,
    },
}
