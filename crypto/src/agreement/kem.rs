//! ML-KEM-768 (FIPS 203), deterministic: key pairs from their seed d ‖ z, ciphertexts from their
//! message m. The arithmetic is libcrux's, whose types do not wipe themselves; here they are.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use libcrux_ml_kem::mlkem768::{self, MlKem768Ciphertext, MlKem768PrivateKey, MlKem768PublicKey};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::secret::{Secret, Seed};

/// Bytes of an encapsulation key (FIPS 203, table 3).
pub(super) const KEY_BYTES: usize = 1184;
/// Bytes of a ciphertext (FIPS 203, table 3).
pub(super) const CIPHERTEXT_BYTES: usize = 1088;
/// Bytes of a decapsulation key (FIPS 203, table 3).
const SECRET_BYTES: usize = 2400;

/// The shared secret of an encapsulation.
pub(super) type KemSecret = Zeroizing<[u8; 32]>;

/// A decapsulation key, on the heap. Wiped when dropped.
pub(super) struct DecapsulationKey(Box<MlKem768PrivateKey>);

impl DecapsulationKey {
    /// The key pair of a seed d ‖ z (FIPS 203, algorithm 16).
    pub(super) fn from_seed(d_and_z: &Secret<[u8; 64]>) -> (Self, EncapsulationKey) {
        let pair = mlkem768::generate_key_pair(*d_and_z.expose());
        let (mut secret, public) = pair.into_parts();
        let own = Self(Box::new(secret.clone()));
        wipe(&mut secret);
        (own, EncapsulationKey(Box::new(public)))
    }

    /// The secret in a ciphertext; an unrelated one where it was made for another key (FIPS 203,
    /// algorithm 18).
    pub(super) fn decapsulate(&self, ciphertext: &[u8; CIPHERTEXT_BYTES]) -> KemSecret {
        Zeroizing::new(mlkem768::decapsulate(&self.0, &MlKem768Ciphertext::from(ciphertext)))
    }
}

impl Drop for DecapsulationKey {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl ZeroizeOnDrop for DecapsulationKey {}

fn wipe(secret: &mut MlKem768PrivateKey) {
    // The one way to its bytes, of which there are exactly so many.
    secret[0..SECRET_BYTES].zeroize();
}

/// An encapsulation key whose coefficients are all in the field (FIPS 203, section 7.2).
#[derive(Clone)]
pub(super) struct EncapsulationKey(Box<MlKem768PublicKey>);

impl EncapsulationKey {
    /// `None` where a coefficient is outside the field.
    pub(super) fn parse(bytes: &[u8; KEY_BYTES]) -> Option<Self> {
        let key = Box::new(MlKem768PublicKey::from(bytes));
        mlkem768::validate_public_key(&key).then_some(Self(key))
    }

    pub(super) fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        self.0.as_slice()
    }

    /// A ciphertext for this key, and the secret in it, from the 32 bytes of `message` (FIPS 203,
    /// algorithm 17).
    pub(super) fn encapsulate(&self, message: &Seed) -> (Box<[u8; CIPHERTEXT_BYTES]>, KemSecret) {
        let (ciphertext, secret) = mlkem768::encapsulate(&self.0, *message.expose());
        (Box::new(*ciphertext.as_slice()), Zeroizing::new(secret))
    }
}

impl PartialEq for EncapsulationKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for EncapsulationKey {}

impl PartialOrd for EncapsulationKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for EncapsulationKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for EncapsulationKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decapsulation_key_that_was_wiped_has_none_of_its_bytes_left() {
        let (mut own, _) = DecapsulationKey::from_seed(&Secret::new([7; 64]));
        assert_ne!(own.0.as_slice(), &[0; SECRET_BYTES]);
        wipe(&mut own.0);
        assert_eq!(own.0.as_slice(), &[0; SECRET_BYTES]);
    }
}
