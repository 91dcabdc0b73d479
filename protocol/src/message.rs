//! The messages of a horizontal round, as the round machines see them: whole and parsed.
//!
//! The session layer splits rosters into single frames and carries big vectors as raw bytes on
//! streams of their own; neither appears here. What a signature covers is in [`crate::signed`].
//! Rosters are shared, not copied: one roster goes to every client of a cohort.

use std::sync::Arc;

use roundelay_crypto::agreement::{AgreementPublic, KemCiphertext};
use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::Signature;
use roundelay_crypto::tree::Path;
use serde::{Deserialize, Serialize};

use crate::error::{AbortReason, Fault, Refusal};
use crate::ids::{ModelVersion, RosterIndex, RoundNumber};
use crate::plan::{PlanKind, RosterPlan, TrainingPlan};

/// What the coordinator sends to a client within a round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToClient {
    /// Starts AdvertiseKeys: the planned cohort and the parameters of the round.
    RosterPlan(Box<RosterPlan>),
    /// Starts ShareKeys: the signed adverts of everyone who sent one; in a sparse graph those of
    /// this client's neighbours.
    Adverts(Arc<AdvertRoster>),
    /// Ends ShareKeys: the boxes addressed to this client, one from each other member of U2.
    Boxes(Arc<BoxRoster>),
    /// Starts MaskedInput: the kind, the model, the configuration and the active roster A.
    TrainingPlan(Box<TrainingPlan>),
    /// Asks for the identical bytes again: a successor of the coordinator has lost them.
    ResendInput,
    /// Starts ConsistencyCheck: the clients whose masked input is complete, with their roots.
    SurvivorSet(Arc<SurvivorSet>),
    /// Starts Unmasking: signatures of a quorum over the very same survivor set.
    Quorum(Arc<Quorum>),
    /// The round is done: what was published, and the root of its transcript.
    Published(Published),
    /// The round ended without a result. Its keys are burned.
    Aborted(AbortReason),
    /// The coordinator found this client at fault: it is out of the round, and is planned for no
    /// other one before it joins again.
    Expelled(Fault),
    /// Ends the adverts of a sparse graph: the digests of all, and what commits to their nonces.
    Listing(Arc<Listing>),
    /// Draws a sparse graph: the nonces of everyone who revealed one.
    Beacon(Arc<Beacon>),
}

/// What a client sends to the coordinator within a round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromClient {
    /// The public keys of this round, signed.
    Advert(Box<Advert>),
    /// One leaf per neighbour under one signed root.
    Shares(Arc<ShareRoster>),
    /// The masked vector is complete: its signed root.
    InputCommit(InputCommit),
    /// A signature over the survivor set.
    SurvivorSignature(SurvivorSignature),
    /// Shares of the self-mask seeds of survivors and of the key seeds of dropouts.
    Reveal(Reveal),
    /// The client refuses the current stage and sits the round out.
    Declined(Refusal),
    /// Proof that a box does not hold what its sender has signed; the client sits the round out.
    Accusation(Box<Accusation>),
    /// A signature under the root of ShareKeys: every box for this client opened.
    Opened(Signature),
    /// The nonce that this client's advert commits to: its part of the beacon of a sparse graph.
    Nonce([u8; 32]),
}

impl FromClient {
    /// Whether what the client remembers of this must be durable before it leaves. Not so for shares
    /// and answers to a quorum: their keys live in memory alone, so that after a loss of power
    /// nobody could say them again, and the number of the round is spent since the advert.
    #[must_use]
    pub fn waits_for_records(&self) -> bool {
        matches!(self, Self::Advert(_) | Self::InputCommit(_) | Self::SurvivorSignature(_))
    }
}

/// A client's public keys for one round (AdvertiseKeys).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Advert {
    /// Keys from which pairwise masks come; derived from the shared key seed `k_u`.
    pub mask: AgreementPublic,
    /// Independent keys that open the boxes with shares.
    pub boxes: AgreementPublic,
    /// Commitment to the self-mask seed `b_u`.
    pub self_mask_commitment: Digest,
    /// Root of the last transcript that this client has seen published, zero before the first.
    pub last_transcript: Digest,
    /// In a sparse graph a commitment to this client's nonce, from which with all others the graph
    /// is drawn.
    pub draw: Option<Digest>,
    /// By the client's identity key.
    pub signature: Signature,
}

/// Every advert of a round, in roster order (strictly rising indices).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdvertRoster {
    /// `(who, advert)`; an index that is missing sent none.
    pub adverts: Vec<(RosterIndex, Advert)>,
}

/// The adverts of a round with a sparse graph, in roster order: enough to hold everyone to the same
/// ones, without the keys of those who turn out to be no neighbours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// `(who, digest of its advert, what its advert commits its nonce with)`.
    pub adverts: Vec<(RosterIndex, Digest, Digest)>,
}

/// The nonces from which a sparse graph is drawn, in roster order. Whoever is missing revealed none
/// and is out of the round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beacon {
    /// `(who, its nonce)`.
    pub nonces: Vec<(RosterIndex, [u8; 32])>,
}

