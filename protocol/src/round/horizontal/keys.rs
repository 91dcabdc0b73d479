//! Every key of a round and what it is derived from. Both halves use this: clients to make masks,
//! the coordinator to take off those of the seeds that a quorum let it rebuild.
//!
//! ```text
//! k_u ─┬─ HKDF ─▶ mask keys (X25519, ML-KEM-768)         b_u ─ HKDF, context ─▶ self mask
//!      └─ HKDF, neighbour ─▶ encapsulation message        box keys: a seed of their own
//! X25519 ‖ KEM ─ HKDF, edge, ciphertexts, context ─▶ pairwise mask
//! ```
//! Shares of the 32 bytes of k_u therefore reopen the pair seeds of this round, the post-quantum
//! part included, and nothing else.

use roundelay_crypto::agreement::{
    AgreementError, AgreementPublic, AgreementSecret, HybridSecret, KemCiphertext, encapsulate,
};
use roundelay_crypto::digest::Digest;
use roundelay_crypto::kdf;
use roundelay_crypto::mask::Sign;
use roundelay_crypto::sealed::open_once;
use roundelay_crypto::secret::{Secret, Seed};

use crate::codec;
use crate::ids::{ClientId, RosterIndex};
use crate::message::{ShareCommitments, ShareLeaf};
use crate::signed::Scope;
use crate::transcript::TrainingContext;

/// The keys of pairwise masks, from k_u.
pub(super) fn mask_secret(key_seed: &Seed) -> AgreementSecret {
    AgreementSecret::derive(key_seed, "roundelay/round/mask")
}

/// The keys that open boxes, from a seed of their own.
pub(super) fn box_secret(box_seed: &Seed) -> AgreementSecret {
    AgreementSecret::derive(box_seed, "roundelay/round/box")
}

/// Encapsulates to a neighbour of higher index: the message is k_u's for this neighbour alone.
pub(super) fn encapsulate_mask(
    key_seed: &Seed,
    own: &AgreementSecret,
    neighbour: ClientId,
    peer: &AgreementPublic,
) -> Result<(KemCiphertext, HybridSecret), AgreementError> {
    let message = kdf::derive(key_seed, "roundelay/round/encapsulation", &[&neighbour.0.0]);
    encapsulate(own, peer, &message)
}

/// What binds a client to its b_u before anyone knows it. b_u is 32 random bytes, so it hides.
pub(super) fn self_mask_commitment(scope: &Scope, client: ClientId, self_mask: &Seed) -> Digest {
    Digest::of(
        "roundelay/round/self-mask-commitment",
        &[&codec::canonical(scope), &client.0.0, self_mask.expose()],
    )
}

/// The place of a box: who seals it for whom, under which advert roster.
pub(super) struct BoxPlace {
    aad: Vec<u8>,
}

impl BoxPlace {
    pub(super) fn new(
        scope: &Scope,
        adverts: &Digest,
        from: (RosterIndex, ClientId),
        to: (RosterIndex, ClientId),
    ) -> Self {
        Self { aad: codec::canonical(&(scope, adverts, from, to)) }
    }

    /// The one-time key of this box.
    pub(super) fn key(&self, secret: &HybridSecret) -> Seed {
        secret.pair_seed("roundelay/round/box-key", &[&self.aad])
    }

    /// The additional data of this box.
    pub(super) fn aad(&self) -> [&[u8]; 1] {
        [&self.aad]
    }

    /// What binds the sender to the shares in this box.
    pub(super) fn commitments(&self, shares: &Holding) -> ShareCommitments {
        ShareCommitments {
            key: self.key_commitment(shares.key.expose()),
            self_mask: self.self_mask_commitment(shares.self_mask.expose()),
        }
    }

    /// Commits to the share of k_u.
    pub(super) fn key_commitment(&self, share: &[u8; 32]) -> Digest {
        Digest::of("roundelay/round/key-share-commitment", &[&self.aad, share])
    }

    /// Commits to the share of b_u.
    pub(super) fn self_mask_commitment(&self, share: &[u8; 32]) -> Digest {
        Digest::of("roundelay/round/self-mask-share-commitment", &[&self.aad, share])
    }

    /// What is in the box of a leaf, if it opens and holds what the leaf commits to.
    pub(super) fn open(&self, secret: &HybridSecret, leaf: &ShareLeaf) -> Option<Holding> {
        let shares = open_once(&self.key(secret), &self.aad(), &leaf.sealed).ok()?;
        let holding = Holding::parse(shares.expose())?;
        (self.commitments(&holding) == leaf.commitments).then_some(holding)
    }
}

/// The shares of one dealer that another client holds.
pub(super) struct Holding {
    /// Of the dealer's k_u.
    pub(super) key: Seed,
    /// Of the dealer's b_u.
    pub(super) self_mask: Seed,
}

impl Holding {
    /// As it stands in a box: the share of k_u, then that of b_u.
    pub(super) fn joined(&self) -> Secret<[u8; 64]> {
        Secret::fill_with(|bytes| {
            let shares = self.key.expose().iter().chain(self.self_mask.expose());
            for (to, from) in bytes.iter_mut().zip(shares) {
                *to = *from;
            }
        })
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (key, self_mask) = bytes.split_at_checked(32)?;
        Some(Self { key: Secret::from_slice(key)?, self_mask: Secret::from_slice(self_mask)? })
    }
}

/// Both leaves of an edge, in the order of their senders; they hold all its ciphertexts.
pub(super) struct Edge {
    lower: RosterIndex,
    upper: RosterIndex,
    lower_leaf: Digest,
    upper_leaf: Digest,
}

impl Edge {
    /// The edge between two clients, each with the digest of the leaf that it sent to the other.
    pub(super) fn between(one: (RosterIndex, Digest), other: (RosterIndex, Digest)) -> Self {
        let (lower, upper) = if one.0 < other.0 { (one, other) } else { (other, one) };
        Self { lower: lower.0, upper: upper.0, lower_leaf: lower.1, upper_leaf: upper.1 }
    }

    /// The seed of the edge's pairwise mask.
    pub(super) fn seed(&self, secret: &HybridSecret, masks: &MaskContext) -> Seed {
        let Self { lower, upper, lower_leaf, upper_leaf } = self;
        let edge = codec::canonical(&(lower, upper, lower_leaf, upper_leaf));
        secret.pair_seed("roundelay/round/pair-mask", &[&masks.0, &edge])
    }
}

/// The sign with which a client adds the mask that it shares with a peer: the lower index adds.
pub(super) fn sign(own: RosterIndex, peer: RosterIndex) -> Sign {
    if own < peer { Sign::Plus } else { Sign::Minus }
}

/// What all mask seeds of a round are bound to: the scope and the training context, so kind,
/// model hash, config hash and the hashes of U1, U2 and A.
pub(super) struct MaskContext(Vec<u8>);

impl MaskContext {
    pub(super) fn new(scope: &Scope, context: &TrainingContext) -> Self {
        Self(codec::canonical(&(scope, context)))
    }

    /// The seed of a client's self mask, from its b_u.
    pub(super) fn self_mask(&self, client: RosterIndex, self_mask: &Seed) -> Seed {
        let context: &[&[u8]] = &[&self.0, &client.0.to_le_bytes()];
        kdf::derive(self_mask, "roundelay/round/self-mask", context)
    }
}

#[cfg(test)]
mod tests;
