//! Requests for certificates (PKCS #10, RFC 2986): a public key and the proof that the sender holds
//! the secret half. Nothing else in a request is used.

use rcgen::{
    CertificateSigningRequestParams, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PublicKey, PublicKeyData,
};
use roundelay_crypto::digest::Digest;
use roundelay_protocol::enrol::CERTIFICATE_BYTES_MAX;
use rustls::pki_types::CertificateSigningRequestDer;

/// A request whose proof of possession holds.
pub struct CertificateRequest {
    key: PublicKey,
}

/// Why bytes are not a request that can be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// Too long.
    #[error("the certificate request has {bytes} bytes, at most {CERTIFICATE_BYTES_MAX} are taken")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not a request, or not signed by its own key.
    #[error("the certificate request is not PKCS #10 in DER, signed by the key in it")]
    Malformed,
    /// A key of another kind.
    #[error("the certificate request has a key that is neither ECDSA P-256 nor Ed25519")]
    KeyKind,
}

impl CertificateRequest {
    /// Parses DER and verifies the proof of possession.
    pub fn parse(der: &[u8]) -> Result<Self, BadRequest> {
        if der.len() > CERTIFICATE_BYTES_MAX {
            return Err(BadRequest::TooLong { bytes: der.len() });
        }
        let der = CertificateSigningRequestDer::from(der);
        let request = CertificateSigningRequestParams::from_der(&der);
        let key = request.map_err(|_| BadRequest::Malformed)?.public_key;
        let kinds = [&PKCS_ECDSA_P256_SHA256, &PKCS_ED25519];
        if kinds.contains(&key.algorithm()) { Ok(Self { key }) } else { Err(BadRequest::KeyKind) }
    }

    /// Hash of the public key: what a token is bound to.
    #[must_use]
    pub fn key_hash(&self) -> Digest {
        Digest::of("roundelay/authority/key", &[&self.key.subject_public_key_info()])
    }

    pub(super) fn public_key(&self) -> &PublicKey {
        &self.key
    }
}
