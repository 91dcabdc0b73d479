//! The TLS certificate of a client: requested with a key that is made here, kept with it in one
//! file, and asked for anew at two thirds of its life.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use roundelay_protocol::codec;
use roundelay_protocol::enrol::CERTIFICATE_BYTES_MAX;
use roundelay_protocol::ids::{ClientId, TenantId};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;
use zeroize::Zeroizing;

use crate::checkpoint::files::{Access, Kind, read_sealed, write_sealed};
use crate::checkpoint::{CheckpointError, StateDir};

const CERTIFICATE: Kind = Kind { name: "certificate", format: 1 };
const PENDING: Kind = Kind { name: "pending-key", format: 1 };
const CERTIFICATE_FILE: &str = "tls/client";
const PENDING_FILE: &str = "tls/pending";
const FILE_BYTES_MAX: u64 = 8 << 10;

/// Why a certificate is not one of this client.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The bytes are no certificate, or not one that names a client.
    #[error("the coordinator sent something that is not a client's certificate")]
    Malformed,
    /// It was made for another key.
    #[error("the coordinator sent a certificate for another key than this client's")]
    ForeignKey,
    /// It names someone else.
    #[error(
        "the certificate is for client {client} of tenant {tenant}, which is not this client; \
         enrol again in a directory of its own"
    )]
    ForeignName {
        /// The tenant in it.
        tenant: String,
        /// The client in it.
        client: String,
    },
    /// A key or a request could not be made.
    #[error("internal error: {0}")]
    Internal(#[from] rcgen::Error),
    /// The state directory can't be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// A key that waits for its certificate.
pub struct PendingKey {
    key: KeyPair,
}

impl PendingKey {
    /// A new key, in memory alone.
    ///
    /// # Errors
    /// The library can't make one.
    pub fn new() -> Result<Self, CertificateError> {
        Ok(Self { key: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)? })
    }

    /// The key of an enrolment that was cut short, or a new one, kept on disk: a token is bound to
    /// the first key that it is used with.
    ///
    /// # Errors
    /// It can't be read or written.
    pub fn kept(dir: &StateDir) -> Result<Self, CertificateError> {
        let path = dir.file(PENDING_FILE);
        if let Some(bytes) = read_sealed(&path, PENDING, FILE_BYTES_MAX)?.map(Zeroizing::new) {
            let key = PrivatePkcs8KeyDer::from(bytes.as_slice());
            let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256)?;
            return Ok(Self { key });
        }
        let pending = Self::new()?;
        write_sealed(&path, PENDING, Access::Secret, pending.key.serialized_der())?;
        Ok(pending)
    }

    /// A request for a certificate of this key, PKCS #10, DER. The coordinator decides on the names.
    ///
    /// # Errors
    /// The library can't make one.
    pub fn request(&self) -> Result<Vec<u8>, CertificateError> {
        let request = CertificateParams::default().serialize_request(&self.key)?;
        Ok(request.der().to_vec())
    }

    /// Takes the certificate that was made for this key, if it names this client, and keeps both.
    ///
    /// # Errors
    /// It is for another key or name, or can't be written.
    pub fn certified(
        self,
        dir: &StateDir,
        certificate: &[u8],
        tenant: &TenantId,
        client: ClientId,
    ) -> Result<Certificate, CertificateError> {
        let key = Zeroizing::new(self.key.serialize_der());
        let kept = Certificate::parse(certificate, key, tenant, client)?;
        let spki = self.key.subject_public_key_info();
        if kept.subject_public_key_info != spki {
            return Err(CertificateError::ForeignKey);
        }
        kept.save(dir)?;
        // Best effort: a leftover only makes the next enrolment use the same key again.
        let _ = std::fs::remove_file(dir.file(PENDING_FILE));
        Ok(kept)
    }
}

/// A certificate with its key.
pub struct Certificate {
    certificate: CertificateDer<'static>,
    key: Zeroizing<Vec<u8>>,
    not_before: SystemTime,
    not_after: SystemTime,
    subject_public_key_info: Vec<u8>,
}

impl Certificate {
    /// The certificate in the state directory.
    ///
    /// # Errors
    /// There is none, or it names someone else.
    pub fn load(
        dir: &StateDir,
        tenant: &TenantId,
        client: ClientId,
    ) -> Result<Self, CertificateError> {
        let path = dir.file(CERTIFICATE_FILE);
        let bytes = read_sealed(&path, CERTIFICATE, FILE_BYTES_MAX)?
            .map(Zeroizing::new)
            .ok_or_else(|| CheckpointError::Missing(path.clone()))?;
        super::refuse_exposed(&path)?;
        let (certificate, key): (Vec<u8>, Vec<u8>) = codec::decode(&bytes, bytes.len())
            .map_err(|error| CheckpointError::damaged(&path, error.to_string()))?;
        Self::parse(&certificate, Zeroizing::new(key), tenant, client)
    }

    fn save(&self, dir: &StateDir) -> Result<(), CheckpointError> {
        let body = Zeroizing::new(codec::encode(&(self.certificate.as_ref(), self.key.as_slice())));
        write_sealed(&dir.file(CERTIFICATE_FILE), CERTIFICATE, Access::Secret, &body)
    }

