//! What a round costs one client, by formula: keys, bytes and processor time, and what each dropout
//! costs the coordinator. Bytes are those of the wire version at hand; a test holds adverts and leaves
//! against ones that were encoded. Times are what such a machine takes, and no more than that.

use roundelay_crypto::graph::Parameters;
use serde::Serialize;

/// An advert: two pairs of an X25519 key and an ML-KEM-768 encapsulation key, two digests, a
/// signature.
pub(super) const ADVERT_BYTES: u64 = 2 * (32 + 1184) + 32 + 32 + 64;
/// A leaf but for its mask ciphertext: a KEM ciphertext, a box with two shares, two commitments, two
/// numbers.
pub(super) const LEAF_BYTES: u64 = 1088 + 80 + 64 + 2 + 8;
/// A mask ciphertext: one for each edge, by its lower end.
const KEM_CIPHERTEXT_BYTES: u64 = 1088;
const DIGEST_BYTES: u64 = 32;
const SIGNATURE_BYTES: u64 = 64;
const INDEX_BYTES: u64 = 2;

/// One core of a server with VAES: microseconds of an X25519 product, of an ML-KEM-768 operation and
/// of a signature that is verified among others; and bytes of masks in a second.
const X25519_US: f64 = 36.0;
const ML_KEM_US: f64 = 25.0;
const VERIFY_US: f64 = 25.0;
const MASK_BYTES_PER_SECOND: f64 = 13e9;

/// What a round costs, by formula.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cost {
    /// d.
    pub parameters: u64,
    /// Bits of a word of an update.
    pub ring_bits: u8,
    /// Key pairs that a client makes, each of X25519 and ML-KEM-768: one for masks, one for boxes.
    pub key_pairs: u32,
    /// Agreements of a client: one for the mask and one for the boxes of each neighbour.
    pub agreements: u32,
    /// Masks of a client: one for each neighbour and its own.
    pub masks: u32,
    /// All but the vector that a client sends: advert, shares, commit, signature, reveal.
    pub control_bytes_up: u64,
    /// All but the model that a client gets: plans, adverts, boxes, survivor set, quorum.
    pub control_bytes_down: u64,
    /// The masked vector.
    pub vector_bytes_up: u64,
    /// The model.
    pub model_bytes_down: u64,
    /// Processor time of a client for keys, boxes and signatures, in milliseconds.
    pub client_keys_ms: f64,
    /// Processor time of a client for its masks, in milliseconds.
    pub client_masks_ms: f64,
    /// Processor time of the coordinator for the masks of one dropout, in milliseconds.
    pub dropout_masks_ms: f64,
}

impl Cost {
    /// Of a round with these numbers, where nobody drops out.
    #[must_use]
    pub fn of(found: &Parameters, parameters: u64, ring_bits: u8) -> Self {
        let (n, k) = (u64::from(found.clients()), u64::from(found.degree()));
        let sparse = !found.is_complete();
        let vector = parameters.saturating_mul(u64::from(ring_bits) / 8);
        let masks = seconds_of_masks(vector) * 1e3;
        let verified = k * 2 + u64::from(found.quorum()) * 2;
        Self {
            parameters,
            ring_bits,
            key_pairs: 2,
            agreements: u32::from(found.degree()) * 2,
            masks: u32::from(found.degree()) + 1,
            control_bytes_up: up(k, sparse),
            control_bytes_down: down(n, k, found.quorum().into(), sparse),
            vector_bytes_up: vector,
            model_bytes_down: parameters.saturating_mul(4),
            // Two products and three encapsulations or decapsulations for each neighbour.
            client_keys_ms: (2.0 * (X25519_US + ML_KEM_US)
                + float(k) * (2.0 * X25519_US + 3.0 * ML_KEM_US)
                + float(verified) * VERIFY_US)
                / 1e3,
            client_masks_ms: float(k + 1) * masks,
            dropout_masks_ms: float(k) * masks,
        }
    }
}

