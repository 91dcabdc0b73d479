//! Common standardising of tables: masked sums over all members' rows, and from them the mean and
//! deviation of each numeric column, the same bits for everyone.
//!
//! A column's values are scaled to −1…1 by its bounds in the schema before they are summed, so that
//! one fixed-point format serves all columns and one row adds at most 1 to a sum. With f fractional
//! bits (20 to 34, by the size of the cohort) and R rows in all, a mean is exact to
//! n·2^-(f+1)/R of half the column's range. Bounds should therefore be as tight as is known: a
//! deviation below √(n·2^(2−f)/R) of half the range cannot be told from zero, and the column then
//! counts as constant.

use serde::{Deserialize, Serialize};

use crate::layout::{Encoding, Layout, ValueError, names};
use crate::schema::{NumericColumn, Schema};

/// One client's sums over a numeric column, of values scaled to −1…1 by the column's bounds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct ColumnStatistics {
    /// Rows.
    pub rows: u64,
    /// Sum of the scaled values.
    pub sum: f64,
    /// Sum of their squares.
    pub squares: f64,
}

/// A value outside its column's bounds, or not finite. The data, or the plan's bounds, are wrong.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("row {row}: {value} is outside the bounds {min} to {max} of the plan")]
pub struct OutOfBounds {
    /// Number of the row, from 0.
    pub row: usize,
    /// The value.
    pub value: f32,
    /// Smallest value of the column.
    pub min: f32,
    /// Largest value of the column.
    pub max: f32,
}

impl ColumnStatistics {
    /// The sums over a column's values.
    pub fn of(
        column: &NumericColumn<'_>,
        values: impl IntoIterator<Item = f32>,
    ) -> Result<Self, OutOfBounds> {
        let NumericColumn { min, max, .. } = *column;
        let scale = Scale::of(column);
        let mut statistics = Self::default();
        for (row, value) in values.into_iter().enumerate() {
            // NaN is in no range.
            if !(min..=max).contains(&value) {
                return Err(OutOfBounds { row, value, min, max });
            }
            let scaled = ((f64::from(value) - scale.middle) / scale.half).clamp(-1.0, 1.0);
            statistics.rows += 1;
            statistics.sum += scaled;
            statistics.squares += scaled * scaled;
        }
        Ok(statistics)
    }
}

/// How a column's values become numbers in −1…1.
struct Scale {
    middle: f64,
    half: f64,
}

impl Scale {
    fn of(column: &NumericColumn<'_>) -> Self {
        let (min, max) = (f64::from(column.min), f64::from(column.max));
        Self { middle: (min + max) / 2.0, half: (max - min) / 2.0 }
    }
}

/// How every client transforms its numeric columns, in the order of
/// [`Schema::numeric_columns`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Standardisation {
    /// One entry per numeric column.
    pub columns: Vec<StandardisedColumn>,
}

/// The transformation of one column: (x − mean) · inverse deviation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StandardisedColumn {
    /// Mean over all members' rows, in the column's unit.
    pub mean: f32,
    /// One over the (population) standard deviation; 0 for a constant column, which then says
    /// nothing to the model.
    pub inverse_deviation: f32,
}

impl StandardisedColumn {
    /// The standardised value.
    #[must_use]
    pub fn apply(&self, value: f32) -> f32 {
        (value - self.mean) * self.inverse_deviation
    }
}

/// Why published sums give no standardisation.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StatisticsError {
    /// The sums do not have the shape of the layout, or are out of its bounds.
    #[error(transparent)]
    Values(#[from] ValueError),
    /// No rows at all.
    #[error("the published statistics have no rows")]
    NoRows,
    /// Sums that no rows can have: a survivor contributed values outside the plan's bounds.
    #[error("the published statistics of column `{0}` are impossible: a contribution was wrong")]
    Impossible(String),
}

impl Standardisation {
    /// The standardisation that published sums give. Deterministic: every step is one correctly
    /// rounded operation on `f64`, the results are rounded to `f32` once.
    pub fn from_sums(
        schema: &Schema,
        layout: &Layout,
        sum: &[u8],
    ) -> Result<Self, StatisticsError> {
        let rows = match layout.read_counts(sum, names::ROWS)?.as_slice() {
            [rows] if *rows > 0 => *rows as f64,
            _ => return Err(StatisticsError::NoRows),
        };
        let sums = layout.read_fixed(sum, names::SUMS)?;
        let squares = layout.read_fixed(sum, names::SQUARES)?;
        let noise = rounding_noise(layout) / rows;
        let columns = schema.numeric_columns().zip(sums.iter().zip(&squares));
        let columns: Result<Vec<_>, _> = columns
            .map(|(column, (sum, squares))| {
                let (mean, square) = (sum / rows, squares / rows);
                if mean.abs() > 1.0 + noise || !(-noise..=1.0 + noise).contains(&square) {
                    return Err(StatisticsError::Impossible(column.name.to_owned()));
                }
                Ok(standardised(&Scale::of(&column), mean, square, noise))
            })
            .collect();
        Ok(Self { columns: columns? })
    }

    /// The standardisation that the schema's bounds give, without a look at any data: columns become
    /// numbers from −1 to 1.
    #[must_use]
    pub fn from_bounds(schema: &Schema) -> Self {
        let columns = schema.numeric_columns().map(|column| {
            let Scale { middle, half } = Scale::of(&column);
            let inverse_deviation = narrow(1.0 / half).min(f32::MAX);
            StandardisedColumn { mean: narrow(middle), inverse_deviation }
        });
        Self { columns: columns.collect() }
    }

    /// Whether every number is finite, for as many numeric columns as the schema has.
    #[must_use]
    pub fn fits(&self, schema: &Schema) -> bool {
        let finite = |column: &StandardisedColumn| {
            column.mean.is_finite() && column.inverse_deviation.is_finite()
        };
        self.columns.len() == schema.numeric_columns().count() && self.columns.iter().all(finite)
    }
}

fn standardised(scale: &Scale, mean: f64, square: f64, noise: f64) -> StandardisedColumn {
    let variance = square - mean * mean;
    // The square of the mean carries twice its rounding error; as much again for safety.
    let constant = variance <= 4.0 * noise;
    let inverse = if constant { 0.0 } else { 1.0 / (scale.half * variance.sqrt()) };
    StandardisedColumn {
        mean: narrow(scale.middle + scale.half * mean),
        inverse_deviation: narrow(inverse).min(f32::MAX),
    }
}

/// What rounding to fixed point adds to a sum over all contributors at most.
fn rounding_noise(layout: &Layout) -> f64 {
    let fraction_bits = match layout.segment(names::SUMS).map(|segment| segment.encoding) {
        Some(Encoding::Fixed { fraction_bits, .. }) => fraction_bits,
        _ => 0,
    };
    f64::from(layout.contributors_max()) / (1_u64 << fraction_bits.min(52)) as f64
}

#[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest f32, as stated")]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests;
