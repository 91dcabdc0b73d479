//! The layout of an upload: named segments, each with its ring and bounds, cut into chunks that
//! end in check lanes.
//!
//! ```text
//! upload  = chunk, chunk, ...                      one byte string, masked as a whole
//! chunk   = words of ONE segment ‖ check lanes     the lanes fill the chunk up to a multiple of
//!                                                  16 bytes, at least 8 bytes, every word 1
//! ```
//! After unmasking every word of every check lane is the number of survivors; anything else means
//! masks that did not cancel, and nothing is published. Each chunk starts at a multiple of 16
//! bytes, so it can be masked on its own.

use roundelay_crypto::mask::Ring;
use roundelay_crypto::quantize::{QuantizeError, Quantizer, QuantizerSpec};
use serde::{Deserialize, Serialize};

use crate::bounded::Text;
use crate::limits::{COHORT_MAX, SEGMENTS_MAX, UPLOAD_BYTES_MAX};
use crate::privacy::{Private, PrivateError};

mod chunk;
mod plans;
mod values;

pub use chunk::{Chunk, LanesError, WrongLength};
pub use plans::{Contributors, LOSS_MAX, ROWS_MAX, names};
pub use values::ValueError;

/// Words of payload in a chunk at most, in bytes; a chunk with its lanes stays below
/// [`crate::limits::CHUNK_BYTES_MAX`].
pub const CHUNK_PAYLOAD_BYTES: u64 = 1 << 20;

/// How the words of a segment are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Encoding {
    /// Clipped and quantised real numbers times an integer weight, zero-centred
    /// ([`roundelay_crypto::quantize`]). The ring has 16 or 32 bits.
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
        /// Fractional bits, at most 52.
        fraction_bits: u8,
        /// Largest magnitude of one client's contribution, as a word.
        max: u64,
    },
    /// Real numbers of bounded L2 norm, rotated, rounded and noised ([`crate::privacy`]). The ring has
    /// 16 or 32 bits.
    Private(Private),
}

/// Bitwise on the clip: a layout has no NaN, so this agrees with `==`.
impl Eq for Encoding {}

/// A run of words with one meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// A short name, unique in the layout, such as `update`, `weight`, `evaluation_loss`.
    pub name: Text<32>,
    /// The ring of its words.
    pub ring: Ring,
    /// Number of words.
    pub words: u64,
    /// How the words are to be read, and their bounds.
    pub encoding: Encoding,
}

impl Segment {
    /// Bytes of its words, without lanes.
    fn payload_bytes(&self) -> Option<u64> {
        self.words.checked_mul(u64::from(self.ring.bits() / 8))
    }
}

/// All segments of an upload in order, proved to hold a sum over `contributors_max` clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unproved")]
pub struct Layout {
    segments: Vec<Segment>,
    contributors_max: u32,
}

/// A layout as it comes from outside.
#[derive(Deserialize)]
struct Unproved {
    segments: Vec<Segment>,
    contributors_max: u32,
}

impl TryFrom<Unproved> for Layout {
    type Error = LayoutError;

    fn try_from(layout: Unproved) -> Result<Self, LayoutError> {
        Self::new(layout.segments, layout.contributors_max)
    }
}

/// Why segments are not a layout. Whoever planned it is at fault.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LayoutError {
    /// No segments, or too many.
    #[error("a layout has 1 to {SEGMENTS_MAX} segments, not {0}")]
    Segments(usize),
    /// No contributors, or too many.
    #[error("a layout is for 1 to {COHORT_MAX} contributors, not {0}")]
    Contributors(u32),
    /// A segment without name or words, or two of one name.
    #[error("segment {0} has no words, no name, or the name of another")]
    BadSegment(usize),
    /// The upload would be too long.
    #[error("the upload would have more than {UPLOAD_BYTES_MAX} bytes")]
    TooLong,
    /// Quantised words do not fit.
    #[error("segment `{segment}`: {error}")]
    Quantised {
        /// The segment.
        segment: Text<32>,
        /// What does not fit.
        error: QuantizeError,
    },
    /// Words with noise do not fit.
    #[error("segment `{segment}`: {error}")]
    Private {
        /// The segment.
        segment: Text<32>,
        /// What does not fit.
        error: PrivateError,
    },
    /// The sum of counters or fixed-point numbers may leave the ring.
    #[error(
        "segment `{segment}`: a ring of {bits} bits holds the sum of {contributors} contributions \
         of at most {fits}, not {max}"
    )]
    Overflow {
        /// The segment.
        segment: Text<32>,
        /// Bits of its ring.
        bits: u32,
        /// Contributors.
        contributors: u32,
        /// The bound that was asked for.
        max: u64,
        /// The largest bound that would do.
        fits: u64,
    },
    /// An encoding that the ring cannot have.
    #[error(
        "segment `{segment}`: quantised and private words take a ring of 16 or 32 bits, fixed-point ones at most 52 fractional bits"
    )]
    BadEncoding {
        /// The segment.
        segment: Text<32>,
    },
    /// The task itself is not valid.
    #[error("{0}")]
    Task(String),
}

