//! Bytes and values: the one place that knows bincode, and the frames in which values travel.
//!
//! The encoding is bincode 2 with fixed-width little-endian integers: `u8…u64` and floats as they
//! are, lengths as `u64`, variants as `u32`, options as one byte. A value has exactly one encoding,
//! so that a signature over [`canonical`] bytes covers the value and nothing else. What decodes is
//! bounded: at most `limit` bytes go in, none may be left over, and no wire type is recursive (the
//! serde path of bincode would overflow the stack; a test reads the sources for it).
//!
//! A frame is its length as `u32`, little endian, and so many bytes. Vectors do not go through
//! here: they travel as raw words behind one frame with a [`crate::session::StreamHeader`].

use bincode::enc::write::{SizeWriter, SliceWriter, Writer};
use serde::Serialize;
use serde::de::DeserializeOwned;

mod frame;

pub use frame::{FRAME_HEADER_BYTES, FrameReader, OversizedFrame, frame};

/// Bytes of any one value that is decoded; each caller sets a smaller limit of its own.
pub const DECODE_BYTES_MAX: usize = 16 << 20;

/// Why bytes are not a value. The sender is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// More bytes than this place takes.
    #[error("{bytes} bytes, at most {limit} are taken here")]
    TooLong {
        /// Bytes there were.
        bytes: usize,
        /// Bytes that are taken.
        limit: usize,
    },
    /// Bytes after the end of the value.
    #[error("{0} bytes are left over after the value")]
    TrailingBytes(usize),
    /// The bytes end early, or do not spell a valid value.
    #[error("not a valid value: {0}")]
    Malformed(String),
}

/// The bytes of a value: the one encoding that it has. They are counted first: a buffer that grew
/// would leave copies of what it held, and take longer than to count.
///
/// # Panics
/// Never for a wire type. It would for a type whose `Serialize` fails or does not know the length
/// of a sequence beforehand; derived ones over vectors, tuples and enums do neither.
#[must_use]
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut size = SizeWriter::default();
    write(value, &mut size);
    let mut bytes = vec![0; size.bytes_written];
    write(value, SliceWriter::new(&mut bytes));
    bytes
}

fn write<T: Serialize + ?Sized>(value: &T, writer: impl Writer) {
    bincode::serde::encode_into_writer(value, writer, bincode::config::legacy())
        .expect("wire types always encode");
}

/// The bytes that a signature over a value covers. The same as [`encode`]; the name says why.
#[must_use]
pub fn canonical<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    encode(value)
}

/// The value of exactly these bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, DecodeError> {
    let limit = limit.min(DECODE_BYTES_MAX);
    if bytes.len() > limit {
        return Err(DecodeError::TooLong { bytes: bytes.len(), limit });
    }
    // bincode's limit is a constant, and allows allocating what a string or byte string merely
    // claims to hold: the smallest that covers the input.
    match bytes.len() {
        ..=0xfff => decode_under::<T, 0xfff>(bytes),
        0x1000..=0xffff => decode_under::<T, 0xffff>(bytes),
        0x1_0000..=0xf_ffff => decode_under::<T, 0xf_ffff>(bytes),
        _ => decode_under::<T, DECODE_BYTES_MAX>(bytes),
    }
}

fn decode_under<T: DeserializeOwned, const LIMIT: usize>(bytes: &[u8]) -> Result<T, DecodeError> {
    let config = bincode::config::legacy().with_limit::<LIMIT>();
    let (value, read) = bincode::serde::decode_from_slice(bytes, config)
        .map_err(|error| DecodeError::Malformed(error.to_string()))?;
    match bytes.len().saturating_sub(read) {
        0 => Ok(value),
        left_over => Err(DecodeError::TrailingBytes(left_over)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_little_endian_and_of_fixed_width() {
        assert_eq!(encode(&0x0102_0304_u32), [4, 3, 2, 1]);
        assert_eq!(encode(&1_u64), [1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(encode(&vec![7_u8]), [1, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(encode(&Some(1.0_f32)), [1, 0, 0, 0x80, 0x3f]);
    }

    #[test]
    fn trailing_bytes_are_refused() {
        assert_eq!(decode::<u16>(&[1, 0, 0], 64), Err(DecodeError::TrailingBytes(1)));
        assert_eq!(decode::<()>(&[0], 64), Err(DecodeError::TrailingBytes(1)));
    }

    #[test]
    fn input_above_the_limit_is_refused_unread() {
        let long = encode(&vec![0_u8; 100]);
        assert_eq!(
            decode::<Vec<u8>>(&long, 64),
            Err(DecodeError::TooLong { bytes: 108, limit: 64 })
        );
    }

    #[test]
    fn a_claimed_length_that_is_not_there_is_refused_without_allocating_it() {
        for length in [9_u64, 1 << 40, u64::MAX] {
            let mut bytes = length.to_le_bytes().to_vec();
            bytes.extend([0; 8]);
            assert!(decode::<Vec<u64>>(&bytes, 64).is_err(), "{length}");
            assert!(decode::<Vec<u8>>(&bytes, 64).is_err(), "{length}");
            assert!(decode::<String>(&bytes, 64).is_err(), "{length}");
        }
    }

    #[test]
    fn a_value_may_fill_its_limit_to_the_last_byte() {
        for limit in [0xfff, 0x1000, 0xffff, 0x1_0000, 0xf_ffff, 0x10_0000, DECODE_BYTES_MAX] {
            let text = "x".repeat(limit - 8);
            assert_eq!(decode(&encode(&text), limit), Ok(text));
        }
    }

    #[test]
    fn a_bool_or_an_option_has_one_spelling() {
        assert!(decode::<bool>(&[2], 64).is_err());
        assert!(decode::<Option<u8>>(&[2, 0], 64).is_err());
        assert!(decode::<String>(&[1, 0, 0, 0, 0, 0, 0, 0, 0xff], 64).is_err());
    }
}

#[cfg(test)]
mod wire_tests;
