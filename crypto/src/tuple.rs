//! Fixed numbers of bytes on the wire: a serde tuple of N bytes, with no length before it.
//!
//! To codecs of bytes they are handed sixteen at a time, in little-endian order: one that writes
//! integers so, whole, as the protocol's does, writes the same bytes in a sixteenth of the steps.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserializer, Serializer};

const WORD_BYTES: usize = size_of::<u128>();

/// Writes N bytes and nothing else.
pub(crate) fn serialize<const N: usize, S: Serializer>(
    bytes: &[u8; N],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let (words, rest) = bytes.split_at(in_words(N, serializer.is_human_readable()));
    let words = words.as_chunks::<WORD_BYTES>().0;
    let mut tuple = serializer.serialize_tuple(words.len() + rest.len())?;
    words.iter().try_for_each(|word| tuple.serialize_element(&u128::from_le_bytes(*word)))?;
    rest.iter().try_for_each(|byte| tuple.serialize_element(byte))?;
    tuple.end()
}

/// Reads exactly N bytes.
pub(crate) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Box<[u8; N]>, D::Error> {
    let in_words = in_words(N, deserializer.is_human_readable());
    deserializer.deserialize_tuple(in_words / WORD_BYTES + N - in_words, Bytes { in_words })
}

/// How many of N bytes travel in words.
const fn in_words(bytes: usize, is_human_readable: bool) -> usize {
    if is_human_readable { 0 } else { bytes - bytes % WORD_BYTES }
}

struct Bytes<const N: usize> {
    in_words: usize,
}

impl<'de, const N: usize> Visitor<'de> for Bytes<N> {
    type Value = Box<[u8; N]>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{N} bytes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut bytes = Box::new([0; N]);
        let (words, rest) = bytes.split_at_mut(self.in_words);
        for (index, to) in words.as_chunks_mut::<WORD_BYTES>().0.iter_mut().enumerate() {
            let word: Option<u128> = sequence.next_element()?;
            *to = word.ok_or_else(|| A::Error::invalid_length(index, &self))?.to_le_bytes();
        }
        for (index, to) in rest.iter_mut().enumerate() {
            *to = sequence.next_element()?.ok_or_else(|| A::Error::invalid_length(index, &self))?;
        }
        Ok(bytes)
    }
}
