//! Numbers into the words of a segment, and a sum of words back into numbers.

use roundelay_crypto::mask::Ring;
use roundelay_crypto::quantize::QuantizeError;

use roundelay_crypto::secret::Seed;

use super::{Chunk, Encoding, Layout, Segment, WrongLength};
use crate::privacy::encode::{self, Rounded};
use crate::privacy::noise::Bits;
use crate::privacy::{NoiseSource, Private, Rotation};

/// Why numbers do not go into an upload, or do not come out of a sum.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ValueError {
    /// The layout has no such segment of that encoding.
    #[error("the layout has no segment `{0}` of that kind")]
    NoSegment(String),
    /// The vector has another length than its layout.
    #[error(transparent)]
    Length(#[from] WrongLength),
    /// More or fewer numbers than the segment has words.
    #[error("segment `{segment}` has {words} words, not {values}")]
    Count {
        /// The segment.
        segment: String,
        /// Its words.
        words: u64,
        /// Numbers that were given.
        values: u64,
    },
    /// A number is not finite, or beyond its bound.
    #[error("segment `{segment}`: value {index} is not finite or beyond its bound")]
    OutOfBounds {
        /// The segment.
        segment: String,
        /// Position of the number.
        index: usize,
    },
    /// The quantiser refused.
    #[error("segment `{segment}`: {error}")]
    Quantise {
        /// The segment.
        segment: String,
        /// Why. An index counts from the start of the segment.
        error: QuantizeError,
    },
}

impl Layout {
    /// Writes counters into a segment of an upload.
    pub fn write_counts(
        &self,
        upload: &mut [u8],
        name: &str,
        counts: &[u64],
    ) -> Result<(), ValueError> {
        let (segment, _, max) = self.integers(name, false)?;
        check_count(segment, counts.len())?;
        let in_bounds = |(index, count): (usize, &u64)| match *count {
            count if count <= max => Ok(count),
            _ => Err(out_of_bounds(name, index)),
        };
        let words = counts.iter().enumerate().map(in_bounds).collect::<Result<Vec<_>, _>>()?;
        self.write_words(upload, name, &words)
    }

    /// Writes real numbers as fixed-point words into a segment of an upload, rounded half to even.
    pub fn write_fixed(
        &self,
        upload: &mut [u8],
        name: &str,
        values: &[f64],
    ) -> Result<(), ValueError> {
        let (segment, fraction_bits, max) = self.integers(name, true)?;
        check_count(segment, values.len())?;
        let words = values.iter().enumerate().map(|(index, value)| {
            to_fixed(*value, fraction_bits, max).ok_or_else(|| out_of_bounds(name, index))
        });
        self.write_words(upload, name, &words.collect::<Result<Vec<_>, _>>()?)
    }

    /// Quantises real numbers times `weight` into a segment of an upload.
    pub fn write_quantised(
        &self,
        upload: &mut [u8],
        name: &str,
        values: &[f32],
        weight: u32,
    ) -> Result<(), ValueError> {
        let (segment, quantizer) = self.quantised(name)?;
        check_count(segment, values.len())?;
        self.check_length(upload.len() as u64)?;
        for chunk in self.chunks_of(name) {
            let values = values.get(chunk.words()).unwrap_or_default();
            let words = upload.get_mut(chunk.payload()).unwrap_or_default();
            quantizer
                .quantize(values, weight, words)
                .map_err(|error| quantise_error(name, &chunk, error))?;
        }
        Ok(())
    }

