//! Texts and lists that cannot be long: a wire type that holds one refuses more at decoding, before
//! it is copied anywhere.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// More than fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{length} {unit}, at most {max} fit here")]
pub struct TooLong {
    length: usize,
    max: usize,
    unit: &'static str,
}

/// A text of at most `MAX` bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(transparent)]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> Text<MAX> {
    /// As much of a text as fits: for words to people, whose end may be missing.
    #[must_use]
    pub fn clipped(text: &str) -> Self {
        Self(text.get(..text.floor_char_boundary(MAX)).unwrap_or_default().to_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> TryFrom<String> for Text<MAX> {
    type Error = TooLong;

    fn try_from(text: String) -> Result<Self, TooLong> {
        fits(text.len(), MAX, "bytes")?;
        Ok(Self(text))
    }
}

impl<const MAX: usize> TryFrom<&str> for Text<MAX> {
    type Error = TooLong;

    fn try_from(text: &str) -> Result<Self, TooLong> {
        fits(text.len(), MAX, "bytes")?;
        Ok(Self(text.to_owned()))
    }
}

impl<const MAX: usize> Deref for Text<MAX> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> PartialEq<str> for Text<MAX> {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl<const MAX: usize> PartialEq<&str> for Text<MAX> {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<const MAX: usize> fmt::Debug for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// At most `MAX` items.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct List<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> List<T, MAX> {
    /// The first items, as many as fit.
    #[must_use]
    pub fn clipped(items: impl IntoIterator<Item = T>) -> Self {
        Self(items.into_iter().take(MAX).collect())
    }

    /// The items as a vector.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MAX: usize> TryFrom<Vec<T>> for List<T, MAX> {
    type Error = TooLong;

    fn try_from(items: Vec<T>) -> Result<Self, TooLong> {
        fits(items.len(), MAX, "items")?;
        Ok(Self(items))
    }
}

impl<T, const MAX: usize> Deref for List<T, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T, const MAX: usize> IntoIterator for List<T, MAX> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, T, const MAX: usize> IntoIterator for &'a List<T, MAX> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T: fmt::Debug, const MAX: usize> fmt::Debug for List<T, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ItemsVisitor::<T, MAX>(PhantomData))
    }
}

struct ItemsVisitor<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for ItemsVisitor<T, MAX> {
    type Value = List<T, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {MAX} items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let claimed = sequence.size_hint().unwrap_or(0);
        fits(claimed, MAX, "items").map_err(A::Error::custom)?;
        let mut items = Vec::with_capacity(claimed);
        while let Some(item) = sequence.next_element()? {
            fits(items.len() + 1, MAX, "items").map_err(A::Error::custom)?;
            items.push(item);
        }
        Ok(List(items))
    }
}

fn fits(length: usize, max: usize, unit: &'static str) -> Result<(), TooLong> {
    if length <= max { Ok(()) } else { Err(TooLong { length, max, unit }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{decode, encode};

    #[test]
    fn a_text_or_list_above_its_length_does_not_decode() {
        assert!(decode::<Text<3>>(&encode("abc"), 64).is_ok());
        assert!(decode::<Text<3>>(&encode("abcd"), 64).is_err());
        assert!(decode::<List<u8, 3>>(&encode(&vec![1_u8, 2, 3]), 64).is_ok());
        assert!(decode::<List<u8, 3>>(&encode(&vec![1_u8, 2, 3, 4]), 64).is_err());
        assert!(serde_json::from_str::<List<u8, 3>>("[1,2,3,4]").is_err());
    }

    #[test]
    fn a_text_and_a_list_are_written_like_what_they_hold() {
        assert_eq!(encode(&Text::<9>::clipped("abc")), encode("abc"));
        assert_eq!(encode(&List::<u16, 9>::clipped([1, 2])), encode(&vec![1_u16, 2]));
    }

    #[test]
    fn clipping_keeps_whole_characters() {
        assert_eq!(Text::<4>::clipped("aßcd"), "aßc");
        assert_eq!(Text::<2>::clipped("aßcd"), "a");
        assert_eq!(*List::<u8, 2>::clipped([1, 2, 3]), [1, 2]);
    }

    #[test]
    fn making_one_says_how_much_fits() {
        let error = Text::<3>::try_from("abcd").unwrap_err();
        assert_eq!(error.to_string(), "4 bytes, at most 3 fit here");
        assert!(List::<u8, 1>::try_from(vec![1, 2]).is_err());
    }
}
