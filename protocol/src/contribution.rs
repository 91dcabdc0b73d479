//! What one client puts into an upload, for each kind of plan: plain words with their check lanes,
//! ready to be masked.

use roundelay_crypto::digest::Digest;
use roundelay_crypto::secret::Seed;

use crate::layout::{LOSS_MAX, Layout, ValueError, names};
use crate::metrics::Metrics;
use crate::privacy::Rotation;
use crate::statistics::ColumnStatistics;

/// For [`crate::plan::PlanKind::Train`]: the update (trained model minus the model it started
/// from) quantised times the weight, and the evaluation of the model it started from.
///
/// # Errors
/// A value is not finite, a count is beyond its bound, or the update has another length than the
/// model. What this client's trainer computed is at fault.
pub fn train(
    layout: &Layout,
    update: &[f32],
    weight: u32,
    metrics: &Metrics,
) -> Result<Vec<u8>, ValueError> {
    let mut upload = layout.blank();
    layout.write_quantised(&mut upload, names::UPDATE, update, weight)?;
    layout.write_counts(&mut upload, names::WEIGHT, &[weight.into()])?;
    write_metrics(layout, &mut upload, metrics)?;
    Ok(upload)
}

/// For [`crate::plan::PlanKind::Train`] where privacy is promised: the update shortened to its L2
/// clip, rotated, rounded and noised, and a weight of 1. `state` is the hash of the state that the
/// round starts from; `seed` is fresh and serves this one contribution.
///
/// # Errors
/// As for [`train`].
pub fn private(
    layout: &Layout,
    update: &[f32],
    state: &Digest,
    seed: &Seed,
) -> Result<Vec<u8>, ValueError> {
    let mut upload = layout.blank();
    let rotation = Rotation::from_state(state);
    layout.write_private(&mut upload, names::UPDATE, update, &rotation, seed)?;
    layout.write_counts(&mut upload, names::WEIGHT, &[1])?;
    Ok(upload)
}

/// For [`crate::plan::PlanKind::Evaluate`]: the evaluation alone.
///
/// # Errors
/// A count is beyond its bound or the loss is not a number. This client's trainer is at fault.
pub fn evaluate(layout: &Layout, metrics: &Metrics) -> Result<Vec<u8>, ValueError> {
    let mut upload = layout.blank();
    write_metrics(layout, &mut upload, metrics)?;
    Ok(upload)
}

/// For [`crate::plan::PlanKind::Statistics`]: the sums over each numeric column, in the order of
/// [`crate::schema::Schema::numeric_columns`], all over the same rows.
///
/// # Errors
/// The columns are not those of the layout, do not have the same rows, or a count is beyond its
/// bound. This client's trainer is at fault.
pub fn statistics(layout: &Layout, columns: &[ColumnStatistics]) -> Result<Vec<u8>, ValueError> {
    let mut upload = layout.blank();
    let rows = columns.first().map_or(0, |column| column.rows);
    if let Some(index) = columns.iter().position(|column| column.rows != rows) {
        return Err(ValueError::OutOfBounds { segment: names::ROWS.into(), index });
    }
    let sums: Vec<_> = columns.iter().map(|column| column.sum).collect();
    let squares: Vec<_> = columns.iter().map(|column| column.squares).collect();
    layout.write_counts(&mut upload, names::ROWS, &[rows])?;
    layout.write_fixed(&mut upload, names::SUMS, &sums)?;
    layout.write_fixed(&mut upload, names::SQUARES, &squares)?;
    Ok(upload)
}

/// A diverged model's loss is clipped at [`LOSS_MAX`] per row; NaN counts as that.
fn write_metrics(layout: &Layout, upload: &mut [u8], metrics: &Metrics) -> Result<(), ValueError> {
    let largest = metrics.rows as f64 * LOSS_MAX;
    let loss = if metrics.loss_sum.is_nan() { largest } else { metrics.loss_sum };
    layout.write_counts(upload, names::EVALUATION_ROWS, &[metrics.rows])?;
    layout.write_counts(upload, names::EVALUATION_CORRECT, &[metrics.correct.min(metrics.rows)])?;
    layout.write_fixed(upload, names::EVALUATION_LOSS, &[loss.clamp(0.0, largest)])
}
