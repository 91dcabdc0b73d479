//! Two clients, one key, safe as long as either X25519 (RFC 7748) or ML-KEM-768 (FIPS 203) is.
//!
//! Both halves of a secret key come from one seed, and an encapsulation takes its message from
//! the caller instead of a generator. So whoever rebuilds the seed of a dropped client from its
//! shares reopens the very same keys, the post-quantum part included.

use std::fmt;

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::kdf;
use crate::secret::{Secret, Seed};

mod kem;

use kem::{DecapsulationKey, EncapsulationKey};

/// Bytes of an X25519 public key.
const X25519_BYTES: usize = 32;
/// The points of small order and their unreduced spellings (Bernstein, cr.yp.to/ecdh.html), with
/// the highest bit clear, which X25519 does not read.
const SMALL_ORDER: [[u8; X25519_BYTES]; 7] = [
    [0; 32],
    spelling(0x01, 0x00, 0x00),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
    spelling(0xec, 0xff, 0x7f),
    spelling(0xed, 0xff, 0x7f),
    spelling(0xee, 0xff, 0x7f),
];

/// A number by its first, its middle and its last byte.
const fn spelling(first: u8, middle: u8, last: u8) -> [u8; X25519_BYTES] {
    let mut bytes = [middle; X25519_BYTES];
    bytes[0] = first;
    bytes[X25519_BYTES - 1] = last;
    bytes
}

/// The secret half of an agreement key pair. Wiped when dropped.
pub struct AgreementSecret {
    /// On the heap like the other half: moving the key leaves no copy behind.
    x25519: Box<StaticSecret>,
    kem: DecapsulationKey,
    public: AgreementPublic,
}

/// Both secret fields wipe themselves.
impl ZeroizeOnDrop for AgreementSecret {}

impl AgreementSecret {
    /// Both halves from one seed, by distinct HKDF labels; `label` tells keys of one seed apart.
    pub fn derive(seed: &Seed, label: &str) -> Self {
        let context = &[label.as_bytes()];
        let scalar = kdf::derive(seed, "roundelay/agreement/x25519", context);
        let d_and_z = kdf::derive(seed, "roundelay/agreement/ml-kem-768", context);
        Self::from_halves(&scalar, &d_and_z)
    }

    /// The X25519 scalar, and the two seeds d ‖ z of ML-KEM (FIPS 203, algorithm 16).
    fn from_halves(scalar: &Seed, d_and_z: &Secret<[u8; 64]>) -> Self {
        // The constructor takes its bytes by value; the copy that is made here is wiped.
        let scalar = Zeroizing::new(*scalar.expose());
        let x25519 = Box::new(StaticSecret::from(*scalar));
        let (kem, public) = DecapsulationKey::from_seed(d_and_z);
        let public = AgreementPublic { x25519: PublicKey::from(&*x25519).to_bytes(), kem: public };
        Self { x25519, kem, public }
    }

    /// The half that others know.
    pub fn public(&self) -> &AgreementPublic {
        &self.public
    }

    /// X25519 with a peer: the same for what goes to it and for what comes from it.
    ///
    /// # Errors
    /// The peer's small-order point has fixed the result.
    pub fn exchange(&self, peer: &AgreementPublic) -> Result<Exchange, AgreementError> {
        let shared = self.x25519.diffie_hellman(&peer.x25519());
        if shared.was_contributory() { Ok(Exchange(shared)) } else { Err(AgreementError::LowOrder) }
    }
}

/// The X25519 half of what two key pairs share. Wiped when dropped.
pub struct Exchange(x25519_dalek::SharedSecret);

/// Its one field wipes itself.
impl ZeroizeOnDrop for Exchange {}

/// The public half: an X25519 key, then an ML-KEM-768 encapsulation key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgreementPublic {
    x25519: [u8; X25519_BYTES],
    kem: EncapsulationKey,
}

impl AgreementPublic {
    /// Bytes of the encoding.
    pub const BYTES: usize = X25519_BYTES + kem::KEY_BYTES;

    /// Refuses an encapsulation key with a coefficient outside the field (FIPS 203, 7.2), and an
    /// X25519 key of small order: whoever took it could agree on nothing with it.
    pub fn parse(bytes: &[u8; Self::BYTES]) -> Result<Self, AgreementError> {
        let (x25519, kem) = bytes.split_first_chunk().ok_or(AgreementError::BadKey)?;
        let kem: &[u8; kem::KEY_BYTES] = kem.try_into().map_err(|_| AgreementError::BadKey)?;
        let mut point = *x25519;
        point[X25519_BYTES - 1] &= 0x7f;
        if SMALL_ORDER.contains(&point) {
            return Err(AgreementError::LowOrder);
        }
        let kem = EncapsulationKey::parse(kem).ok_or(AgreementError::BadKey)?;
        Ok(Self { x25519: *x25519, kem })
    }