    /// Clips, rotates, rounds and noises real numbers into a private segment of an upload. `seed` is
    /// fresh and serves this one vector.
    pub fn write_private(
        &self,
        upload: &mut [u8],
        name: &str,
        values: &[f32],
        rotation: &Rotation,
        seed: &Seed,
    ) -> Result<(), ValueError> {
        let (_, private) = self.private_segment(name)?;
        self.check_length(upload.len() as u64)?;
        if private.coordinates != values.len() as u64 {
            let (words, values) = (private.coordinates, values.len() as u64);
            return Err(ValueError::Count { segment: name.to_owned(), words, values });
        }
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            let error = QuantizeError::NotFinite { index };
            return Err(ValueError::Quantise { segment: name.to_owned(), error });
        }
        let mut rounded = Rounded::new(&private, values, rotation, seed);
        for chunk in self.chunks_of(name) {
            write_chunk(upload, &chunk, rounded.noised(chunk.words()));
        }
        Ok(())
    }

    /// Adds the coordinator's noise to a private segment of an unmasked sum, where that is whose
    /// noise the segment has. `seed` is fresh and serves this one sum.
    pub fn add_noise(&self, sum: &mut [u8], seed: Seed) -> Result<(), ValueError> {
        let central = self.private().filter(|(_, p)| p.noise == NoiseSource::Coordinator);
        let Some((segment, private)) = central else { return Ok(()) };
        let words = self.read_words(sum, segment)?;
        let mut bits = Bits::new(seed);
        let mut noised = words
            .into_iter()
            .map(|word| word.wrapping_add(encode::gaussian(&private, &mut bits).cast_unsigned()));
        for chunk in self.chunks_of(&segment.name) {
            write_chunk(sum, &chunk, noised.by_ref().take(chunk.words().len()));
        }
        Ok(())
    }

    /// The mean of so many survivors from those words of a private segment of an unmasked sum that are
    /// one block of the rotation, the block of this number. The last block has more words than the
    /// update has coordinates there.
    pub(crate) fn private_mean_of(
        &self,
        sum: &[u8],
        name: &str,
        chunks: &[Chunk],
        survivors: u64,
        (rotation, block): (&Rotation, usize),
    ) -> Result<Vec<f32>, ValueError> {
        let (segment, private) = self.private_segment(name)?;
        let ring = segment.ring;
        self.check_length(sum.len() as u64)?;
        let words = words_of(sum, ring, chunks.iter().copied());
        let levels = words.map(|word| sign_extended(word, ring));
        Ok(encode::mean(&private, levels, survivors, (rotation, block)))
    }

    fn private_segment(&self, name: &str) -> Result<(&Segment, Private), ValueError> {
        let found = self.private().filter(|(segment, _)| segment.name == name);
        found.ok_or_else(|| ValueError::NoSegment(name.to_owned()))
    }

    /// The counters of a segment of an unmasked sum.
    pub fn read_counts(&self, sum: &[u8], name: &str) -> Result<Vec<u64>, ValueError> {
        let (segment, _, max) = self.integers(name, false)?;
        let words = self.read_words(sum, segment)?;
        let largest = u128::from(max) * u128::from(self.contributors_max());
        match words.iter().position(|word| u128::from(*word) > largest) {
            Some(index) => Err(out_of_bounds(name, index)),
            None => Ok(words),
        }
    }

    /// The real numbers of a fixed-point segment of an unmasked sum.
    pub fn read_fixed(&self, sum: &[u8], name: &str) -> Result<Vec<f64>, ValueError> {
        let (segment, fraction_bits, max) = self.integers(name, true)?;
        let largest = u128::from(max) * u128::from(self.contributors_max());
        let words = self.read_words(sum, segment)?;
        let signed = words.iter().map(|word| sign_extended(*word, segment.ring));
        let scale = scale(fraction_bits);
        signed
            .enumerate()
            .map(|(index, word)| match u128::from(word.unsigned_abs()) > largest {
                true => Err(out_of_bounds(name, index)),
                false => Ok(word as f64 / scale),
            })
            .collect()
    }

    /// The weighted mean from a quantised segment of an unmasked sum.
    pub fn read_mean(
        &self,
        sum: &[u8],
        name: &str,
        weight_sum: u64,
    ) -> Result<Vec<f32>, ValueError> {
        let chunks: Vec<_> = self.chunks_of(name).collect();
        self.mean_of(sum, name, &chunks, weight_sum)
    }

    /// The same for some chunks of the segment alone.
    pub(crate) fn mean_of(
        &self,
        sum: &[u8],
        name: &str,
        chunks: &[Chunk],
        weight_sum: u64,
    ) -> Result<Vec<f32>, ValueError> {
        let (_, quantizer) = self.quantised(name)?;
        self.check_length(sum.len() as u64)?;
        let mut mean = Vec::with_capacity(chunks.iter().map(|chunk| chunk.words().len()).sum());
        for chunk in chunks {
            let words = sum.get(chunk.payload()).unwrap_or_default();
            let from = mean.len();
            mean.resize(from + chunk.words().len(), 0.0);
            quantizer
                .dequantize_mean(words, weight_sum, mean.split_at_mut(from).1)
                .map_err(|error| quantise_error(name, chunk, error))?;
        }
        Ok(mean)
    }

    /// A segment of counters (or of signed fixed-point words), its fractional bits and bound.
    fn integers(&self, name: &str, signed: bool) -> Result<(&Segment, u8, u64), ValueError> {
        let missing = || ValueError::NoSegment(name.to_owned());
        let segment = self.segment(name).ok_or_else(missing)?;
        match (segment.encoding, signed) {
            (Encoding::Count { max }, false) => Ok((segment, 0, max)),
            (Encoding::Fixed { fraction_bits, max }, true) => Ok((segment, fraction_bits, max)),
            _ => Err(missing()),
        }
    }

    fn quantised(
        &self,
        name: &str,
    ) -> Result<(&Segment, roundelay_crypto::quantize::Quantizer), ValueError> {
        let found = self.segment(name).zip(self.quantizer(name));
        found.ok_or_else(|| ValueError::NoSegment(name.to_owned()))
    }

    /// Writes 64-bit words into a segment.
    fn write_words(&self, upload: &mut [u8], name: &str, words: &[u64]) -> Result<(), ValueError> {
        self.check_length(upload.len() as u64)?;
        for chunk in self.chunks_of(name) {
            let words = words.get(chunk.words()).unwrap_or_default();
            write_chunk(upload, &chunk, words.iter().copied());
        }
        Ok(())
    }

    fn read_words(&self, sum: &[u8], segment: &Segment) -> Result<Vec<u64>, ValueError> {
        self.check_length(sum.len() as u64)?;
        Ok(words_of(sum, segment.ring, self.chunks_of(&segment.name)).collect())
    }
}

