//! Who may speak what: the one place that decides by protocol and certificate. A handshake
//! succeeds without a certificate, because enrolment needs that; everything else is refused here.

use roundelay_protocol::close::CloseCode;
use roundelay_protocol::session::{ALPN, ALPN_ENROL};

use super::closing::Closing;
use super::transport::Connection;
use crate::authority::PeerCertificate;

/// What a connection may be used for.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// Everything that this client may do.
    Client(PeerCertificate),
    /// One enrolment.
    Enrolment,
}

/// Decides what a connection is for. Its certificate, if any, was verified by the handshake.
pub fn admit(connection: &dyn Connection) -> Result<Admission, Closing> {
    let protocol = connection.protocol();
    if protocol == ALPN_ENROL {
        return Ok(Admission::Enrolment);
    }
    if protocol != ALPN {
        return Err(Closing::malformed("no application protocol was agreed on"));
    }
    let certificate = connection.certificate().ok_or_else(|| {
        Closing::new(CloseCode::CertificateRequired, "show the certificate that enrolment issued")
    })?;
    PeerCertificate::parse(&certificate)
        .map(Admission::Client)
        .map_err(|error| Closing::new(CloseCode::CertificateUnknown, error))
}
