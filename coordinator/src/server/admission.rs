//! Who may speak what: the one place that decides by protocol and certificate. A handshake
//! succeeds without a certificate, because enrolment needs that; everything else is refused here.

use roundelay_protocol::close::CloseCode;
use roundelay_protocol::session::{ALPN, ALPN_ENROL, ALPN_MANIFESTS};

use super::closing::Closing;
use super::transport::Connection;
use crate::authority::PeerCertificate;

/// What a connection may be used for.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// What this client may do for this purpose.
    Client(PeerCertificate, Purpose),
    /// One enrolment.
    Enrolment,
}

/// What an enrolled client connects for. It may have one connection for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Its daemon: everything.
    Rounds,
    /// A verb beside its daemon: to see manifests and to sign them.
    Manifests,
}

/// Decides what a connection is for. Its certificate, if any, was verified by the handshake.
pub fn admit(connection: &dyn Connection) -> Result<Admission, Closing> {
    let protocol = connection.protocol();
    if protocol == ALPN_ENROL {
        return Ok(Admission::Enrolment);
    }
    let purpose = match protocol.as_slice() {
        ALPN => Purpose::Rounds,
        ALPN_MANIFESTS => Purpose::Manifests,
        _ => return Err(Closing::malformed("no application protocol was agreed on")),
    };
    let certificate = connection.certificate().ok_or_else(|| {
        Closing::new(CloseCode::CertificateRequired, "show the certificate that enrolment issued")
    })?;
    PeerCertificate::parse(&certificate)
        .map(|certificate| Admission::Client(certificate, purpose))
        .map_err(|error| Closing::new(CloseCode::CertificateUnknown, error))
}
