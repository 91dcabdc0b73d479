//! AES-256-GCM boxes (NIST SP 800-38D): what only the holder of one key can read or make.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use zeroize::Zeroize;

use crate::prefix::prefixed_bytes;
use crate::secret::{Secret, Seed};

/// Bytes that sealing adds to a plaintext: the tag.
pub const TAG_BYTES: usize = 16;
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 12;

/// Seals `plaintext`, bound to `aad` (each part behind its length). One key must never see the
/// same nonce twice.
///
/// # Panics
/// With more than 64 GiB of plaintext, which GCM cannot seal.
pub fn seal(key: &Seed, nonce: [u8; NONCE_BYTES], aad: &[&[u8]], plaintext: &[u8]) -> Vec<u8> {
    encrypt(key, nonce, &additional(aad), plaintext)
}

/// Opens what [`seal`] made with the same key, nonce and `aad`.
pub fn open(
    key: &Seed,
    nonce: [u8; NONCE_BYTES],
    aad: &[&[u8]],
    sealed: &[u8],
) -> Result<Secret<Vec<u8>>, OpenError> {
    decrypt(key, nonce, &additional(aad), sealed)
}

/// [`seal`] under a key that seals this one box and nothing else, ever: with the nonce zero.
pub fn seal_once(key: &Seed, aad: &[&[u8]], plaintext: &[u8]) -> Vec<u8> {
    seal(key, [0; NONCE_BYTES], aad, plaintext)
}

/// Opens what [`seal_once`] made.
pub fn open_once(key: &Seed, aad: &[&[u8]], sealed: &[u8]) -> Result<Secret<Vec<u8>>, OpenError> {
    open(key, [0; NONCE_BYTES], aad, sealed)
}

/// Seals bytes where they are and returns the tag. For bulk bytes, which are not copied.
///
/// # Panics
/// As [`seal`].
pub fn seal_in_place(
    key: &Seed,
    nonce: [u8; NONCE_BYTES],
    aad: &[&[u8]],
    bytes: &mut [u8],
) -> [u8; TAG_BYTES] {
    Aes256Gcm::new(key.expose().into())
        .encrypt_inout_detached(&nonce.into(), &additional(aad), bytes.into())
        .expect("a plaintext is far below the 64 GiB of one GCM message")
        .into()
}

/// Opens bytes where they are. Bytes that are refused stay as they were.
pub fn open_in_place(
    key: &Seed,
    nonce: [u8; NONCE_BYTES],
    aad: &[&[u8]],
    bytes: &mut [u8],
    tag: [u8; TAG_BYTES],
) -> Result<(), OpenError> {
    Aes256Gcm::new(key.expose().into())
        .decrypt_inout_detached(&nonce.into(), &additional(aad), bytes.into(), &tag.into())
        .map_err(|_| OpenError)
}

/// The box was not sealed under this key for this place, or was altered since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the box does not open: another key, another place, or altered bytes")]
pub struct OpenError;

fn additional(aad: &[&[u8]]) -> Vec<u8> {
    prefixed_bytes("roundelay/sealed", aad)
}

fn encrypt(key: &Seed, nonce: [u8; NONCE_BYTES], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    // The room for the tag is there from the start: no reallocation leaves plaintext behind.
    let mut sealed = Vec::with_capacity(plaintext.len() + TAG_BYTES);
    sealed.extend_from_slice(plaintext);
    Aes256Gcm::new(key.expose().into())
        .encrypt_in_place(&nonce.into(), aad, &mut sealed)
        .expect("a plaintext is far below the 64 GiB of one GCM message");
    sealed
}

fn decrypt(
    key: &Seed,
    nonce: [u8; NONCE_BYTES],
    aad: &[u8],
    sealed: &[u8],
) -> Result<Secret<Vec<u8>>, OpenError> {
    let mut opened = sealed.to_vec();
    match Aes256Gcm::new(key.expose().into()).decrypt_in_place(&nonce.into(), aad, &mut opened) {
        Ok(()) => Ok(Secret::new(opened)),
        Err(_) => {
            opened.zeroize();
            Err(OpenError)
        }
    }
}

#[cfg(test)]
mod tests;
