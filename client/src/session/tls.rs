//! Whom this client trusts and who it says it is: TLS 1.3 alone, hybrid key exchange preferred, the
//! coordinator's authority pinned, a client certificate that names tenant and client.

use std::sync::Arc;

use roundelay_crypto::digest::Digest;
use roundelay_protocol::enrol::authority_fingerprint;
use roundelay_protocol::session::ALPN_ENROL;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

/// The TLS of an enrolled client that speaks this protocol.
///
/// # Errors
/// The authority is no certificate, or key and certificate do not belong together.
pub(crate) fn enrolled(
    authority: &CertificateDer<'static>,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    protocol: &[u8],
) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone())?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)?;
    Ok(with_protocol(config, protocol))
}

/// The TLS of a client that holds a token alone: it trusts the one authority that the token names,
/// and has no certificate yet.
///
/// # Errors
/// The provider speaks no TLS 1.3.
pub(crate) fn enrolling(authority: Digest) -> Result<ClientConfig, Error> {
    let provider = provider();
    let verifier = Arc::new(PinnedByToken { authority, provider: Arc::clone(&provider) });
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(with_protocol(config, ALPN_ENROL))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn with_protocol(mut config: ClientConfig, protocol: &[u8]) -> ClientConfig {
    config.alpn_protocols = vec![protocol.to_vec()];
    // Early data can be replayed, and every connection is to prove its certificate anew.
    config.enable_early_data = false;
    config.resumption = rustls::client::Resumption::disabled();
    config
}

/// Trusts the authority whose fingerprint the token carries. The coordinator shows it in its chain.
#[derive(Debug)]
struct PinnedByToken {
    authority: Digest,
    provider: Arc<CryptoProvider>,
}

impl PinnedByToken {
    fn verifier(&self, chain: &[CertificateDer<'_>]) -> Result<Arc<WebPkiServerVerifier>, Error> {
        let foreign = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let pinned = chain
            .iter()
            .find(|certificate| authority_fingerprint(certificate) == self.authority)
            .ok_or_else(foreign)?;
        let mut roots = RootCertStore::empty();
        roots.add(pinned.clone().into_owned())?;
        let provider = Arc::clone(&self.provider);
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|_| foreign())
    }
}

impl ServerCertVerifier for PinnedByToken {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verifier = self.verifier(intermediates)?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
