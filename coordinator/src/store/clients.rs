//! Enrolled clients: what enrolment learned about each, the certificates that it was given, and
//! whether it was revoked.

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::IdentityPublic;
use roundelay_protocol::ids::ClientId;
use serde::{Deserialize, Serialize};

/// One enrolled daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Fingerprint of `identity`.
    pub client: ClientId,
    /// Its federation identity key.
    pub identity: IdentityPublic,
    /// The tenant's key that it presented, which signs manifests.
    pub tenant_key: IdentityPublic,
    /// When it enrolled, milliseconds since 1970.
    pub enrolled_unix_ms: u64,
    /// Certificates that were issued to it, oldest first.
    pub certificates: Vec<IssuedCertificate>,
    /// When it was revoked, milliseconds since 1970.
    pub revoked_unix_ms: Option<u64>,
}

/// A certificate as the coordinator remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedCertificate {
    /// Its serial number, big endian.
    pub serial: Vec<u8>,
    /// Hash of the public key in it.
    pub key: Digest,
    /// End of its life, milliseconds since 1970.
    pub not_after_unix_ms: u64,
}
