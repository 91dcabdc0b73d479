//! The installation's certificate authority: it certifies the coordinator itself and, from requests
//! whose keys never leave the tenants, their clients.
//!
//! One authority per installation, made at first use and kept sealed in the store. Clients pin its
//! fingerprint when they enrol, and later accept any address that shows a certificate of it. A
//! client's certificate lives for 24 h and is renewed at two thirds of its life over the
//! authenticated connection; what revokes a client is its row in the store, not a list of serials.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use roundelay_crypto::digest::Digest;
use roundelay_crypto::kdf;
use roundelay_crypto::secret::{Secret, Seed};
use roundelay_protocol::enrol::{SERVER_NAME, authority_fingerprint};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

mod peer;
mod request;

pub use peer::{BadPeer, Peer, PeerCertificate};
pub use request::{BadRequest, CertificateRequest};

/// Life of a client's certificate.
pub const CLIENT_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Life of the coordinator's own certificate; it is replaced at two thirds, without a restart.
pub const SERVER_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// Life of the authority. Twice the support life of a release.
const AUTHORITY_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// A certificate is valid from a little before it was made: clocks differ.
const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// Why the authority could not certify.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// What the store kept is not an authority.
    #[error("the stored certificate authority is damaged; restore the store from a backup")]
    Damaged,
    /// The cryptographic library refused.
    #[error("internal error: a certificate could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The system's clock is before 1970 or after 9999.
    #[error("the system's clock is out of range; set it")]
    Clock,
}

/// The certificate authority of one installation, with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// A certificate that was just made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// DER.
    pub certificate: CertificateDer<'static>,
    /// Its serial number, big endian.
    pub serial: Vec<u8>,
    /// End of its life.
    pub not_after: SystemTime,
}

/// The coordinator's own certificate, its key, and the authority's certificate after it.
pub struct ServerIdentity {
    /// The leaf, then the authority: a client that knows only the fingerprint needs both.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
    /// End of the leaf's life.
    pub not_after: SystemTime,
}

impl Authority {
    /// A new authority.
    pub fn create(now: SystemTime) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let (mut params, _) = params("Roundelay installation", now, AUTHORITY_LIFE)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.der().clone();
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    /// The authority that [`to_secret`](Self::to_secret) wrote.
    pub fn from_secret(kept: &Secret<Vec<u8>>) -> Result<Self, AuthorityError> {
        let (length, rest) = kept.expose().split_first_chunk().ok_or(AuthorityError::Damaged)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let (certificate, key) = rest.split_at_checked(length).ok_or(AuthorityError::Damaged)?;
        let certificate = CertificateDer::from(certificate.to_vec());
        let key = PrivatePkcs8KeyDer::from(key);
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256)
            .map_err(|_| AuthorityError::Damaged)?;
        let issuer =
            Issuer::from_ca_cert_der(&certificate, key).map_err(|_| AuthorityError::Damaged)?;
        Ok(Self { issuer, certificate })
    }

    /// Certificate and key in one value, for the store to seal.
    #[must_use]
    pub fn to_secret(&self) -> Secret<Vec<u8>> {
        let length = u32::try_from(self.certificate.len()).unwrap_or(u32::MAX);
        let mut kept = length.to_le_bytes().to_vec();
        kept.extend_from_slice(&self.certificate);
        kept.extend_from_slice(self.issuer.key().serialized_der());
        Secret::new(kept)
    }

    /// A secret of this installation for another purpose, which `label` names.
    #[must_use]
    pub fn derived(&self, label: &str) -> Seed {
        let key = Digest::of("roundelay/authority/seed", &[self.issuer.key().serialized_der()]);
        kdf::derive(&Seed::new(key.0), label, &[])
    }

    /// Its certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// What clients pin.
    #[must_use]
    pub fn fingerprint(&self) -> Digest {
        authority_fingerprint(&self.certificate)
    }

    /// A certificate for the coordinator, with a new key that lives in memory only.
    pub fn certify_server(&self, now: SystemTime) -> Result<ServerIdentity, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let (mut params, not_after) = params("Roundelay coordinator", now, SERVER_LIFE)?;
        params.subject_alt_names = vec![SanType::DnsName(SERVER_NAME.try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&key, &self.issuer)?.der().clone();
        let chain = vec![leaf, self.certificate.clone()];
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        Ok(ServerIdentity { chain, key, not_after })
    }

    /// A certificate that makes the holder of the request's key this client of this tenant. What
    /// the request asks for beyond its key is ignored.
    pub fn certify_client(
        &self,
        request: &CertificateRequest,
        peer: &Peer,
        now: SystemTime,
        life: Duration,
    ) -> Result<Issued, AuthorityError> {
        let (mut params, not_after) = params("Roundelay client", now, life)?;
        params.subject_alt_names = vec![SanType::URI(peer.uri().try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let serial = params.serial_number.as_ref().map(SerialNumber::to_bytes).unwrap_or_default();
        let certificate = params.signed_by(request.public_key(), &self.issuer)?.der().clone();
        Ok(Issued { certificate, serial, not_after })
    }
}

/// What all certificates have in common, and the end of this one's life.
fn params(
    name: &str,
    now: SystemTime,
    life: Duration,
) -> Result<(CertificateParams, SystemTime), AuthorityError> {
    let not_after = now.checked_add(life).ok_or(AuthorityError::Clock)?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.serial_number = Some(random_serial());
    params.not_before = date(now.checked_sub(CLOCK_SKEW).ok_or(AuthorityError::Clock)?)?;
    params.not_after = date(not_after)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok((params, not_after))
}

fn date(at: SystemTime) -> Result<time::OffsetDateTime, AuthorityError> {
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| AuthorityError::Clock)?;
    let seconds = i64::try_from(seconds.as_secs()).map_err(|_| AuthorityError::Clock)?;
    time::OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| AuthorityError::Clock)
}

/// 127 random bits: positive, and never zero in practice (RFC 5280, 4.1.2.2).
fn random_serial() -> SerialNumber {
    let mut serial: [u8; 16] = rand::random();
    serial[0] = serial[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&serial)
}

#[cfg(test)]
mod tests;
