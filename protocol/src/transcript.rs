//! The roots of a round: one digest per stage, each over the one before, so that whoever signs in
//! a late stage has signed all that led to it. The last one is the transcript of the round.
//!
//! ```text
//! plan ─▶ adverts ─▶ shares ─▶ training context ─▶ survivor set ─▶ quorum ─▶ transcript
//!                                   ▲                                           │
//!                                   └────────── transcript of round r − 1 ◀─────┘
//! ```

use roundelay_crypto::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::ids::{ClientId, ModelVersion, RosterIndex};
use crate::message::{
    Advert, AdvertRoster, Beacon, Listing, Published, Quorum, ShareLeaf, SurvivorSet,
};
use crate::plan::{PlanKind, RosterPlan, TrainingPlan};

/// The transcript before the first published round.
pub const NO_TRANSCRIPT: Digest = Digest([0; 32]);

/// Root of the roster plan: federation, round, manifest, cohort, threshold and quorum.
#[must_use]
pub fn plan_root(plan: &RosterPlan) -> Digest {
    Digest::of("roundelay/transcript/plan", &[&codec::canonical(plan)])
}

/// Root of AdvertiseKeys: the plan and every advert with its signature.
#[must_use]
pub fn adverts_root(plan: &Digest, roster: &AdvertRoster) -> Digest {
    let leaves: Vec<u8> =
        roster.adverts.iter().flat_map(|(index, advert)| advert_digest(*index, advert).0).collect();
    Digest::of("roundelay/transcript/adverts", &[&plan.0, &leaves])
}

/// Root of the adverts of a sparse graph: the plan, the digest of every advert, and what commits to
/// the nonces.
#[must_use]
pub fn listing_root(plan: &Digest, listing: &Listing) -> Digest {
    Digest::of("roundelay/transcript/listing", &[&plan.0, &codec::canonical(listing)])
}

/// Root of AdvertiseKeys in a sparse graph: the listing's root and the nonces. The graph is drawn
/// from it.
#[must_use]
pub fn beacon_root(listing: &Digest, beacon: &Beacon) -> Digest {
    Digest::of("roundelay/transcript/beacon", &[&listing.0, &codec::canonical(beacon)])
}

/// The digest of an advert with its signature.
#[must_use]
pub fn advert_digest(index: RosterIndex, advert: &Advert) -> Digest {
    let draw = advert.draw.as_ref().map_or(&[][..], |draw| &draw.0);
    Digest::of(
        "roundelay/transcript/advert",
        &[
            &index.0.to_le_bytes(),
            &*advert.mask.to_bytes(),
            &*advert.boxes.to_bytes(),
            &advert.self_mask_commitment.0,
            &advert.last_transcript.0,
            draw,
            &advert.signature.0,
        ],
    )
}

/// The leaf of what one client addresses to one neighbour: both ciphertexts, the box, the
/// commitments to what is in it, and when the two met last.
#[must_use]
pub fn leaf_digest(from: RosterIndex, leaf: &ShareLeaf) -> Digest {
    let mask = leaf.mask_ciphertext.as_ref().map_or(&[][..], |ciphertext| ciphertext.as_bytes());
    Digest::of(
        "roundelay/transcript/share-leaf",
        &[
            &from.0.to_le_bytes(),
            &leaf.to.0.to_le_bytes(),
            mask,
            leaf.box_ciphertext.as_bytes(),
            &leaf.sealed,
            &leaf.commitments.key.0,
            &leaf.commitments.self_mask.0,
            &leaf.met.0.to_le_bytes(),
        ],
    )
}

/// Root of ShareKeys: the adverts' root and the share root of every member of U2, in roster order.
#[must_use]
pub fn shares_root<'a>(
    adverts: &Digest,
    roots: impl IntoIterator<Item = (RosterIndex, &'a Digest)>,
) -> Digest {
    let mut leaves = Vec::new();
    for (index, root) in roots {
        leaves.extend(index.0.to_le_bytes());
        leaves.extend(root.0);
    }
    Digest::of("roundelay/transcript/shares", &[&adverts.0, &leaves])
}

/// All that a contribution depends on. Bound into every mask seed and into the signatures of
/// MaskedInput and ConsistencyCheck: clients that were shown different plans, models or rosters
/// sign different bytes, and their masks do not cancel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainingContext {
    /// Root of ShareKeys.
    pub shares: Digest,
    /// Root of the transcript of the round before.
    pub previous_transcript: Digest,
    /// The kind of the plan.
    pub kind: PlanKind,
    /// The version of the model.
    pub model_version: ModelVersion,
    /// The model hash.
    pub model: Digest,
    /// Hash of hyperparameters and layout.
    pub config: Digest,
    /// Hash of U1, the planned cohort.
    pub planned: Digest,
    /// Hash of U2, those whose shares arrived.
    pub prepared: Digest,
    /// Hash of A, the active roster.
    pub active: Digest,
}

impl TrainingContext {
    /// The context of a training plan. `shares` is the root of ShareKeys, `prepared` U2.
    #[must_use]
    pub fn new(
        roster: &RosterPlan,
        shares: Digest,
        prepared: &[RosterIndex],
        plan: &TrainingPlan,
    ) -> Self {
        Self {
            shares,
            previous_transcript: plan.previous_transcript,
            kind: plan.kind,
            model_version: plan.model_version,
            model: plan.model,
            config: config_hash(plan),
            planned: cohort_digest(&roster.cohort),
            prepared: indices_digest(prepared),
            active: indices_digest(&plan.active),
        }
    }

    /// One digest for the whole context.
    #[must_use]
    pub fn root(&self) -> Digest {
        Digest::of("roundelay/transcript/training", &[&codec::canonical(self)])
    }
}

fn config_hash(plan: &TrainingPlan) -> Digest {
    let config = codec::canonical(&(&plan.hyperparameters, &plan.layout));
    Digest::of("roundelay/transcript/config", &[&config])
}

/// Hash of a planned cohort, by the clients' ids: the same in a retry under another round number.
#[must_use]
pub fn cohort_digest(cohort: &[ClientId]) -> Digest {
    Digest::of("roundelay/transcript/cohort", &[&codec::canonical(cohort)])
}

fn indices_digest(indices: &[RosterIndex]) -> Digest {
    Digest::of("roundelay/transcript/indices", &[&codec::canonical(indices)])
}

/// Root of MaskedInput: the training context and U3 with the clients' roots.
#[must_use]
pub fn set_root(context: &TrainingContext, set: &SurvivorSet) -> Digest {
    let set = codec::canonical(set);
    Digest::of("roundelay/transcript/survivors", &[&context.root().0, &set])
}

/// Root of ConsistencyCheck: the survivor set's root and the signatures over it.
#[must_use]
pub fn quorum_root(set: &Digest, quorum: &Quorum) -> Digest {
    Digest::of("roundelay/transcript/quorum", &[&set.0, &codec::canonical(quorum)])
}

/// Root of the round: the quorum's root and all that was published.
#[must_use]
pub fn transcript_root(quorum: &Digest, published: &Published) -> Digest {
    let result = codec::canonical(&(
        published.kind,
        published.model_version,
        published.survivors,
        published.aggregate,
        published.state,
    ));
    Digest::of("roundelay/transcript/round", &[&quorum.0, &result])
}

/// Hash of an aggregate, over its bytes in the layout of the training plan.
#[must_use]
pub fn aggregate_digest(aggregate: &[u8]) -> Digest {
    Digest::of("roundelay/transcript/aggregate", &[aggregate])
}
