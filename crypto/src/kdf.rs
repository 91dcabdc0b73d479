//! Keys from keys: HKDF-SHA256 (RFC 5869) with a label and a context in its info.

use hkdf::Hkdf;
use sha2::Sha256;

use crate::prefix::prefixed_bytes;
use crate::secret::{Secret, Seed};

/// The most bytes that HKDF-SHA256 gives: 255 blocks of its hash (RFC 5869, section 2.3).
const OUTPUT_BYTES_MAX: usize = 255 * 32;

/// N bytes derived from `key`: no salt, info = `label` and every part of `context`, each behind
/// its length (u64 little endian). Another label or another context gives an independent key.
pub fn derive<const N: usize>(key: &Seed, label: &str, context: &[&[u8]]) -> Secret<[u8; N]> {
    derive_from(key.expose(), label, context)
}

/// [`derive`] from key material of any length.
pub(crate) fn derive_from<const N: usize>(
    material: &[u8],
    label: &str,
    context: &[&[u8]],
) -> Secret<[u8; N]> {
    expand(material, &prefixed_bytes(label, context))
}

/// Plain HKDF-SHA256 without salt.
fn expand<const N: usize>(material: &[u8], info: &[u8]) -> Secret<[u8; N]> {
    const { assert!(N <= OUTPUT_BYTES_MAX, "HKDF-SHA256 gives at most 8160 bytes") };
    Secret::fill_with(|bytes| {
        Hkdf::<Sha256>::new(None, material)
            .expand(info, bytes)
            .expect("the length was bounded at compile time");
    })
}

#[cfg(test)]
mod tests;
