//! What a connection carries besides rounds: hello and version negotiation, manifests, joining,
//! redirects, and the headers of streams.
//!
//! A client opens one bidirectional control stream per connection: frames of [`ToCoordinator`] one
//! way and [`ToClient`] the other. Every other stream is unidirectional and starts with one frame
//! that holds a [`StreamHeader`].
//!
//! Streams overtake each other; the machines of a round need their messages in order. So a roster
//! to a client is announced on the control stream ([`ToClient::RosterFollows`]) at the place where
//! it belongs, and the client takes nothing further of that round from the control stream before
//! the announced roster is whole. The pushed aggregate follows its `Published` in the same way. A
//! client sends nothing in a round behind its shares until it has heard from the coordinator, and
//! the coordinator takes the signed root of an upload before or after the upload itself.

use std::fmt;

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::{IdentityPublic, Signature};
use serde::{Deserialize, Serialize};

use crate::bounded::{List, Text};
use crate::ids::{FederationId, ModelVersion, RoundNumber, TenantId};
use crate::lineage::{Attested, Standing};
use crate::message;

mod roster;
mod version;

pub use roster::{Assembler, Roster, RosterError};
pub use version::{NoCommonVersion, PROTOCOL_VERSIONS, negotiate};

/// Application protocol of QUIC for enrolled clients.
pub const ALPN: &[u8] = b"roundelay/1";
/// Application protocol of QUIC for the verbs of an enrolled client beside its daemon: the same frames,
/// about manifests alone. A connection of the one kind leaves those of the other alone.
pub const ALPN_MANIFESTS: &[u8] = b"roundelay-manifests/1";
/// Application protocol of QUIC for enrolment, where the client has no certificate yet.
pub const ALPN_ENROL: &[u8] = b"roundelay-enrol/1";

/// Control frames of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToCoordinator {
    /// The first frame.
    Hello {
        /// Wire versions, newest first; the answer is found by [`negotiate`].
        versions: List<u16, 8>,
        /// Build of the client, for logs.
        build: Text<64>,
    },
    /// Asks for the manifests of the federations that this client is named in.
    ListFederations,
    /// A tenant's signature under a manifest.
    SignManifest {
        /// The federation.
        federation: FederationId,
        /// Hash of the manifest that was signed.
        manifest: Digest,
        /// By the tenant key.
        signature: Signature,
    },
    /// Ready to take part in rounds.
    Join(Join),
    /// Asks for the model state of a version, as a vector.
    FetchState {
        /// The federation.
        federation: FederationId,
        /// The version.
        version: ModelVersion,
    },
    /// Asks for a published aggregate, as a vector.
    FetchAggregate {
        /// The federation.
        federation: FederationId,
        /// The round that published it.
        round: RoundNumber,
    },
    /// A message of a round. Rosters never travel here.
    Round {
        /// The federation.
        federation: FederationId,
        /// The round.
        round: RoundNumber,
        /// The message.
        message: message::FromClient,
    },
    /// Asks for a new certificate over the authenticated connection, at two thirds of the life of
    /// the one in use. Answered by [`ToClient::CertificateRenewed`].
    RenewCertificate {
        /// PKCS #10 request, DER; the key may be a new one.
        certificate_request: Vec<u8>,
    },
    /// Asks for one manifest of a federation that this client is named in, as a vector. A client
    /// that missed amendments walks back by their predecessors to the one it has pinned.
    FetchManifest {
        /// The federation.
        federation: FederationId,
        /// Hash of the manifest.
        manifest: Digest,
    },
    /// This client has derived the state itself, and signs that.
    Attest {
        /// The federation.
        federation: FederationId,
        /// Where it stands.
        standing: Standing,
        /// Over [`Statement::Stands`](crate::signed::Statement::Stands).
        signature: Signature,
    },
    /// Asks for the signatures under the newest state. Answered by [`ToClient::Attested`], once
    /// there are enough of them.
    FetchAttested {
        /// The federation.
        federation: FederationId,
    },
}