    /// The bytes that [`parse`](Self::parse) takes.
    pub fn to_bytes(&self) -> Box<[u8; Self::BYTES]> {
        let mut bytes = Box::new([0; Self::BYTES]);
        let (x25519, kem) = bytes.split_at_mut(X25519_BYTES);
        x25519.copy_from_slice(&self.x25519);
        kem.copy_from_slice(self.kem.as_bytes());
        bytes
    }

    fn x25519(&self) -> PublicKey {
        PublicKey::from(self.x25519)
    }
}

impl fmt::Debug for AgreementPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = crate::digest::Digest::of(
            "roundelay/agreement/debug",
            &[&self.x25519, self.kem.as_bytes()],
        );
        write!(f, "AgreementPublic({digest})")
    }
}

/// An ML-KEM-768 ciphertext. Any bytes are one: a wrong one gives an unrelated key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KemCiphertext(Box<[u8; Self::BYTES]>);

impl KemCiphertext {
    /// Bytes of a ciphertext (FIPS 203, table 3).
    pub const BYTES: usize = kem::CIPHERTEXT_BYTES;

    /// Takes the bytes as they are.
    pub fn new(bytes: Box<[u8; Self::BYTES]>) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl fmt::Debug for KemCiphertext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = crate::digest::Digest::of("roundelay/agreement/debug", &[&*self.0]);
        write!(f, "KemCiphertext({digest})")
    }
}

/// Why no key was agreed. Either is the fault of the peer whose public key was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AgreementError {
    /// The peer's X25519 point has a small order: the result would not depend on our key.
    #[error("the peer's X25519 key has a small order")]
    LowOrder,
    /// The peer's encapsulation key is not one.
    #[error("the peer's ML-KEM-768 key has a coefficient outside the field")]
    BadKey,
}

/// What two clients share: the X25519 secret, then the ML-KEM secret. Wiped when dropped.
#[derive(ZeroizeOnDrop)]
pub struct HybridSecret(Secret<[u8; 64]>);

impl HybridSecret {
    fn new(x25519: &[u8; 32], kem: &[u8; 32]) -> Self {
        Self(Secret::fill_with(|bytes| {
            for (to, from) in bytes.iter_mut().zip(x25519.iter().chain(kem)) {
                *to = *from;
            }
        }))
    }

    /// HKDF over both secrets. `context` has to name all that the two must agree on: federation,
    /// round, edge, both public keys (by the roster's hash), all ciphertexts of the edge, model.
    pub fn pair_seed(&self, label: &str, context: &[&[u8]]) -> Seed {
        kdf::derive_from(self.0.expose(), label, context)
    }
}

/// Agrees on a key with `peer` and makes the ciphertext that lets it do the same.
///
/// The KEM is derandomised: `message` must be unpredictable and belong to this edge alone, since
/// a message used for two peers tells each the other's KEM secret.
pub fn encapsulate(
    own: &AgreementSecret,
    peer: &AgreementPublic,
    message: &Seed,
) -> Result<(KemCiphertext, HybridSecret), AgreementError> {
    Ok(encapsulate_after(&own.exchange(peer)?, peer, message))
}

/// [`encapsulate`] with an [exchange](AgreementSecret::exchange) with `peer` that was made already.
pub fn encapsulate_after(
    exchange: &Exchange,
    peer: &AgreementPublic,
    message: &Seed,
) -> (KemCiphertext, HybridSecret) {
    let (ciphertext, kem) = peer.kem.encapsulate(message);
    (KemCiphertext(ciphertext), HybridSecret::new(exchange.0.as_bytes(), &kem))
}

/// Agrees on the key that `peer` has encapsulated for us.
pub fn decapsulate(
    own: &AgreementSecret,
    peer: &AgreementPublic,
    ciphertext: &KemCiphertext,
) -> Result<HybridSecret, AgreementError> {
    Ok(decapsulate_after(&own.exchange(peer)?, own, ciphertext))
}

/// [`decapsulate`] with an [exchange](AgreementSecret::exchange) with the peer that was made
/// already.
pub fn decapsulate_after(
    exchange: &Exchange,
    own: &AgreementSecret,
    ciphertext: &KemCiphertext,
) -> HybridSecret {
    HybridSecret::new(exchange.0.as_bytes(), &own.kem.decapsulate(ciphertext.as_bytes()))
}

#[cfg(feature = "serde")]
mod wire {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use super::{AgreementPublic, KemCiphertext};
    use crate::tuple;

    impl Serialize for AgreementPublic {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            tuple::serialize(&self.to_bytes(), serializer)
        }
    }

    impl<'de> Deserialize<'de> for AgreementPublic {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let bytes = tuple::deserialize::<{ Self::BYTES }, D>(deserializer)?;
            Self::parse(&bytes).map_err(D::Error::custom)
        }
    }

    impl Serialize for KemCiphertext {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            tuple::serialize(&self.0, serializer)
        }
    }

    impl<'de> Deserialize<'de> for KemCiphertext {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            tuple::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests;
