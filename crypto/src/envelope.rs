//! Stored values under two keys: a data key of their own, wrapped by a key-encryption key.
//!
//! A value is bound to the place where it is stored, so that a row copied over another, or an old
//! version put back, does not open. Both boxes are a nonce of 96 random bits, the bytes, and the
//! tag. The key-encryption key never meets a value: it may live elsewhere, and turning it over
//! rewraps the data keys alone.

use rand_core::CryptoRng;
use zeroize::ZeroizeOnDrop;

use crate::sealed::{NONCE_BYTES, OpenError, TAG_BYTES, open, open_in_place, seal_in_place};
use crate::secret::{Secret, Seed};

/// Where a value is stored; all of it is authenticated.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The tenant who owns the row.
    pub tenant: &'a [u8],
    /// The table.
    pub table: &'a str,
    /// The row's key.
    pub row: &'a [u8],
    /// The column.
    pub column: &'a str,
    /// The version of the row or of its schema, as the store counts it.
    pub version: u64,
}

impl Place<'_> {
    /// The additional data of one of the two boxes of an envelope.
    fn with_aad<T>(&self, part: &str, f: impl FnOnce(&[&[u8]]) -> T) -> T {
        let version = self.version.to_le_bytes();
        let Self { tenant, table, row, column, .. } = *self;
        f(&[part.as_bytes(), tenant, table.as_bytes(), row, column.as_bytes(), &version])
    }
}

/// The key of one stored value. Wiped when dropped.
#[derive(ZeroizeOnDrop)]
pub struct DataKey(Seed);

impl DataKey {
    /// A new key, for one value.
    pub fn random(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Self(Secret::random(rng))
    }

    /// Seals a value: nonce, bytes, tag.
    pub fn seal(
        &self,
        place: &Place<'_>,
        value: &[u8],
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Vec<u8> {
        let mut sealed = Vec::new();
        self.seal_onto(&mut sealed, place, value, rng);
        sealed
    }

    /// As [`seal`](Self::seal), behind what is there already.
    pub fn seal_onto(
        &self,
        sealed: &mut Vec<u8>,
        place: &Place<'_>,
        value: &[u8],
        rng: &mut (impl CryptoRng + ?Sized),
    ) {
        place.with_aad("value", |aad| seal_random(sealed, &self.0, aad, value, rng));
    }

    /// Opens what [`seal`](Self::seal) made for the same place.
    pub fn open(&self, place: &Place<'_>, sealed: &[u8]) -> Result<Secret<Vec<u8>>, OpenError> {
        place.with_aad("value", |aad| open_random(&self.0, aad, sealed))
    }

    /// Opens what [`seal`](Self::seal) made where it is, and returns the part of it that is the
    /// value now. For bulk bytes that need not be wiped; refused bytes stay as they were.
    pub fn open_in_place<'a>(
        &self,
        place: &Place<'_>,
        sealed: &'a mut [u8],
    ) -> Result<&'a mut [u8], OpenError> {
        let (nonce, rest) = sealed.split_first_chunk_mut().ok_or(OpenError)?;
        let (value, tag) = rest.split_last_chunk_mut().ok_or(OpenError)?;
        place.with_aad("value", |aad| open_in_place(&self.0, *nonce, aad, value, *tag))?;
        Ok(value)
    }
}

/// The key that wraps data keys. Wiped when dropped.
#[derive(ZeroizeOnDrop)]
pub struct KeyEncryptionKey(Seed);

impl KeyEncryptionKey {
    /// Takes the key in.
    pub fn new(key: Seed) -> Self {
        Self(key)
    }

    /// Wraps a data key for a place: nonce, key, tag. For stores that keep the wrapped key apart.
    pub fn wrap(
        &self,
        place: &Place<'_>,
        key: &DataKey,
        rng: &mut (impl CryptoRng + ?Sized),
    ) -> Vec<u8> {
        let mut wrapped = Vec::new();
        place.with_aad("data key", |aad| {
            seal_random(&mut wrapped, &self.0, aad, key.0.expose(), rng);
        });
        wrapped
    }

    /// Unwraps what [`wrap`](Self::wrap) made for the same place.
    pub fn unwrap(&self, place: &Place<'_>, wrapped: &[u8]) -> Result<DataKey, OpenError> {
        let key = place.with_aad("data key", |aad| open_random(&self.0, aad, wrapped))?;
        Secret::from_slice(key.expose()).map(DataKey).ok_or(OpenError)
    }
}

fn seal_random(
    sealed: &mut Vec<u8>,
    key: &Seed,
    aad: &[&[u8]],
    plaintext: &[u8],
    rng: &mut (impl CryptoRng + ?Sized),
) {
    let mut nonce = [0; NONCE_BYTES];
    rng.fill_bytes(&mut nonce);
    // All the room from the start: no reallocation leaves plaintext behind.
    sealed.reserve_exact(NONCE_BYTES + plaintext.len() + TAG_BYTES);
    sealed.extend_from_slice(&nonce);
    let start = sealed.len();
    sealed.extend_from_slice(plaintext);
    let (_, value) = sealed.split_at_mut(start);
    let tag = seal_in_place(key, nonce, aad, value);
    sealed.extend_from_slice(&tag);
}

fn open_random(key: &Seed, aad: &[&[u8]], sealed: &[u8]) -> Result<Secret<Vec<u8>>, OpenError> {
    let (nonce, sealed) = sealed.split_first_chunk().ok_or(OpenError)?;
    open(key, *nonce, aad, sealed)
}

#[cfg(test)]
mod tests;
