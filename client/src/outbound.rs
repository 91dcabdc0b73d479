//! What may leave this machine. [`Outbound`] is sealed: it is implemented here for types that are
//! masked, encrypted or public by construction, and for nothing else. The [`Gate`](crate::gate::Gate)
//! sends these types and nothing else, so a model update, a label or a row has no way out.
//!
//! ```compile_fail,E0277
//! # async fn leak(gate: &roundelay_client::gate::Gate) {
//! let update: Vec<f32> = vec![0.25; 10];
//! gate.send(&update).await; // a raw update is not Outbound
//! # }
//! ```
//!
//! ```compile_fail,E0277
//! # async fn leak(gate: &roundelay_client::gate::Gate) {
//! let row: &[u8] = b"42,female,1";
//! gate.send(row).await; // neither are bytes
//! # }
//! ```
//!
//! The trait can't be implemented elsewhere:
//!
//! ```compile_fail,E0603
//! struct Row(Vec<f32>);
//! impl roundelay_client::outbound::sealed::Pack for Row {}
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::Signature;
use roundelay_protocol::bounded::{List, Text};
use roundelay_protocol::codec::{self, OversizedFrame};
use roundelay_protocol::ids::{FederationId, ModelVersion, RoundNumber};
use roundelay_protocol::limits::{FRAME_BYTES_MAX, FRAME_BYTES_PREAUTH_MAX};
use roundelay_protocol::lineage::{Standing, State};
use roundelay_protocol::message::FromClient;
use roundelay_protocol::session::{
    EnrolRequest, Join, PROTOCOL_VERSIONS, Roster, StreamHeader, ToCoordinator, VectorKind,
};

/// A type that may leave this machine.
pub trait Outbound: Pack {
    /// What it is, in the ledger.
    fn kind(&self) -> &'static str;
    /// Why it may leave, in the ledger.
    fn why(&self) -> &'static str;
    /// The federation and round that it is about, if any.
    fn about(&self) -> (Option<FederationId>, Option<RoundNumber>) {
        (None, None)
    }
}

pub(crate) mod sealed {
    //! Keeps [`Outbound`](super::Outbound) closed: how a value becomes bytes on a connection.
    use super::{Digest, OversizedFrame, PathBuf};

    /// The bytes of an outbound value, and how they travel.
    pub enum Packed {
        /// One frame on the control stream.
        Control(Vec<u8>),
        /// Frames on a stream of their own.
        Stream(Vec<u8>),
        /// A header frame, then a file, on a stream of their own.
        Vector { header: Vec<u8>, path: PathBuf, bytes: u64, root: Digest },
    }

    /// Implemented in `outbound` alone.
    pub trait Pack {
        /// Encodes the value.
        fn pack(&self) -> Result<Packed, OversizedFrame>;
    }
}

use sealed::{Pack, Packed};

fn control(message: &ToCoordinator) -> Result<Packed, OversizedFrame> {
    Ok(Packed::Control(codec::frame(&codec::encode(message), FRAME_BYTES_MAX)?))
}

/// The first frame: wire versions and build.
#[derive(Debug, Clone, Copy)]
pub struct Hello;

impl Pack for Hello {
    fn pack(&self) -> Result<Packed, OversizedFrame> {
        control(&ToCoordinator::Hello {
            versions: List::clipped(PROTOCOL_VERSIONS.iter().copied()),
            build: Text::clipped(concat!("roundelay-client ", env!("CARGO_PKG_VERSION"))),
        })
    }
}

impl Outbound for Hello {
    fn kind(&self) -> &'static str {
        "hello"
    }
    fn why(&self) -> &'static str {
        "public: wire versions and the name of this build"
    }
}

/// Asks for the federations that name this client.
#[derive(Debug, Clone, Copy)]
pub struct ListFederations;

impl Pack for ListFederations {
    fn pack(&self) -> Result<Packed, OversizedFrame> {
        control(&ToCoordinator::ListFederations)
    }
}

impl Outbound for ListFederations {
    fn kind(&self) -> &'static str {
        "list-federations"
    }
    fn why(&self) -> &'static str {
        "public: a request without content"
    }
}

/// Asks for a manifest that another one amends, by its hash.
#[derive(Debug, Clone, Copy)]
pub struct FetchManifest {
    /// The federation.
    pub federation: FederationId,
    /// Hash of the manifest.
    pub manifest: Digest,
}

impl Pack for FetchManifest {
    fn pack(&self) -> Result<Packed, OversizedFrame> {
        let Self { federation, manifest } = *self;
        control(&ToCoordinator::FetchManifest { federation, manifest })
    }
}

impl Outbound for FetchManifest {
    fn kind(&self) -> &'static str {
        "fetch-manifest"
    }
    fn why(&self) -> &'static str {
        "public: the hash of a manifest that the coordinator holds"
    }
    fn about(&self) -> (Option<FederationId>, Option<RoundNumber>) {
        (Some(self.federation), None)
    }
}

