//! Two clients, one key, safe as long as either X25519 (RFC 7748) or ML-KEM-768 (FIPS 203) is.
//!
//! Both halves of a secret key come from one seed, and an encapsulation takes its message from
//! the caller instead of a generator. So whoever rebuilds the seed of a dropped client from its
//! shares reopens the very same keys, the post-quantum part included.

use std::fmt;

use zeroize::ZeroizeOnDrop;

use crate::kdf;
use crate::secret::{Secret, Seed};

mod kem;
mod x25519;

use kem::{DecapsulationKey, EncapsulationKey};
use x25519::{BYTES as X25519_BYTES, SecretScalar, has_small_order};

/// The secret half of an agreement key pair. Wiped when dropped.
pub struct AgreementSecret {
    x25519: SecretScalar,
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
        let x25519 = SecretScalar::new(scalar);
        let (kem, public) = DecapsulationKey::from_seed(d_and_z);
        let public = AgreementPublic { x25519: x25519.public(), kem: public };
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
        self.x25519.exchange(&peer.x25519).map(Exchange).ok_or(AgreementError::LowOrder)
    }
}

/// The X25519 half of what two key pairs share. Wiped when dropped.
pub struct Exchange(Seed);

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
        if has_small_order(x25519) {
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
    (KemCiphertext(ciphertext), HybridSecret::new(exchange.0.expose(), &kem))
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
    HybridSecret::new(exchange.0.expose(), &own.kem.decapsulate(ciphertext.as_bytes()))
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
