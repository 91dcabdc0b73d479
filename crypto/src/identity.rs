//! Who speaks: Ed25519 identities (RFC 8032), verified strictly, named by their fingerprint.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use rand_core::CryptoRng;
use zeroize::ZeroizeOnDrop;

use crate::digest::Digest;
use crate::secret::{Secret, Seed};

/// The secret half of an identity. Wiped when dropped.
#[derive(ZeroizeOnDrop)]
pub struct IdentityKey {
    seed: Seed,
    signing: SigningKey,
}

impl IdentityKey {
    /// The identity of a stored seed.
    pub fn from_seed(seed: Seed) -> Self {
        let signing = SigningKey::from_bytes(seed.expose());
        Self { seed, signing }
    }

    /// A new identity.
    pub fn random(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Self::from_seed(Secret::random(rng))
    }

    /// The half that others know.
    pub fn public(&self) -> IdentityPublic {
        IdentityPublic(self.signing.verifying_key())
    }

    /// Signs the bytes as they are; what they mean is said by a label inside them.
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.signing.sign(message).to_bytes())
    }

    /// The seed, for its owner to store.
    pub fn seed(&self) -> &Seed {
        &self.seed
    }
}

/// The public half of an identity: a canonical point of large order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct IdentityPublic(VerifyingKey);

impl IdentityPublic {
    /// Refuses what is no point, is not written canonically, or has a small order (under which
    /// one signature would fit many messages).
    pub fn parse(bytes: [u8; 32]) -> Result<Self, BadIdentity> {
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| BadIdentity)?;
        let canonical = key.to_edwards().compress().to_bytes() == bytes;
        if key.is_weak() || !canonical { Err(BadIdentity) } else { Ok(Self(key)) }
    }

    /// The 32 bytes that [`parse`](Self::parse) takes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The digest by which people compare identities over another channel.
    pub fn fingerprint(&self) -> Digest {
        Digest::of("roundelay/identity/fingerprint", &[self.as_bytes()])
    }

    /// Whether `signature` is this identity's over `message`. Strict: malleable signatures and
    /// small-order components are refused.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), BadSignature> {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        self.0.verify_strict(message, &signature).map_err(|_| BadSignature)
    }
}

/// The first of these signatures that is not its identity's over its message, if any: all together
/// at about half the cost of one by one.
///
/// None of what [`verify`](IdentityPublic::verify) takes is refused, and nobody can sign for
/// another. But the owner of a key can make signatures with a part of small order that pass here,
/// in some companies, and not alone: so what has to convince everyone, such as a proof of a lie, is
/// verified alone.
pub fn first_bad<M: AsRef<[u8]>>(signed: &[(&IdentityPublic, M, &Signature)]) -> Option<usize> {
    let messages: Vec<&[u8]> = signed.iter().map(|(_, message, _)| message.as_ref()).collect();
    let parse = |signature: &Signature| ed25519_dalek::Signature::from_bytes(&signature.0);
    let signatures: Vec<_> = signed.iter().map(|(.., signature)| parse(signature)).collect();
    let keys: Vec<VerifyingKey> = signed.iter().map(|(identity, ..)| identity.0).collect();
    if ed25519_dalek::verify_batch(&messages, &signatures, &keys).is_ok() {
        return None;
    }
    let is_bad = |(identity, message, signature): &(&IdentityPublic, M, &Signature)| {
        identity.verify(message.as_ref(), signature).is_err()
    };
    signed.iter().position(is_bad)
}

impl PartialOrd for IdentityPublic {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for IdentityPublic {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for IdentityPublic {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for IdentityPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityPublic({})", self.fingerprint())
    }
}

/// The bytes are not a public identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an Ed25519 public key: no canonical point of large order")]
pub struct BadIdentity;

/// The signature is not this identity's over this message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct BadSignature;

/// An Ed25519 signature; any 64 bytes until verified.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", hex::encode(self.0))
    }
}

#[cfg(feature = "serde")]
mod wire {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use super::{IdentityPublic, Signature};
    use crate::tuple;

    impl Serialize for IdentityPublic {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            tuple::serialize(self.as_bytes(), serializer)
        }
    }

    impl<'de> Deserialize<'de> for IdentityPublic {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Self::parse(*tuple::deserialize(deserializer)?).map_err(D::Error::custom)
        }
    }

    impl Serialize for Signature {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            tuple::serialize(&self.0, serializer)
        }
    }

    impl<'de> Deserialize<'de> for Signature {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Ok(Self(*tuple::deserialize(deserializer)?))
        }
    }
}

#[cfg(test)]
mod tests;
