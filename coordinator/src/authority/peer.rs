//! Who is at the other end of a connection: tenant and client, from the verified certificate and
//! from nowhere else.

use std::time::{Duration, SystemTime};

use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::{ClientId, TenantId};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

const SCHEME: &str = "spiffe://roundelay/tenant/";

/// One client of one tenant, named in its certificate as
/// `spiffe://roundelay/tenant/<tenant>/client/<client id>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// The tenant.
    pub tenant: TenantId,
    /// The client.
    pub client: ClientId,
}

/// Why a certificate of the authority does not name a client. The authority never makes such a
/// certificate for a client, so the holder uses one that was made for something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the certificate does not name a client of a tenant; enrol to get one that does")]
pub struct BadPeer;

impl Peer {
    /// The subject alternative name of its certificates.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("{SCHEME}{}/client/{}", self.tenant, self.client)
    }

    fn from_uri(uri: &str) -> Result<Self, BadPeer> {
        let rest = uri.strip_prefix(SCHEME).ok_or(BadPeer)?;
        let (tenant, client) = rest.split_once("/client/").ok_or(BadPeer)?;
        let peer = Self {
            tenant: tenant.parse().map_err(|_| BadPeer)?,
            client: ClientId(client.parse::<Digest>().map_err(|_| BadPeer)?),
        };
        // One spelling only: a digest also parses from upper case.
        if peer.uri() == uri { Ok(peer) } else { Err(BadPeer) }
    }
}

/// A client as its verified certificate names it, and that certificate's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Who.
    pub peer: Peer,
    /// The certificate's serial number, big endian.
    pub serial: Vec<u8>,
    /// Beginning of the certificate's life, a little before it was made.
    pub not_before: SystemTime,
    /// End of the certificate's life.
    pub not_after: SystemTime,
}

impl PeerCertificate {
    /// Reads a certificate (DER) that the TLS handshake has verified against the authority.
    /// Exactly one subject alternative name is taken.
    pub fn parse(certificate: &[u8]) -> Result<Self, BadPeer> {
        let (rest, parsed) = parse_x509_certificate(certificate).map_err(|_| BadPeer)?;
        let names = parsed.subject_alternative_name().map_err(|_| BadPeer)?.ok_or(BadPeer)?;
        let [GeneralName::URI(uri)] = names.value.general_names.as_slice() else {
            return Err(BadPeer);
        };
        let moment = |seconds| {
            let seconds = u64::try_from(seconds).map_err(|_| BadPeer)?;
            Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
        };
        let validity = parsed.validity();
        if !rest.is_empty() || parsed.is_ca() {
            return Err(BadPeer);
        }
        Ok(Self {
            peer: Peer::from_uri(uri)?,
            serial: parsed.raw_serial().to_vec(),
            not_before: moment(validity.not_before.timestamp())?,
            not_after: moment(validity.not_after.timestamp())?,
        })
    }

    /// When half of its life is over.
    #[must_use]
    pub fn half_life(&self) -> SystemTime {
        let life = self.not_after.duration_since(self.not_before).unwrap_or_default();
        self.not_before + life / 2
    }
}
