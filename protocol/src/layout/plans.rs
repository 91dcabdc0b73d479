//! The layouts of the three kinds of plan, as every client computes them from the manifest.

use roundelay_crypto::mask::Ring;

use super::{Encoding, Layout, LayoutError, Segment};
use crate::bounded::Text;
use crate::manifest::{Floors, Task};
use crate::plan::PlanKind;
use crate::privacy::{Mechanism, NoiseSource, Privacy, Private};

/// Rows of one client that a round counts at most.
pub const ROWS_MAX: u64 = 1 << 28;
/// Loss of one row at most, in nats; larger ones are clipped by the client.
pub const LOSS_MAX: f64 = 64.0;
/// Fractional bits of the summed loss: exact to 2^-17 per client.
const LOSS_FRACTION_BITS: u8 = 16;

/// Names of the segments.
pub mod names {
    /// Train: the quantised update times the client's weight.
    pub const UPDATE: &str = "update";
    /// Train: the client's weight.
    pub const WEIGHT: &str = "weight";
    /// Train and Evaluate: held-out rows that the model was tried on.
    pub const EVALUATION_ROWS: &str = "evaluation_rows";
    /// Train and Evaluate: held-out rows that it got right.
    pub const EVALUATION_CORRECT: &str = "evaluation_correct";
    /// Train and Evaluate: summed loss over the held-out rows, in nats.
    pub const EVALUATION_LOSS: &str = "evaluation_loss";
    /// Statistics: rows.
    pub const ROWS: &str = "rows";
    /// Statistics: per numeric column, the sum of its scaled values.
    pub const SUMS: &str = "sums";
    /// Statistics: per numeric column, the sum of the squares of its scaled values.
    pub const SQUARES: &str = "squares";
}

impl Layout {
    /// The layout of a plan for a cohort of `contributors` clients.
    ///
    /// - Train: the update, the weight, and the evaluation of the model that it starts from. Where
    ///   privacy is promised, the update with noise and the weight, which counts survivors.
    /// - Evaluate: the evaluation alone.
    /// - Statistics: rows, and per numeric column the sum of the values scaled to −1…1 by the
    ///   column's bounds and the sum of their squares ([`crate::statistics`]).
    pub fn for_plan(
        kind: PlanKind,
        task: &Task,
        contributors: impl Into<Contributors>,
    ) -> Result<Self, LayoutError> {
        let contributors = contributors.into();
        let segments = match kind {
            PlanKind::Train => {
                let mut segments = training(task, &contributors)?;
                if task.evaluates() {
                    segments.extend(evaluation());
                }
                segments
            }
            PlanKind::Evaluate => evaluation(),
            PlanKind::Statistics => statistics(task, contributors.cohort)?,
        };
        Self::new(segments, contributors.cohort)
    }
}

/// For whom a layout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contributors {
    /// Clients of the round.
    pub cohort: u32,
    /// Clients of the federation: the scale of private words is one for all its rounds.
    pub federation: u32,
    /// Clients that are sure to survive and to be honest: survivors at least, less c.
    pub honest: u32,
}

impl From<u32> for Contributors {
    /// A cohort of the whole federation, of which a quarter is honest: what tells whether a task can
    /// be run before its rules are known.
    fn from(cohort: u32) -> Self {
        Self { cohort, federation: cohort, honest: cohort.div_ceil(4) }
    }
}

impl Contributors {
    /// A cohort of a federation under its floors.
    #[must_use]
    pub fn of(cohort: usize, federation: usize, floors: &Floors) -> Self {
        let count = |clients: usize| u32::try_from(clients).unwrap_or(u32::MAX);
        let honest = floors.members_min().saturating_sub(floors.corrupt()).into();
        Self { cohort: count(cohort), federation: count(federation), honest }
    }
}

fn training(task: &Task, contributors: &Contributors) -> Result<Vec<Segment>, LayoutError> {
    let parameters = task
        .model
        .parameter_count(&task.schema)
        .map_err(|error| LayoutError::Task(error.to_string()))?;
    let quantisation = &task.quantisation;
    let (clip, weight_max) = (quantisation.clip, quantisation.weight_max);
    let no_ring = || format!("ring_bits is 16 or 32, not {}", quantisation.ring_bits);
    let ring = quantisation.ring().ok_or_else(|| LayoutError::Task(no_ring()))?;
    let update = match &task.privacy {
        Some(privacy) => private(privacy, ring, parameters, contributors)?,
        None => segment(names::UPDATE, ring, parameters, Encoding::Quantised { clip, weight_max }),
    };
    Ok(vec![update, count(names::WEIGHT, weight_max.into())])
}

fn private(
    privacy: &Privacy,
    ring: Ring,
    parameters: u64,
    contributors: &Contributors,
) -> Result<Segment, LayoutError> {
    let noise = match privacy.mechanism {
        Mechanism::Distributed => NoiseSource::Clients { honest: contributors.honest },
        Mechanism::Central => NoiseSource::Coordinator,
    };
    let private = Private::choose(privacy, ring, parameters, contributors.federation, noise);
    let private = private
        .map_err(|error| LayoutError::Private { segment: Text::clipped(names::UPDATE), error })?;
    let words = private.words().unwrap_or(u64::MAX);
    Ok(segment(names::UPDATE, ring, words, Encoding::Private(private)))
}

fn evaluation() -> Vec<Segment> {
    let loss_max = ROWS_MAX << (LOSS_FRACTION_BITS + 6);
    let loss = Encoding::Fixed { fraction_bits: LOSS_FRACTION_BITS, max: loss_max };
    vec![
        count(names::EVALUATION_ROWS, ROWS_MAX),
        count(names::EVALUATION_CORRECT, ROWS_MAX),
        segment(names::EVALUATION_LOSS, Ring::Z64, 1, loss),
    ]
}

fn statistics(task: &Task, contributors: u32) -> Result<Vec<Segment>, LayoutError> {
    let columns = task.schema.numeric_columns().count() as u64;
    if columns == 0 {
        return Err(LayoutError::Task("the schema has no numeric column to standardise".into()));
    }
    let fraction_bits = scaled_fraction_bits(contributors);
    let scaled = Encoding::Fixed { fraction_bits, max: ROWS_MAX << fraction_bits };
    Ok(vec![
        count(names::ROWS, ROWS_MAX),
        segment(names::SUMS, Ring::Z64, columns, scaled),
        segment(names::SQUARES, Ring::Z64, columns, scaled),
    ])
}

/// As many fractional bits as a sum of n·[`ROWS_MAX`] values of magnitude 1 leaves in 64 bits:
/// 2·n·2^28·2^f + 1 ≤ 2^64.
fn scaled_fraction_bits(contributors: u32) -> u8 {
    let sum_bits = contributors.max(1).next_power_of_two().trailing_zeros() + 28;
    u8::try_from(62_u32.saturating_sub(sum_bits)).unwrap_or(0)
}

fn count(name: &'static str, max: u64) -> Segment {
    segment(name, Ring::Z64, 1, Encoding::Count { max })
}

fn segment(name: &'static str, ring: Ring, words: u64, encoding: Encoding) -> Segment {
    Segment { name: Text::clipped(name), ring, words, encoding }
}