/// A client is ready for rounds of one federation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// The federation.
    pub federation: FederationId,
    /// Hash of the pinned manifest.
    pub manifest: Digest,
    /// The highest round that this client has advertised, uploaded or signed for.
    pub highest_round: RoundNumber,
    /// Rounds of which this client still holds keys and can go on.
    pub resumable: List<RoundNumber, 16>,
    /// Where this client stands.
    pub standing: Standing,
    /// Its signature under that, if it derived the state itself.
    pub attestation: Option<Signature>,
    /// Digest of the schema that the client's data was checked against.
    pub schema: Digest,
}

/// Control frames of the coordinator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToClient {
    /// Answers [`ToCoordinator::Hello`].
    Welcome {
        /// The chosen wire version.
        version: u16,
        /// The coordinator's clock, milliseconds since 1970, to refuse a clock an hour off.
        unix_ms: u64,
    },
    /// The connection can't go on: an error in words, and whether to try again.
    Refused(Refused),
    /// Go to another address; signed by the coordinator's key.
    Redirect(SignedNotice),
    /// Come back later; signed by the coordinator's key.
    RetryAfter(SignedNotice),
    /// Federations that name this client; their manifests come as vectors.
    Federations(List<FederationSummary, 256>),
    /// A manifest signature was taken.
    SignatureTaken {
        /// Signatures so far.
        signatures: u16,
        /// Signatures needed.
        required: u16,
    },
    /// Joined: the newest published result.
    Joined {
        /// The federation.
        federation: FederationId,
        /// The newest model state and the round that led to it.
        standing: Standing,
    },
    /// A message of a round. Rosters never travel here.
    Round {
        /// The federation.
        federation: FederationId,
        /// The round.
        round: RoundNumber,
        /// The message.
        message: message::ToClient,
    },
    /// A roster is on its way on a stream of its own, and belongs here: before what comes next.
    RosterFollows {
        /// The federation.
        federation: FederationId,
        /// The round.
        round: RoundNumber,
        /// Which roster.
        kind: RosterKind,
    },
    /// Answers [`ToCoordinator::RenewCertificate`]; the connection goes on.
    CertificateRenewed {
        /// The client's new certificate, DER.
        certificate: Vec<u8>,
    },
    /// There are no more rounds of this federation, for good or for now.
    FederationEnded {
        /// The federation.
        federation: FederationId,
        /// Why, and whether there may be rounds again.
        end: RoundsEnd,
    },
    /// The newest state with the signatures of enough members for any client.
    Attested {
        /// The federation.
        federation: FederationId,
        /// What they signed.
        attested: Attested,
    },
    /// Asks for the bytes of a model state, as a vector: the coordinator was restored from a backup
    /// that is older than this state.
    GiveState {
        /// The federation.
        federation: FederationId,
        /// Where the client stands.
        standing: Standing,
    },
}

/// A refusal in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// A stable code, such as `unknown_federation`.
    pub code: Text<64>,
    /// A sentence that says what to do.
    pub message: Text<512>,
    /// The federation that it is about, if any.
    pub federation: Option<FederationId>,
}

impl Refused {
    /// A refusal; a message that is too long loses its end.
    #[must_use]
    pub fn new(code: &str, message: &str) -> Self {
        Self { code: Text::clipped(code), message: Text::clipped(message), federation: None }
    }

    /// The same, about a federation.
    #[must_use]
    pub fn about(self, federation: FederationId) -> Self {
        Self { federation: Some(federation), ..self }
    }
}

/// Why there are no more rounds of a federation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RoundsEnd {
    /// Its task is done, or its privacy budget is spent: there will be none.
    Finished,
    /// Its operator has stopped it. A client that stays joined is planned again once the operator
    /// starts it.
    Stopped,
    /// It does not go on by itself: too many rounds failed, or nobody is left to try with. A client
    /// that stays joined is planned again once the operator starts it.
    Stalled,
}

impl fmt::Display for RoundsEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finished => "the federation has finished: it has no further rounds",
            Self::Stopped => "the operator has stopped the federation",
            Self::Stalled => {
                "the federation has stalled: too many rounds failed one after the other, or nobody \
                 is left whom its set rule allows; the coordinator's `federation status` says why"
            }
        })
    }
}