    fn parse(
        certificate: &[u8],
        key: Zeroizing<Vec<u8>>,
        tenant: &TenantId,
        client: ClientId,
    ) -> Result<Self, CertificateError> {
        if certificate.len() > CERTIFICATE_BYTES_MAX {
            return Err(CertificateError::Malformed);
        }
        let (rest, parsed) =
            parse_x509_certificate(certificate).map_err(|_| CertificateError::Malformed)?;
        let names = parsed.subject_alternative_name().ok().flatten();
        let names = names.map(|names| names.value.general_names.as_slice());
        let (true, Some([GeneralName::URI(uri)])) = (rest.is_empty(), names) else {
            return Err(CertificateError::Malformed);
        };
        check_name(uri, tenant, client)?;
        let validity = parsed.validity();
        Ok(Self {
            not_before: moment(validity.not_before.timestamp()),
            not_after: moment(validity.not_after.timestamp()),
            subject_public_key_info: parsed.public_key().raw.to_vec(),
            certificate: CertificateDer::from(certificate.to_vec()),
            key,
        })
    }

    /// What TLS shows.
    #[must_use]
    pub fn chain(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    /// What TLS signs with.
    #[must_use]
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.to_vec()).into()
    }

    /// When to ask for the next one: at two thirds of its life.
    #[must_use]
    pub fn renew_at(&self) -> SystemTime {
        let life = self.not_after.duration_since(self.not_before).unwrap_or(Duration::ZERO);
        self.not_before + life * 2 / 3
    }

    /// The end of its life.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }
}

fn check_name(uri: &str, tenant: &TenantId, client: ClientId) -> Result<(), CertificateError> {
    let rest = uri.strip_prefix("spiffe://roundelay/tenant/").ok_or(CertificateError::Malformed)?;
    let (named, id) = rest.split_once("/client/").ok_or(CertificateError::Malformed)?;
    if named == tenant.as_str() && id == client.to_string() {
        return Ok(());
    }
    Err(CertificateError::ForeignName { tenant: named.to_owned(), client: id.to_owned() })
}

fn moment(unix_seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(unix_seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateSigningRequestParams, Issuer, SanType};
    use roundelay_crypto::digest::Digest;
    use rustls::pki_types::CertificateSigningRequestDer;

    use super::*;

    const CLIENT: ClientId = ClientId(Digest([7; 32]));

    fn dir() -> (tempfile::TempDir, StateDir) {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::create(root.path()).unwrap();
        (root, dir)
    }

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    /// What a coordinator would answer to a request.
    fn issue(request: &[u8], name: &str) -> Vec<u8> {
        let request = CertificateSigningRequestDer::from(request);
        let request = CertificateSigningRequestParams::from_der(&request).unwrap();
        let mut params = CertificateParams::default();
        let uri = format!("spiffe://roundelay/tenant/{name}/client/{CLIENT}");
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        let now = time::OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        (params.not_before, params.not_after) = (now, now + time::Duration::hours(24));
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::new(CertificateParams::default(), key);
        params.signed_by(&request.public_key, &issuer).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_is_kept_with_its_key_and_renewed_at_two_thirds_of_its_life() {
        let (_root, dir) = dir();
        let pending = PendingKey::kept(&dir).unwrap();
        let certificate = issue(&pending.request().unwrap(), "acme");
        pending.certified(&dir, &certificate, &tenant("acme"), CLIENT).unwrap();
        let kept = Certificate::load(&dir, &tenant("acme"), CLIENT).unwrap();
        assert_eq!(kept.chain().as_ref(), certificate);
        assert_eq!(kept.renew_at(), moment(1_800_000_000 + 16 * 3600));
    }

    #[test]
    fn an_enrolment_that_was_cut_short_goes_on_with_the_same_key() {
        let (_root, dir) = dir();
        let first = PendingKey::kept(&dir).unwrap().key.serialize_der();
        assert_eq!(PendingKey::kept(&dir).unwrap().key.serialize_der(), first);
        let pending = PendingKey::kept(&dir).unwrap();
        let certificate = issue(&pending.request().unwrap(), "acme");
        pending.certified(&dir, &certificate, &tenant("acme"), CLIENT).unwrap();
        assert_ne!(PendingKey::kept(&dir).unwrap().key.serialize_der(), first);
    }

    #[test]
    fn a_certificate_for_another_key_tenant_or_client_is_refused() {
        let (_root, dir) = dir();
        let other = PendingKey::new().unwrap().request().unwrap();
        let refused = PendingKey::new()
            .unwrap()
            .certified(&dir, &issue(&other, "acme"), &tenant("acme"), CLIENT)
            .err();
        assert!(matches!(refused, Some(CertificateError::ForeignKey)));
        let pending = PendingKey::new().unwrap();
        let certificate = issue(&pending.request().unwrap(), "umbrella");
        let refused = pending.certified(&dir, &certificate, &tenant("acme"), CLIENT).err();
        assert!(matches!(refused, Some(CertificateError::ForeignName { .. })));
        assert!(!dir.file(CERTIFICATE_FILE).exists());
    }

    #[test]
    fn the_certificate_file_of_another_directory_is_refused() {
        let (_root, dir) = dir();
        let pending = PendingKey::new().unwrap();
        let certificate = issue(&pending.request().unwrap(), "acme");
        pending.certified(&dir, &certificate, &tenant("acme"), CLIENT).unwrap();
        let error = Certificate::load(&dir, &tenant("umbrella"), CLIENT).err().unwrap();
        assert!(error.to_string().contains("tenant acme"), "{error}");
    }
}
