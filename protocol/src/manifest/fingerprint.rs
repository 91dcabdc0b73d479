//! Fingerprints for people, who compare them over another channel.

use roundelay_crypto::digest::Digest;

/// A digest in 16 groups of 4 hex digits, to read aloud or compare side by side: all 256 bits, so
/// that a forger would have to find a second manifest of the very same hash.
#[must_use]
pub fn readable(digest: &Digest) -> String {
    let groups = digest.0.as_chunks().0.iter().map(|[high, low]| format!("{high:02x}{low:02x}"));
    groups.collect::<Vec<_>>().join(" ")
}
