//! The layout of an upload: named segments, each with its ring and bounds, cut into chunks that
//! end in check lanes.
//!
//! ```text
//! upload  = chunk, chunk, ...                      one byte string, masked as a whole
//! chunk   = words of ONE segment ‖ check lanes     the lanes fill the chunk up to a multiple of
//!                                                  16 bytes, at least 8 bytes, every word 1
//! ```
//! After unmasking every word of every check lane is the number of survivors; anything else means
//! masks that did not cancel, and nothing is published.

use roundelay_crypto::mask::Ring;
use serde::{Deserialize, Serialize};

/// Words of payload in a chunk at most, in bytes; a chunk with its lanes stays below
/// [`crate::limits::CHUNK_BYTES_MAX`].
pub const CHUNK_PAYLOAD_BYTES: u64 = 1 << 20;

/// How the words of a segment are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Encoding {
    /// Clipped and quantised real numbers times an integer weight, zero-centred.
    Quantised {
        /// Largest magnitude of a coordinate before quantising.
        clip: f32,
        /// Largest weight.
        weight_max: u32,
    },
    /// Unsigned counters up to a bound per client.
    Count {
        /// Largest contribution of one client.
        max: u64,
    },
    /// Signed fixed-point numbers: the word divided by `2^fraction_bits`.
    Fixed {
        /// Fractional bits.
        fraction_bits: u8,
        /// Largest magnitude of one client's contribution, as a word.
        max: u64,
    },
}

impl Eq for Encoding {}

/// A run of words with one meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// A short name, unique in the layout, such as `update`, `weight`, `loss`.
    pub name: String,
    /// The ring of its words.
    pub ring: Ring,
    /// Number of words.
    pub words: u64,
    /// How the words are to be read, and their bounds.
    pub encoding: Encoding,
}

/// All segments of an upload in order, proved to hold a sum over `contributors_max` clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// The segments in order.
    pub segments: Vec<Segment>,
    /// The largest cohort that the rings were proved for.
    pub contributors_max: u32,
}
