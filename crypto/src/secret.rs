//! Values that must not leave by accident: no Debug, no Clone, no Serialize, wiped when dropped.
//!
//! A [`Secret`] keeps its value on the heap, so that moving it copies a pointer and leaves no
//! second copy of the bytes behind on the stack.

use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// 32 secret bytes: the size of every seed and key of the protocol.
pub type Seed = Secret<[u8; 32]>;

/// A value that is wiped when dropped and can be neither printed nor copied.
///
/// ```compile_fail,E0277
/// let secret = roundelay_crypto::secret::Secret::new([7u8; 32]);
/// println!("{secret:?}");
/// ```
///
/// ```compile_fail,E0599
/// let secret = roundelay_crypto::secret::Secret::new([7u8; 32]);
/// let second = secret.clone();
/// ```
pub struct Secret<T: Zeroize>(Box<T>);

impl<T: Zeroize> Secret<T> {
    /// Takes a value in. The caller's own copy, if it keeps one, is the caller's to wipe.
    pub fn new(value: T) -> Self {
        Self(Box::new(value))
    }

    /// The value, for as long as it takes to use it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<const N: usize> Secret<[u8; N]> {
    /// Zero bytes on the heap, filled in place by `fill`: no copy on the stack.
    pub fn fill_with(fill: impl FnOnce(&mut [u8; N])) -> Self {
        let mut bytes = Box::new([0; N]);
        fill(&mut bytes);
        Self(bytes)
    }

    /// N bytes drawn from `rng`.
    pub fn random(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Self::fill_with(|bytes| rng.fill_bytes(bytes))
    }

    /// A copy of `bytes`, or nothing where their number is not N.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; N] = bytes.try_into().ok()?;
        Some(Self::fill_with(|own| own.copy_from_slice(bytes)))
    }

    /// Whether the two are equal, in a time that does not depend on where they differ.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> ZeroizeOnDrop for Secret<T> {}

#[cfg(test)]
mod tests;
