//! The one way in which lists of byte strings become one: every part behind its length, so that
//! no two lists have the same encoding.

/// Hands `label` and each of `parts` to `sink`, each behind its length as u64 little endian.
pub(crate) fn prefixed(label: &str, parts: &[&[u8]], mut sink: impl FnMut(&[u8])) {
    for part in std::iter::once(label.as_bytes()).chain(parts.iter().copied()) {
        sink(&(part.len() as u64).to_le_bytes());
        sink(part);
    }
}

/// The same as one byte string.
pub(crate) fn prefixed_bytes(label: &str, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prefixed(label, parts, |piece| bytes.extend_from_slice(piece));
    bytes
}