/// The words in chunks of a vector.
fn words_of(
    sum: &[u8],
    ring: Ring,
    chunks: impl Iterator<Item = Chunk>,
) -> impl Iterator<Item = u64> {
    let payloads = chunks.filter_map(|chunk| sum.get(chunk.payload()));
    payloads.flat_map(move |payload| payload.chunks(ring.bytes())).map(|word| {
        let mut wide = [0; 8];
        wide.iter_mut().zip(word).for_each(|(to, byte)| *to = *byte);
        u64::from_le_bytes(wide)
    })
}

/// Writes 64-bit words into the ring of a chunk: the low bytes of a two's complement number are the
/// number in a smaller ring.
fn write_chunk(upload: &mut [u8], chunk: &Chunk, words: impl Iterator<Item = u64>) {
    let bytes = upload.get_mut(chunk.payload()).unwrap_or_default();
    for (to, word) in bytes.chunks_mut(chunk.ring.bytes()).zip(words) {
        to.iter_mut().zip(word.to_le_bytes()).for_each(|(to, byte)| *to = byte);
    }
}

fn check_count(segment: &Segment, values: usize) -> Result<(), ValueError> {
    if segment.words == values as u64 {
        return Ok(());
    }
    let name = segment.name.to_string();
    Err(ValueError::Count { segment: name, words: segment.words, values: values as u64 })
}

fn out_of_bounds(segment: &str, index: usize) -> ValueError {
    ValueError::OutOfBounds { segment: segment.to_owned(), index }
}

fn quantise_error(segment: &str, chunk: &Chunk, error: QuantizeError) -> ValueError {
    let in_segment = |index: usize| chunk.first_word + index;
    let error = match error {
        QuantizeError::NotFinite { index } => QuantizeError::NotFinite { index: in_segment(index) },
        QuantizeError::OutOfRange { index } => {
            QuantizeError::OutOfRange { index: in_segment(index) }
        }
        other => other,
    };
    ValueError::Quantise { segment: segment.to_owned(), error }
}

/// 2^bits, exactly.
fn scale(fraction_bits: u8) -> f64 {
    (1_u64 << fraction_bits.min(52)) as f64
}

/// The word of a number: `None` where it is not finite or beyond `max`.
fn to_fixed(value: f64, fraction_bits: u8, max: u64) -> Option<u64> {
    let scaled = (value * scale(fraction_bits)).round_ties_even();
    // The bound of a ring of 64 bits is below 2^63, so the cast is exact where the check holds.
    if !scaled.is_finite() || scaled.abs() >= 9.2e18 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "an integer below 2^63, as just checked")]
    let word = scaled as i64;
    (word.unsigned_abs() <= max).then_some(word.cast_unsigned())
}

/// The signed number of a word of a ring.
fn sign_extended(word: u64, ring: Ring) -> i64 {
    let unused = 64 - ring.bits();
    (word << unused).cast_signed() >> unused
}
