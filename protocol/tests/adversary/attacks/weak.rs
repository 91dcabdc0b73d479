//! A weak round: masks and self masks as in a real one, from agreements between clients that check
//! nothing, sign nothing and bind their masks to nothing but what a test says.

use roundelay_crypto::agreement::{AgreementPublic, AgreementSecret, HybridSecret, encapsulate};
use roundelay_crypto::kdf;
use roundelay_crypto::mask::{MaskKey, Ring, Sign, add_masks, add_words};
use roundelay_crypto::secret::{Secret, Seed};

pub(super) const WORDS: usize = 8;

/// A client that believes what it is told.
pub(super) struct WeakClient {
    /// k.
    pub(super) key: Seed,
    /// b.
    pub(super) self_mask: Seed,
    pub(super) masks: AgreementSecret,
    /// What it contributes, in words of 32 bits.
    pub(super) contribution: Vec<u8>,
}

impl WeakClient {
    pub(super) fn new(number: u8) -> Self {
        let key = Secret::new([number + 1; 32]);
        Self {
            masks: AgreementSecret::derive(&key, "weak/mask"),
            self_mask: Secret::new([number + 101; 32]),
            contribution: vec![number + 1; 4 * WORDS],
            key,
        }
    }
}

/// So many of them.
pub(super) fn clients(number: u8) -> Vec<WeakClient> {
    (0..number).map(WeakClient::new).collect()
}

/// The secret of an edge as its lower end makes it.
pub(super) fn edge_secret(low: &WeakClient, to: usize, high: &AgreementPublic) -> HybridSecret {
    let place = u16::try_from(to).unwrap().to_le_bytes();
    let message = kdf::derive(&low.key, "weak/encapsulation", &[&place]);
    encapsulate(&low.masks, high, &message).unwrap().1
}

/// A client's masked vector: its self mask, and one pairwise mask for each peer, with its seed.
pub(super) fn masked(client: &WeakClient, own: usize, pairs: Vec<(usize, Seed)>) -> Vec<u8> {
    let mut vector = client.contribution.clone();
    let mut keys = vec![self_mask(client, Sign::Plus)];
    keys.extend(pairs.into_iter().map(|(peer, seed)| MaskKey { seed, sign: sign(own, peer) }));
    add_masks(&mut vector, Ring::Z32, &keys, 0);
    vector
}

pub(super) fn self_mask(client: &WeakClient, sign: Sign) -> MaskKey {
    MaskKey { seed: kdf::derive(&client.self_mask, "weak/self-mask", &[]), sign }
}

pub(super) fn sign(own: usize, peer: usize) -> Sign {
    if own < peer { Sign::Plus } else { Sign::Minus }
}

/// The sum of vectors in words of 32 bits.
pub(super) fn sum<'a>(vectors: impl IntoIterator<Item = &'a Vec<u8>>) -> Vec<u8> {
    let mut total = vec![0; 4 * WORDS];
    vectors.into_iter().for_each(|vector| add_words(&mut total, Ring::Z32, vector));
    total
}
