//! This client as its coordinator knows it: keys, certificate and what enrolment settled.

use std::sync::Arc;

use roundelay_crypto::identity::IdentityKey;
use roundelay_protocol::enrol::client_id;
use roundelay_protocol::ids::ClientId;
use roundelay_protocol::manifest::OwnEntry;
use roundelay_protocol::session::{ALPN, ALPN_MANIFESTS};
use rustls::pki_types::CertificateDer;

use super::connection::{Dialer, Lost};
use super::{QuicDialer, SessionError, tls};
use crate::checkpoint::{CheckpointError, StateDir};
use crate::identity::certificate::{Certificate, CertificateError};
use crate::identity::enrolment::{Enrolment, load_authority};
use crate::identity::{identity_key, tenant_key};

/// An enrolled client.
pub struct Site {
    /// Where it keeps everything.
    pub dir: StateDir,
    /// What enrolment settled.
    pub enrolment: Enrolment,
    /// Signs its rounds.
    pub identity: Arc<IdentityKey>,
    /// Its id.
    pub client: ClientId,
    /// Its keys, as manifests name them.
    pub own: OwnEntry,
    /// Its certificate of now.
    pub certificate: Certificate,
    authority: CertificateDer<'static>,
}

impl Site {
    /// Reads everything from the state directory.
    ///
    /// # Errors
    /// Something is missing, damaged, or another client's.
    pub fn load(dir: StateDir) -> Result<Self, CertificateError> {
        let missing = |name: &str| CheckpointError::Missing(dir.file(name));
        let enrolment = Enrolment::load(&dir)?
            .ok_or_else(|| CheckpointError::NotEnrolled(dir.path().to_owned()))?;
        let identity = identity_key(&dir)?.ok_or_else(|| missing("identity.key"))?;
        let tenant_key = tenant_key(&dir)?.ok_or_else(|| missing("tenant.key"))?;
        let client = client_id(&identity.public());
        let certificate = Certificate::load(&dir, &enrolment.tenant, client)?;
        let authority = load_authority(&dir, enrolment.authority)?;
        let own = OwnEntry {
            tenant: enrolment.tenant.clone(),
            tenant_key: tenant_key.public(),
            identity: identity.public(),
        };
        let identity = Arc::new(identity);
        Ok(Self { dir, enrolment, identity, client, own, certificate, authority })
    }

    /// Dials over QUIC with the certificate of now, to take part in rounds.
    ///
    /// # Errors
    /// TLS can't be set up with these keys.
    pub fn dialer(&self) -> Result<Arc<dyn Dialer>, SessionError> {
        self.dialer_of(ALPN)
    }

    /// The same for a verb about manifests: a daemon that runs meanwhile keeps its connection.
    pub(crate) fn manifest_dialer(&self) -> Result<Arc<dyn Dialer>, SessionError> {
        self.dialer_of(ALPN_MANIFESTS)
    }

    fn dialer_of(&self, protocol: &[u8]) -> Result<Arc<dyn Dialer>, SessionError> {
        let (chain, key) = (self.certificate.chain(), self.certificate.key());
        let tls = tls::enrolled(&self.authority, chain, key, protocol)
            .map_err(|error| Lost::Broken(format!("TLS can't be set up: {error}")))?;
        Ok(Arc::new(QuicDialer::new(tls)?))
    }
}