impl Layout {
    /// Proves that the sum over `contributors_max` clients within their bounds stays in each ring:
    /// 2·n·max + 1 ≤ 2^b for signed words, n·max < 2^b for counters, n < 2^16 for the check lanes.
    pub fn new(segments: Vec<Segment>, contributors_max: u32) -> Result<Self, LayoutError> {
        if segments.is_empty() || segments.len() > SEGMENTS_MAX {
            return Err(LayoutError::Segments(segments.len()));
        }
        if contributors_max == 0 || contributors_max as usize > COHORT_MAX {
            return Err(LayoutError::Contributors(contributors_max));
        }
        for (index, segment) in segments.iter().enumerate() {
            let twin = segments.iter().take(index).any(|other| other.name == segment.name);
            if segment.words == 0 || segment.name.is_empty() || twin {
                return Err(LayoutError::BadSegment(index));
            }
            prove(segment, contributors_max)?;
        }
        let layout = Self { segments, contributors_max };
        match chunk::checked_total(&layout.segments) {
            Some(bytes) if bytes <= UPLOAD_BYTES_MAX && usize::try_from(bytes).is_ok() => {
                Ok(layout)
            }
            _ => Err(LayoutError::TooLong),
        }
    }

    /// The segments in order.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The segment of a name.
    #[must_use]
    pub fn segment(&self, name: &str) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.name == name)
    }

    /// The largest cohort that the rings were proved for.
    #[must_use]
    pub fn contributors_max(&self) -> u32 {
        self.contributors_max
    }

    /// The private segment, and how it is made so: none in a layout without noise.
    #[must_use]
    pub fn private(&self) -> Option<(&Segment, Private)> {
        self.segments.iter().find_map(|segment| match segment.encoding {
            Encoding::Private(private) => Some((segment, private)),
            _ => None,
        })
    }

    /// The quantiser of a quantised segment.
    #[must_use]
    pub fn quantizer(&self, name: &str) -> Option<Quantizer> {
        quantizer(self.segment(name)?, self.contributors_max)?.ok()
    }
}

/// The quantiser of a segment, where it is a quantised one.
fn quantizer(segment: &Segment, contributors_max: u32) -> Option<Result<Quantizer, QuantizeError>> {
    let Encoding::Quantised { clip, weight_max } = segment.encoding else { return None };
    let ring = segment.ring;
    Some(Quantizer::new(QuantizerSpec { ring, clip, contributors_max, weight_max }))
}

fn prove(segment: &Segment, contributors: u32) -> Result<(), LayoutError> {
    let name = || segment.name.clone();
    let (bits, ring_words) = (segment.ring.bits(), 1_u128 << segment.ring.bits());
    let (max, largest_sum) = match segment.encoding {
        Encoding::Quantised { .. } | Encoding::Private(_) if segment.ring == Ring::Z64 => {
            return Err(LayoutError::BadEncoding { segment: name() });
        }
        Encoding::Private(private) => {
            let proved = private.prove(segment.ring, segment.words, contributors);
            return proved.map_err(|error| LayoutError::Private { segment: name(), error });
        }
        Encoding::Quantised { .. } => {
            return match quantizer(segment, contributors) {
                Some(Err(error)) => Err(LayoutError::Quantised { segment: name(), error }),
                _ => Ok(()),
            };
        }
        Encoding::Count { max } => (max, ring_words - 1),
        Encoding::Fixed { fraction_bits, max } => {
            if fraction_bits > 52 {
                return Err(LayoutError::BadEncoding { segment: name() });
            }
            (max, (ring_words - 1) / 2)
        }
    };
    let fits = u64::try_from(largest_sum / u128::from(contributors)).unwrap_or(u64::MAX);
    if max <= fits {
        return Ok(());
    }
    Err(LayoutError::Overflow { segment: name(), bits, contributors, max, fits })
}

#[cfg(test)]
mod tests;
