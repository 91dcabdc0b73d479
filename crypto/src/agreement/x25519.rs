//! X25519 (RFC 7748), one half of an agreement.
//!
//! With the feature `aws-lc` products with peers' points come from that library's assembly, in about
//! half the time. The results are the same, and what it refuses is decided by the portable one.

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::secret::Seed;

/// Bytes of a public key.
pub(super) const BYTES: usize = 32;
/// The points of small order and their unreduced spellings (Bernstein, cr.yp.to/ecdh.html), with
/// the highest bit clear, which X25519 does not read.
const SMALL_ORDER: [[u8; BYTES]; 7] = [
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
const fn spelling(first: u8, middle: u8, last: u8) -> [u8; BYTES] {
    let mut bytes = [middle; BYTES];
    bytes[0] = first;
    bytes[BYTES - 1] = last;
    bytes
}

/// Whether everyone agrees on the same with this point.
pub(super) fn has_small_order(point: &[u8; BYTES]) -> bool {
    let mut point = *point;
    point[BYTES - 1] &= 0x7f;
    SMALL_ORDER.contains(&point)
}

/// A secret scalar. Wiped when dropped.
pub(super) struct SecretScalar {
    /// On the heap: moving the key leaves no copy behind.
    portable: Box<StaticSecret>,
    #[cfg(feature = "aws-lc")]
    assembly: Option<aws_lc_rs::agreement::PrivateKey>,
}

/// One field wipes itself, and aws-lc wipes every allocation that it frees.
impl ZeroizeOnDrop for SecretScalar {}

impl SecretScalar {
    pub(super) fn new(scalar: &Seed) -> Self {
        // The constructor takes its bytes by value; the copy that is made here is wiped.
        let bytes = Zeroizing::new(*scalar.expose());
        Self {
            portable: Box::new(StaticSecret::from(*bytes)),
            #[cfg(feature = "aws-lc")]
            assembly: assembly::secret(scalar),
        }
    }

    pub(super) fn public(&self) -> [u8; BYTES] {
        PublicKey::from(&*self.portable).to_bytes()
    }

    /// The secret shared with a peer; none where its point of small order has fixed it.
    pub(super) fn exchange(&self, peer: &[u8; BYTES]) -> Option<Seed> {
        #[cfg(feature = "aws-lc")]
        if let Some(own) = &self.assembly
            && let Some(shared) = assembly::exchange(own, peer)
        {
            return Some(shared);
        }
        self.exchange_portably(peer)
    }

    pub(super) fn exchange_portably(&self, peer: &[u8; BYTES]) -> Option<Seed> {
        let shared = self.portable.diffie_hellman(&PublicKey::from(*peer));
        shared.was_contributory().then(|| Seed::fill_with(|own| *own = *shared.as_bytes()))
    }
}

#[cfg(feature = "aws-lc")]
mod assembly {
    use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};

    use super::{BYTES, Seed};

    pub(super) fn secret(scalar: &Seed) -> Option<PrivateKey> {
        PrivateKey::from_private_key(&X25519, scalar.expose()).ok()
    }

    pub(super) fn exchange(own: &PrivateKey, peer: &[u8; BYTES]) -> Option<Seed> {
        let peer = UnparsedPublicKey::new(&X25519, peer);
        agree(own, peer, (), |shared| Seed::from_slice(shared).ok_or(())).ok()
    }
}
