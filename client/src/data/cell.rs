//! One cell of a table under its column's rule: text to a bounded finite number, or to a place in
//! a vocabulary.

use super::DataFault;
use super::error::{listed, shortened};

/// The number in a cell, within the column's bounds.
pub(super) fn number(cell: &str, min: f32, max: f32) -> Result<f32, DataFault> {
    let cell = cell.trim();
    if cell.is_empty() {
        return Err(DataFault::EmptyCell);
    }
    let value = cell.parse().map_err(|_| DataFault::NotANumber { cell: shortened(cell) })?;
    bounded(value, min, max, cell)
}

/// A number that is finite and within bounds; `text` is how the file has it.
pub(super) fn bounded(value: f32, min: f32, max: f32, text: &str) -> Result<f32, DataFault> {
    if !value.is_finite() {
        return Err(DataFault::NotFinite { cell: shortened(text) });
    }
    if value < min || value > max {
        return Err(DataFault::OutOfBounds {
            value: shortened(text),
            min: min.to_string(),
            max: max.to_string(),
        });
    }
    Ok(value)
}

/// The place of a cell in a column's vocabulary.
pub(super) fn category(cell: &str, values: &[String]) -> Result<usize, DataFault> {
    let cell = cell.trim();
    if let Some(at) = values.iter().position(|value| value == cell) {
        return Ok(at);
    }
    if cell.is_empty() {
        return Err(DataFault::EmptyCell);
    }
    Err(DataFault::UnknownCategory { cell: shortened(cell), known: listed(values) })
}

/// The class that a label stands for.
pub(super) fn label(cell: &str, labels: &[String]) -> Result<u32, DataFault> {
    let cell = cell.trim();
    let at = labels.iter().position(|label| label == cell);
    if let Some(class) = at.and_then(|at| u32::try_from(at).ok()) {
        return Ok(class);
    }
    if cell.is_empty() {
        return Err(DataFault::EmptyCell);
    }
    Err(DataFault::UnknownLabel { cell: shortened(cell), known: listed(labels) })
}