/// What one client addresses to one neighbour (ShareKeys).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareLeaf {
    /// The neighbour.
    pub to: RosterIndex,
    /// The mask encapsulation of this edge: present exactly if the sender's index is the lower one.
    pub mask_ciphertext: Option<KemCiphertext>,
    /// The encapsulation under which the box is sealed.
    pub box_ciphertext: KemCiphertext,
    /// AES-256-GCM box: the neighbour's shares of the sender's `k_u` and `b_u`
    /// ([`crate::limits::SEALED_SHARES_BYTES`] bytes).
    pub sealed: Vec<u8>,
    /// What binds the sender to the shares in the box.
    pub commitments: ShareCommitments,
    /// The last round in which the sender signed a survivor set that holds the neighbour, 0 for
    /// none. A neighbour that remembers less was restored from an old snapshot.
    pub met: RoundNumber,
}

/// Commitments to the two shares of one box. Each share is 32 bytes that fewer than t others say
/// nothing about, so they hide; and a share that was revealed can be told from a false one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareCommitments {
    /// To the neighbour's share of `k_u`.
    pub key: Digest,
    /// To the neighbour's share of `b_u`.
    pub self_mask: Digest,
}

/// All leaves of one sender under one signed root (ShareKeys).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareRoster {
    /// Root of the tree over the leaves in roster order of `to`.
    pub root: Digest,
    /// Signature over the root and the root of the advert roster.
    pub signature: Signature,
    /// One leaf for each other client whose advert was in the roster.
    pub leaves: Vec<ShareLeaf>,
}

/// A leaf as its recipient gets it, provably part of what the sender signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoxDelivery {
    /// The sender.
    pub from: RosterIndex,
    /// The leaf addressed to the recipient.
    pub leaf: ShareLeaf,
    /// Path of the leaf under `root`.
    pub path: Path,
    /// The sender's root.
    pub root: Digest,
    /// The sender's signature over the root.
    pub signature: Signature,
}

/// Everything addressed to one client, in roster order of the senders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoxRoster {
    /// One delivery from each other member of U2 that is a neighbour.
    pub boxes: Vec<BoxDelivery>,
    /// The share roots of the members of U2 that are none, in roster order.
    pub others: Vec<(RosterIndex, Digest)>,
}

/// A box that does not open, or holds other shares than its leaf commits to, with what it takes to
/// see that. It opens all boxes that were addressed to the accuser in this preparation, so shares
/// of everyone's seeds: the accuser takes no part in the round any more, and nobody uploads in it
/// unless a quorum has signed that its boxes opened ([`FromClient::Opened`]).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accusation {
    /// The leaf, under the root that its sender signed.
    pub delivery: BoxDelivery,
    /// The seed of the accuser's box keys.
    pub boxes: [u8; 32],
}

impl std::fmt::Debug for Accusation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Accusation(of {:?})", self.delivery.from)
    }
}

/// The signed root of a masked vector (MaskedInput).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputCommit {
    /// Root over the chunks of the masked vector.
    pub root: Digest,
    /// By the client's identity key.
    pub signature: Signature,
}

/// U3: the clients whose masked input is complete, each with its committed root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SurvivorSet {
    /// `(who, root of its masked vector)` with strictly rising indices.
    pub inputs: Vec<(RosterIndex, Digest)>,
}

/// One client's signature over the survivor set (ConsistencyCheck).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SurvivorSignature {
    /// By the client's identity key.
    pub signature: Signature,
}

/// Signatures over the survivor set, in roster order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quorum {
    /// `(signer, signature)` with strictly rising indices, all members of U3.
    pub signatures: Vec<(RosterIndex, Signature)>,
}

/// A client's answer in Unmasking. The sets are computed from the survivor set by both sides, so
/// the message has no list of ids to ask for: shares stand in roster order.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reveal {
    /// This client's own `b_u` whole, its own to give: it is in U3. None where it was restarted
    /// and has only its shares left.
    pub own_self_mask: Option<[u8; 32]>,
    /// This client's share of `b_v` for every v in U3 whose shares it holds: of all, its own
    /// included, in a complete graph, of its neighbours in a sparse one.
    pub self_mask_shares: Vec<[u8; 32]>,
    /// This client's share of `k_v` for every v in A \ U3 whose shares it holds.
    pub key_shares: Vec<[u8; 32]>,
}

impl std::fmt::Debug for Reveal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (survivors, dropouts) = (self.self_mask_shares.len(), self.key_shares.len());
        write!(f, "Reveal({survivors} self-mask shares, {dropouts} key shares)")
    }
}

/// The result of a round as it is announced; the aggregate itself travels as a vector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// What was computed.
    pub kind: PlanKind,
    /// The version that was trained or evaluated; a train round publishes the next one.
    pub model_version: ModelVersion,
    /// How many contributions are in the sum.
    pub survivors: u16,
    /// Hash of the aggregate, the sum over U3 ([`crate::transcript::aggregate_digest`]).
    pub aggregate: Digest,
    /// Hash of the model and optimiser state after this round.
    pub state: Digest,
    /// Root of the transcript of this round ([`crate::transcript::transcript_root`]).
    pub transcript: Digest,
}