/// A federation as a client sees it before joining.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FederationSummary {
    /// The federation.
    pub federation: FederationId,
    /// Its name.
    pub name: Text<64>,
    /// Hash of its newest manifest.
    pub manifest: Digest,
    /// Whether every signature that is needed is there.
    pub complete: bool,
}

/// A signed Redirect or RetryAfter: a client moves only where the pinned coordinator key says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedNotice {
    /// What to do.
    pub notice: Notice,
    /// The coordinator's clock when it was signed, milliseconds since 1970.
    pub unix_ms: u64,
    /// By the coordinator's notice key, which enrolment pinned.
    pub signature: Signature,
}

/// What a signed notice says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// Connect to this `host:port` from now on.
    Redirect(Text<262>),
    /// Reconnect after this many milliseconds.
    RetryAfter(u64),
}

/// First frame of a unidirectional stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamHeader {
    /// A roster follows: `items` frames of at most [`crate::limits::ROSTER_ITEM_BYTES_MAX`] bytes.
    Roster {
        /// The federation.
        federation: FederationId,
        /// The round.
        round: RoundNumber,
        /// What the items are.
        kind: RosterKind,
        /// How many frames follow.
        items: u32,
    },
    /// A vector follows as raw bytes.
    Vector {
        /// The federation.
        federation: FederationId,
        /// What the bytes are.
        kind: VectorKind,
        /// Total length in bytes.
        bytes: u64,
    },
}

/// What a roster stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RosterKind {
    /// [`message::AdvertRoster`], coordinator to client.
    Adverts,
    /// [`message::ShareRoster`], client to coordinator.
    Shares,
    /// [`message::BoxRoster`], coordinator to client.
    Boxes,
    /// [`message::Quorum`], coordinator to client.
    Quorum,
    /// [`message::SurvivorSet`], coordinator to client.
    SurvivorSet,
    /// [`message::Listing`], coordinator to client.
    Listing,
    /// [`message::Beacon`], coordinator to client.
    Beacon,
}

/// What a vector stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum VectorKind {
    /// A masked upload, client to coordinator, laid out in chunks.
    MaskedInput(RoundNumber),
    /// A published aggregate, coordinator to client.
    Aggregate(RoundNumber),
    /// Model and optimiser state of a version, coordinator to client; the other way only where the
    /// coordinator has asked for it ([`ToClient::GiveState`]).
    State(ModelVersion),
    /// An encoded [`crate::manifest::SignedManifest`], coordinator to client.
    Manifest(Digest),
}

/// The only exchange on an enrolment connection: request.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolRequest {
    /// The secret of the one-time token.
    pub token: [u8; 32],
    /// The tenant whose client this is already. A token for another one is refused, and stays unused.
    pub tenant: Option<TenantId>,
    /// PKCS #10 request, DER; its key never leaves the tenant. The token binds to its key hash at
    /// first use.
    pub certificate_request: Vec<u8>,
    /// The client's federation identity key.
    pub identity: IdentityPublic,
    /// Proof of possession: signature of the identity key over the request's digest.
    pub identity_proof: Signature,
    /// The tenant's key, which signs manifests.
    pub tenant_key: IdentityPublic,
    /// Proof of possession: signature of the tenant key over the request's digest.
    pub tenant_key_proof: Signature,
}

impl fmt::Debug for EnrolRequest {
    /// Without the token, which is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnrolRequest({:?}, {:?})", self.identity, self.tenant_key)
    }
}

/// The only exchange on an enrolment connection: answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnrolResponse {
    /// Enrolled.
    Enrolled(Box<Enrolled>),
    /// Not enrolled, and why.
    Refused(Refused),
}

/// What a client gets by enrolling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The client's certificate, DER.
    pub certificate: Vec<u8>,
    /// The CA's certificate, DER.
    pub authority: Vec<u8>,
    /// The tenant that the token was for.
    pub tenant: TenantId,
    /// Signs redirects; pinned by the client.
    pub notice_key: IdentityPublic,
}
