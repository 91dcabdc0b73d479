//! The numeric columns of a table: their sums for the federation's common statistics, and the
//! common standardisation applied to rows.

use std::ops::Range;

use roundelay_protocol::schema::{ColumnKind, NumericColumn, Schema};
use roundelay_protocol::statistics::{
    ColumnStatistics, OutOfBounds, Standardisation, StandardisedColumn,
};

use super::Rows;

/// Sums over each numeric column of `rows`, in the schema's order.
pub(crate) fn statistics(
    schema: &Schema,
    rows: &Rows,
) -> Result<Vec<ColumnStatistics>, OutOfBounds> {
    let inputs = input_ranges(schema);
    let sums = schema.numeric_columns().map(|column: NumericColumn<'_>| {
        let at = inputs[column.index].start;
        let values = rows.inputs().iter().skip(at).step_by(rows.width());
        ColumnStatistics::of(&column, values.copied())
    });
    sums.collect()
}

/// `rows` with their numeric columns standardised. The caller has seen that `by` fits the schema.
pub(crate) fn standardised(schema: &Schema, rows: &Rows, by: &Standardisation) -> Rows {
    let ranges = input_ranges(schema);
    let columns: Vec<(usize, &StandardisedColumn)> = schema
        .numeric_columns()
        .map(|column| ranges[column.index].start)
        .zip(&by.columns)
        .collect();
    let mut inputs = rows.inputs().to_vec();
    for row in inputs.chunks_exact_mut(rows.width()) {
        for (at, column) in &columns {
            row[*at] = column.apply(row[*at]);
        }
    }
    rows.with_inputs(inputs)
}

/// Which inputs of a row each column became; none for pictures.
pub(super) fn input_ranges(schema: &Schema) -> Vec<Range<usize>> {
    let columns = match schema {
        Schema::Table { columns, .. } => columns.as_slice(),
        Schema::Images { .. } => &[],
    };
    let mut start = 0;
    let ranges = columns.iter().map(|column| {
        let inputs = match &column.kind {
            ColumnKind::Number { .. } => 1,
            ColumnKind::Category { values } => values.len(),
        };
        start += inputs;
        start - inputs..start
    });
    ranges.collect()
}