/// Advert; leaves under a signed root; word that the boxes opened; commit; signature; shares.
fn up(k: u64, sparse: bool) -> u64 {
    let nonce = if sparse { 2 * DIGEST_BYTES } else { 0 };
    let leaves = k * LEAF_BYTES + k * KEM_CIPHERTEXT_BYTES / 2;
    let signed_root = DIGEST_BYTES + SIGNATURE_BYTES;
    let shares = (k + 1) * DIGEST_BYTES;
    ADVERT_BYTES + nonce + leaves + 2 * signed_root + 2 * SIGNATURE_BYTES + shares
}

/// The cohort's ids; neighbours' adverts and boxes with their paths; who opened; set and quorum. In
/// a sparse graph the digests, nonces and roots of everybody in place of what is not a neighbour's.
fn down(n: u64, k: u64, q: u64, sparse: bool) -> u64 {
    let opened = if sparse { n } else { q };
    let everyone = if sparse { n * 4 * (DIGEST_BYTES + INDEX_BYTES) } else { 0 };
    let path = u64::from(u64::BITS - k.saturating_sub(1).leading_zeros()) * DIGEST_BYTES;
    let delivery = LEAF_BYTES + path + DIGEST_BYTES + SIGNATURE_BYTES + INDEX_BYTES + INDEX_BYTES;
    n * DIGEST_BYTES
        + k * (ADVERT_BYTES + INDEX_BYTES + delivery)
        + k * KEM_CIPHERTEXT_BYTES / 2
        + opened * (SIGNATURE_BYTES + INDEX_BYTES)
        + n * INDEX_BYTES
        + n * (DIGEST_BYTES + INDEX_BYTES)
        + q * (SIGNATURE_BYTES + INDEX_BYTES)
        + everyone
}

fn seconds_of_masks(bytes: u64) -> f64 {
    float(bytes) / MASK_BYTES_PER_SECOND
}

#[allow(clippy::cast_precision_loss, reason = "an estimate")]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use roundelay_crypto::agreement::{AgreementSecret, KemCiphertext};
    use roundelay_crypto::digest::Digest;
    use roundelay_crypto::identity::IdentityKey;
    use roundelay_crypto::secret::Secret;
    use roundelay_protocol::codec;
    use roundelay_protocol::ids::{RosterIndex, RoundNumber};
    use roundelay_protocol::limits::SEALED_SHARES_BYTES;
    use roundelay_protocol::message::{Advert, ShareCommitments, ShareLeaf};

    use super::*;

    /// What the codec adds: a byte for each thing that may be missing, the length of a box.
    const FRAMING_BYTES: u64 = 10;

    fn assert_close(encoded: &[u8], counted: u64) {
        let encoded = encoded.len() as u64;
        assert!((counted..=counted + FRAMING_BYTES).contains(&encoded), "{encoded}, {counted}");
    }

    #[test]
    fn an_advert_and_a_leaf_are_as_long_as_the_formula_counts() {
        let keys = |label| AgreementSecret::derive(&Secret::new([7; 32]), label).public().clone();
        let digest = Digest::of("roundelay/test", &[]);
        let advert = Advert {
            mask: keys("mask"),
            boxes: keys("boxes"),
            self_mask_commitment: digest,
            last_transcript: digest,
            draw: None,
            signature: IdentityKey::from_seed(Secret::new([7; 32])).sign(b"advert"),
        };
        assert_close(&codec::encode(&advert), ADVERT_BYTES);
        let ciphertext = || KemCiphertext::new(Box::new([7; KemCiphertext::BYTES]));
        let leaf = |mask_ciphertext| ShareLeaf {
            to: RosterIndex(2),
            mask_ciphertext,
            box_ciphertext: ciphertext(),
            sealed: vec![7; SEALED_SHARES_BYTES],
            commitments: ShareCommitments { key: digest, self_mask: digest },
            met: RoundNumber(9),
        };
        assert_close(&codec::encode(&leaf(None)), LEAF_BYTES);
        assert_close(&codec::encode(&leaf(Some(ciphertext()))), LEAF_BYTES + KEM_CIPHERTEXT_BYTES);
    }
}