/// The tenant's signature under a manifest.
#[derive(Debug, Clone, Copy)]
pub struct ManifestSignature {
    /// The federation.
    pub federation: FederationId,
    /// Hash of the manifest.
    pub manifest: Digest,
    /// By the tenant key.
    pub signature: Signature,
}

impl Pack for ManifestSignature {
    fn pack(&self) -> Result<Packed, OversizedFrame> {
        let Self { federation, manifest, signature } = *self;
        control(&ToCoordinator::SignManifest { federation, manifest, signature })
    }
}

impl Outbound for ManifestSignature {
    fn kind(&self) -> &'static str {
        "manifest-signature"
    }
    fn why(&self) -> &'static str {
        "public: a signature that the tenant asked for"
    }
    fn about(&self) -> (Option<FederationId>, Option<RoundNumber>) {
        (Some(self.federation), None)
    }
}

impl Pack for Join {
    fn pack(&self) -> Result<Packed, OversizedFrame> {
        control(&ToCoordinator::Join(self.clone()))
    }
}

impl Outbound for Join {
    fn kind(&self) -> &'static str {
        "join"
    }
    fn why(&self) -> &'static str {
        "public: round numbers and hashes of what all members know"
    }
    fn about(&self) -> (Option<FederationId>, Option<RoundNumber>) {
        (Some(self.federation), None)
    }
}

/// Asks for the model state of a version.
#[derive(Debug, Clone, Copy)]
pub struct FetchState {
    /// The federation.
    pub federation: FederationId,
    /// The version.
    pub version: ModelVersion,
}

impl Pack for FetchState {
    fn pack(&self) -> Result<Packed, OversizedFrame> {
        let Self { federation, version } = *self;
        control(&ToCoordinator::FetchState { federation, version })
    }
}

impl Outbound for FetchState {
    fn kind(&self) -> &'static str {
        "fetch-state"
    }
    fn why(&self) -> &'static str {
        "public: a request that names a version"
    }
    fn about(&self) -> (Option<FederationId>, Option<RoundNumber>) {
        (Some(self.federation), None)
    }
}

/// Asks for the signatures under the newest model state.
#[derive(Debug, Clone, Copy)]
pub struct FetchAttested {
    /// The federation.
    pub federation: FederationId,
}

impl Pack for FetchAttested {
    fn pack(&self) -> Result<Packed, OversizedFrame> {
        control(&ToCoordinator::FetchAttested { federation: self.federation })
    }
}

impl Outbound for FetchAttested {
    fn kind(&self) -> &'static str {
        "fetch-attested"
    }
    fn why(&self) -> &'static str {
        "public: a request without content"
    }
    fn about(&self) -> (Option<FederationId>, Option<RoundNumber>) {
        (Some(self.federation), None)
    }
}

/// This client's signature under a model state that it has derived itself.
#[derive(Debug, Clone, Copy)]
pub struct StateAttestation {
    /// The federation.
    pub federation: FederationId,
    /// Where this client stands.
    pub standing: Standing,
    /// By its identity key.
    pub signature: Signature,
}

impl Pack for StateAttestation {
    fn pack(&self) -> Result<Packed, OversizedFrame> {
        let Self { federation, standing, signature } = *self;
        control(&ToCoordinator::Attest { federation, standing, signature })
    }
}

impl Outbound for StateAttestation {
    fn kind(&self) -> &'static str {
        "state-attestation"
    }
    fn why(&self) -> &'static str {
        "public: a signature under hashes of what all members know"
    }
    fn about(&self) -> (Option<FederationId>, Option<RoundNumber>) {
        (Some(self.federation), Some(self.standing.round))
    }
}

/// A model state that the coordinator once published and has lost. Public by construction: a
/// [`State`] is the initial one, derived from published aggregates, or taken over from the
/// coordinator; nothing local goes into one.
#[derive(Debug, Clone)]
pub struct ModelState {
    /// The federation.
    pub federation: FederationId,
    /// The state.
    pub state: Arc<State>,
}

impl Pack for ModelState {
    fn pack(&self) -> Result<Packed, OversizedFrame> {
        let (federation, state) = (self.federation, self.state.to_bytes());
        let (kind, bytes) = (VectorKind::State(self.state.version()), state.len() as u64);
        let header = codec::encode(&StreamHeader::Vector { federation, kind, bytes });
        let mut stream = codec::frame(&header, FRAME_BYTES_MAX)?;
        stream.extend(state);
        Ok(Packed::Stream(stream))
    }
}

impl Outbound for ModelState {
    fn kind(&self) -> &'static str {
        "model-state"
    }
    fn why(&self) -> &'static str {
        "public to the federation: a model that the coordinator published and has lost"
    }
    fn about(&self) -> (Option<FederationId>, Option<RoundNumber>) {
        (Some(self.federation), None)
    }
}

/// Asks for a published aggregate.
#[derive(Debug, Clone, Copy)]
pub struct FetchAggregate {
    /// The federation.
    pub federation: FederationId,
    /// The round that published it.
    pub round: RoundNumber,
}

impl Pack for FetchAggregate {
    fn pack(&self) -> Result<Packed, OversizedFrame> {
        let Self { federation, round } = *self;
        control(&ToCoordinator::FetchAggregate { federation, round })
    }
}

