//! TLS for QUIC: version 1.3 alone, aws-lc-rs alone, the hybrid X25519MLKEM768 preferred.
//!
//! One configuration serves both application protocols, because QUIC picks it before the client
//! has named one: certificates are asked for and verified against the authority, and a handshake
//! without one succeeds. Whoever then speaks the protocol of enrolled clients must have shown a
//! certificate ([`super::admission`] is the one place that decides); a certificate that does not
//! verify fails the handshake in either. There is no session resumption, so every connection shows
//! its certificate anew.

use std::sync::Arc;

use roundelay_protocol::session::{ALPN, ALPN_ENROL, ALPN_MANIFESTS};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

use crate::authority::ServerIdentity;

/// Why TLS could not be set up: a fault of this build or of the stored authority.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// rustls refused the configuration.
    #[error("internal error: TLS could not be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The authority is no trust anchor.
    #[error("internal error: TLS could not be set up: {0}")]
    Verifier(#[from] VerifierBuilderError),
}

/// The one provider of cryptography, with hybrid key agreement first.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    let kx_groups = vec![kx_group::X25519MLKEM768, kx_group::X25519];
    Arc::new(CryptoProvider { kx_groups, ..default_provider() })
}

/// TLS of a coordinator that shows `identity` and takes clients certified by `authority`.
pub fn server_config(
    identity: ServerIdentity,
    authority: &CertificateDer<'static>,
) -> Result<ServerConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .allow_unauthenticated()
        .build()?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain, identity.key)?;
    config.alpn_protocols = [ALPN, ALPN_MANIFESTS, ALPN_ENROL].map(<[u8]>::to_vec).into();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}
