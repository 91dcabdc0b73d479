//! BLAKE3 digests with a domain label: the names of models, rosters, uploads and manifests.

use std::fmt;
use std::str::FromStr;

use crate::prefix::prefixed;

/// A BLAKE3 digest of 32 bytes. Printed and parsed as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `parts` under the domain `label`. Label and parts are hashed behind their
    /// lengths (u64 little endian), so that neither another label nor another split collides.
    pub fn of(label: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        prefixed(label, parts, |piece| {
            hasher.update(piece);
        });
        Self(*hasher.finalize().as_bytes())
    }

    /// The digest of one part of `bytes` bytes under `label`, taken in pieces: the same as
    /// [`Digest::of`] over the whole, which need not be in memory at once.
    #[must_use]
    pub fn of_stream(label: &str, bytes: u64) -> DigestStream {
        let mut hasher = blake3::Hasher::new();
        prefixed(label, &[], |piece| {
            hasher.update(piece);
        });
        hasher.update(&bytes.to_le_bytes());
        DigestStream(hasher)
    }
}

/// A digest of one long part on its way, from [`Digest::of_stream`].
#[derive(Debug, Clone)]
pub struct DigestStream(blake3::Hasher);

impl DigestStream {
    /// Takes the next bytes of the part.
    pub fn push(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest. Where the pieces are not as long as was announced it is one that nothing has.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// The text is not a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 hex digits")]
pub struct ParseDigestError;

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseDigestError)?;
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests;
