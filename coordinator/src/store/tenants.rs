//! The installation's own rows: its tenants and its secrets.

use roundelay_protocol::ids::TenantId;

/// So long after its end an enrolment token is still known as used or expired, whoever comes with it:
/// 30 days.
pub const TOKEN_REMEMBERED_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// A tenant of this installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its name, which leads every key.
    pub tenant: TenantId,
    /// When it was added, milliseconds since 1970.
    pub created_unix_ms: u64,
}

/// What the installation keeps for itself, sealed by the installation key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstallationSecret {
    /// Key and certificate of the certificate authority.
    Authority,
    /// Key that signs redirects.
    Notice,
}

impl InstallationSecret {
    /// Its row.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::Notice => "notice",
        }
    }
}
