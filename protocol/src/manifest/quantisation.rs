//! How updates become words of a ring, and when too little of them would be left.

use roundelay_crypto::mask::Ring;
use roundelay_crypto::quantize::{Quantizer, QuantizerSpec};
use serde::{Deserialize, Serialize};

use super::TaskError;
use super::validate::within;

/// As fine as a signed byte. With fewer levels the coordinates of an update, small beside its clip,
/// are rounded to zero, and a federation runs its rounds and learns nothing.
pub(super) const LEVELS_MIN: u32 = 127;
/// Less than that is nothing beside a parameter of 32 bits.
const CLIP_MIN: f32 = 1e-6;
const CLIP_MAX: f32 = 1e3;

/// How updates become words of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantisation {
    /// Bits of the ring of the update: 16 or 32.
    pub ring_bits: u8,
    /// Largest magnitude of a coordinate of an update, from a millionth to 1,000; larger ones are
    /// clipped. It is what the ring's levels are spread over: the larger, the coarser an update.
    pub clip: f32,
    /// Largest weight of a client.
    pub weight_max: u32,
    /// Rows that count as one unit of weight ([`Quantisation::weight`]).
    pub rows_per_weight: u32,
}

impl Quantisation {
    /// The weight of a client that trained on so many rows: rows over `rows_per_weight`, rounded
    /// half up, within `1..=weight_max`.
    #[must_use]
    pub fn weight(&self, rows: u64) -> u32 {
        let unit = u64::from(self.rows_per_weight.max(1));
        let units = rows.saturating_add(unit / 2) / unit;
        u32::try_from(units).unwrap_or(u32::MAX).clamp(1, self.weight_max.max(1))
    }

    /// The levels of an update on either side of zero, for a sum of so many clients: a coordinate is
    /// rounded to a multiple of clip / levels (`roundelay_crypto::quantize`). None where the ring
    /// holds not even one, or is none.
    #[must_use]
    pub fn levels(&self, clients: u32) -> Option<u32> {
        let ring = self.ring()?;
        let (clip, weight_max) = (1.0, self.weight_max);
        let spec = QuantizerSpec { ring, clip, contributors_max: clients, weight_max };
        Quantizer::new(spec).ok().map(|quantizer| quantizer.levels())
    }

    /// The ring of an update. 64 bits are for counts.
    #[must_use]
    pub(crate) fn ring(&self) -> Option<Ring> {
        match self.ring_bits {
            16 => Some(Ring::Z16),
            32 => Some(Ring::Z32),
            _ => None,
        }
    }

    /// Refuses what no task could mean.
    pub(super) fn validate(&self) -> Result<(), TaskError> {
        let rows = f64::from(self.rows_per_weight);
        within("quantisation.rows_per_weight", "at least 1", rows, 1.0..=f64::MAX)?;
        let weight_max = f64::from(self.weight_max);
        within("quantisation.weight_max", "at least 1", weight_max, 1.0..=f64::MAX)?;
        let clips = f64::from(CLIP_MIN)..=f64::from(CLIP_MAX);
        within("quantisation.clip", "0.000001 to 1000", f64::from(self.clip), clips)
    }

    /// Refuses a ring in which the updates of so many clients would be rounded away.
    pub(super) fn validate_levels(&self, clients: u32) -> Result<(), TaskError> {
        let levels = self.levels(clients).unwrap_or(0);
        if levels >= LEVELS_MIN {
            return Ok(());
        }
        let (ring_bits, weight_max) = (self.ring_bits, self.weight_max);
        let remedy = self.remedy(clients);
        Err(TaskError::Coarse { ring_bits, clients, weight_max, levels, remedy })
    }

    /// What would hold enough levels.
    fn remedy(&self, clients: u32) -> String {
        let enough =
            |other: &Self| other.levels(clients).is_some_and(|levels| levels >= LEVELS_MIN);
        let wider = Self { ring_bits: 32, ..*self };
        let words = u64::from(u32::MAX >> (32 - self.ring_bits.min(32))) / 2;
        let weight_max = words / (u64::from(clients.max(1)) * u64::from(LEVELS_MIN));
        let ways = [
            (self.ring_bits != 32 && enough(&wider)).then(|| "ring_bits = 32".to_owned()),
            (weight_max > 0).then(|| {
                let ways = "(and more rows_per_weight, so that weights stay in proportion)";
                format!("weight_max up to {weight_max} {ways}")
            }),
        ];
        let ways: Vec<String> = ways.into_iter().flatten().collect();
        if ways.is_empty() { "fewer clients".to_owned() } else { ways.join(", or ") }
    }
}

impl Eq for Quantisation {}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: Quantisation =
        Quantisation { ring_bits: 16, clip: 1.0, weight_max: 64, rows_per_weight: 1 };

    #[test]
    fn a_ring_in_which_updates_would_be_rounded_away_is_refused_with_what_would_do() {
        let said = |quantisation: Quantisation, clients| {
            quantisation.validate_levels(clients).map_err(|error| error.to_string())
        };
        assert_eq!((SAMPLE.levels(4), said(SAMPLE, 4)), (Some(127), Ok(())));
        let refused = said(Quantisation { weight_max: 4096, ..SAMPLE }, 4).unwrap_err();
        let words = "too few levels for 4 clients of weight up to 4096, 1 on either side of zero";
        assert!(refused.contains(words), "{refused}");
        assert!(refused.contains("ring_bits = 32, or weight_max up to 64 (and"), "{refused}");
        let widest = Quantisation { ring_bits: 32, weight_max: u32::MAX, ..SAMPLE };
        let refused = said(widest, 5).unwrap_err();
        assert!(refused.contains("weight up to 4294967295, 0 on either side"), "{refused}");
        assert!(refused.contains("127 are needed: weight_max up to 3381864 (and"), "{refused}");
        assert!(said(Quantisation { weight_max: 3_381_864, ..widest }, 5).is_ok());
        assert!(said(Quantisation { weight_max: 3_381_865, ..widest }, 5).is_err());
    }

    #[test]
    fn a_clip_of_which_nothing_is_left_is_refused() {
        for clip in [0.0, 1e-44, 9e-7, f32::NAN, f32::INFINITY, 1001.0, -1.0] {
            let refused = Quantisation { clip, ..SAMPLE }.validate().unwrap_err().to_string();
            assert!(refused.contains("quantisation.clip is 0.000001 to 1000"), "{refused}");
        }
        assert!(Quantisation { clip: 1e-6, ..SAMPLE }.validate().is_ok());
    }
}