impl Outbound for FetchAggregate {
    fn kind(&self) -> &'static str {
        "fetch-aggregate"
    }
    fn why(&self) -> &'static str {
        "public: a request that names a round"
    }
    fn about(&self) -> (Option<FederationId>, Option<RoundNumber>) {
        (Some(self.federation), Some(self.round))
    }
}

/// Asks for a new certificate.
#[derive(Debug, Clone)]
pub struct RenewCertificate {
    /// PKCS #10 request, DER.
    pub certificate_request: Vec<u8>,
}

impl Pack for RenewCertificate {
    fn pack(&self) -> Result<Packed, OversizedFrame> {
        let certificate_request = self.certificate_request.clone();
        control(&ToCoordinator::RenewCertificate { certificate_request })
    }
}

impl Outbound for RenewCertificate {
    fn kind(&self) -> &'static str {
        "renew-certificate"
    }
    fn why(&self) -> &'static str {
        "public: the public half of a new TLS key"
    }
}

impl Pack for EnrolRequest {
    fn pack(&self) -> Result<Packed, OversizedFrame> {
        let frame = codec::frame(&codec::encode(self), FRAME_BYTES_PREAUTH_MAX)?;
        Ok(Packed::Control(frame))
    }
}

impl Outbound for EnrolRequest {
    fn kind(&self) -> &'static str {
        "enrol"
    }
    fn why(&self) -> &'static str {
        "public halves of this client's keys, and a token that its coordinator made"
    }
}

/// A message of a round. Every variant of [`FromClient`] is public keys, ciphertexts, signatures,
/// reason codes, or shares that the round's rules release.
#[derive(Debug, Clone)]
pub struct RoundMessage {
    /// The federation.
    pub federation: FederationId,
    /// The round.
    pub round: RoundNumber,
    /// The message.
    pub message: FromClient,
}

impl Pack for RoundMessage {
    fn pack(&self) -> Result<Packed, OversizedFrame> {
        let Self { federation, round, message } = self.clone();
        match Roster::from_client(message) {
            Ok(roster) => Ok(Packed::Stream(roster.to_frames(federation, round)?.concat())),
            Err(message) => control(&ToCoordinator::Round { federation, round, message }),
        }
    }
}

impl Outbound for RoundMessage {
    fn kind(&self) -> &'static str {
        match self.message {
            FromClient::Advert(_) => "advert",
            FromClient::Nonce(_) => "nonce",
            FromClient::Shares(_) => "shares",
            FromClient::Opened(_) => "opened",
            FromClient::InputCommit(_) => "input-commit",
            FromClient::SurvivorSignature(_) => "survivor-signature",
            FromClient::Reveal(_) => "reveal",
            FromClient::Declined(_) => "declined",
            FromClient::Accusation(_) => "accusation",
        }
    }

    fn why(&self) -> &'static str {
        match self.message {
            FromClient::Advert(_) => "public: keys and a commitment for one round",
            FromClient::Nonce(_) => "public: a part of the lot by which neighbours are drawn",
            FromClient::Shares(_) => "encrypted: each share for the one member that may hold it",
            FromClient::Opened(_) => "public: a signature that says that the boxes opened",
            FromClient::InputCommit(_) => "public: a signed hash of a masked vector",
            FromClient::SurvivorSignature(_) => "public: a signature over the survivor set",
            FromClient::Reveal(_) => "shares of masks that a signed quorum agreed to take off",
            FromClient::Declined(_) => "public: a reason code",
            FromClient::Accusation(_) => {
                "proof of a bad box: opens the boxes of a round that this client sits out"
            }
        }
    }

    fn about(&self) -> (Option<FederationId>, Option<RoundNumber>) {
        (Some(self.federation), Some(self.round))
    }
}

/// A masked vector in its durable file. Only storing what masking gave
/// ([`Masked`](crate::engine::work::Masked)) makes one; what it was before is gone.
#[derive(Debug, Clone)]
pub struct MaskedVector {
    pub(crate) federation: FederationId,
    pub(crate) round: RoundNumber,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) root: Digest,
}

impl MaskedVector {
    /// The root over its chunks.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.root
    }
}

impl Pack for MaskedVector {
    fn pack(&self) -> Result<Packed, OversizedFrame> {
        let Self { federation, round, bytes, root, .. } = *self;
        let kind = VectorKind::MaskedInput(round);
        let header = codec::encode(&StreamHeader::Vector { federation, kind, bytes });
        let header = codec::frame(&header, FRAME_BYTES_MAX)?;
        Ok(Packed::Vector { header, path: self.path.clone(), bytes, root })
    }
}

impl Outbound for MaskedVector {
    fn kind(&self) -> &'static str {
        "masked-vector"
    }
    fn why(&self) -> &'static str {
        "masked: uniformly random to everyone until a quorum opens the sum"
    }
    fn about(&self) -> (Option<FederationId>, Option<RoundNumber>) {
        (Some(self.federation), Some(self.round))
    }
}
