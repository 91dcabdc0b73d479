//! One round's step from a state to the next, window by window: nothing asks for a whole vector,
//! so a state may be stepped where it lies, in memory or from one file to another.

use std::ops::Range;

use roundelay_crypto::digest::Digest;

use super::{Head, LineageError};
use crate::layout::{Chunk, Layout, ValueError, names};
use crate::manifest::Task;
use crate::metrics::Metrics;
use crate::optimiser::OptimiserSpec;
use crate::plan::PlanKind;
use crate::privacy::Rotation;
use crate::privacy::rotation::BLOCK_WORDS;
use crate::statistics::Standardisation;

/// Coordinates of a window: a whole block of the rotation, and whole chunks of any ring.
const WINDOW: usize = BLOCK_WORDS;

/// What follows from a published sum. Made from the head of the state before it; the vectors of the
/// state are given to it window by window.
#[derive(Debug)]
pub struct Step {
    optimiser: OptimiserSpec,
    layout: Layout,
    next: Head,
    metrics: Option<Metrics>,
    /// None where the vectors stay as they are.
    mean: Option<Mean>,
}

/// How the mean update is read from the sum.
#[derive(Debug)]
enum Mean {
    Weighted(u64),
    Private { survivors: u64, rotation: Rotation },
}

/// Coordinates that step together, and the chunks of the sum that hold their update.
#[derive(Debug, Clone)]
pub struct Window {
    /// The coordinates.
    pub words: Range<usize>,
    chunks: Vec<Chunk>,
}

impl Step {
    /// The step from the state of this head, whose hash is `state`, by a round of `kind` whose unmasked
    /// sum over so many survivors is `sum`.
    pub fn new(
        task: &Task,
        kind: PlanKind,
        layout: &Layout,
        sum: &[u8],
        survivors: u32,
        head: &Head,
        state: impl FnOnce() -> Digest,
    ) -> Result<Self, LineageError> {
        layout.check_lanes(sum, survivors)?;
        let mut next = head.clone();
        let (mut metrics, mut mean) = (None, None);
        match kind {
            PlanKind::Statistics => {
                let standardisation = Standardisation::from_sums(&task.schema, layout, sum)?;
                next.standardisation = Some(standardisation);
            }
            PlanKind::Train => {
                mean = Some(Mean::of(layout, sum, survivors, head.parameters, state)?);
                next.version = next.version.next();
                metrics = self::metrics(layout, sum);
            }
            PlanKind::Evaluate => metrics = self::metrics(layout, sum),
        }
        Ok(Self { optimiser: task.optimiser, layout: layout.clone(), next, metrics, mean })
    }

    /// The head of the next state.
    #[must_use]
    pub fn next(&self) -> &Head {
        &self.next
    }

    /// The evaluation of the state before it; none for statistics, and none where the sums are
    /// impossible (a lying survivor spoils a figure, not the round).
    #[must_use]
    pub fn metrics(&self) -> Option<Metrics> {
        self.metrics
    }

    /// All coordinates in order.
    pub fn windows(&self) -> impl Iterator<Item = Window> + '_ {
        let parameters = self.next.parameters;
        let mut chunks = self.layout.chunks_of(names::UPDATE).peekable();
        (0..parameters).step_by(WINDOW).map(move |start| {
            let end = start + WINDOW;
            let here = std::iter::from_fn(|| chunks.next_if(|chunk| chunk.first_word < end));
            Window { words: start..end.min(parameters), chunks: here.collect() }
        })
    }

    /// Steps the coordinates of a window, given by themselves: every optimiser goes coordinate by
    /// coordinate. `sum` is the one that the step was made from.
    ///
    /// # Errors
    /// The model would not be finite, or the sum is another one.
    pub fn take(
        &self,
        sum: &[u8],
        window: &Window,
        model: &mut [f32],
        moments: &mut [&mut [f32]],
    ) -> Result<(), LineageError> {
        let update = match &self.mean {
            None => return Ok(()),
            Some(Mean::Weighted(weight)) => {
                self.layout.mean_of(sum, names::UPDATE, &window.chunks, *weight)?
            }
            // Blocks are as long as windows.
            Some(Mean::Private { survivors, rotation }) => {
                let block = window.words.start / WINDOW;
                self.layout.private_mean_of(
                    sum,
                    names::UPDATE,
                    &window.chunks,
                    *survivors,
                    (rotation, block),
                )?
            }
        };
        let update = update.get(..window.words.len());
        let update = update.ok_or(LineageError::Impossible("update"))?;
        self.optimiser.step(model, moments, update);
        let finite = |values: &[f32]| all_finite(values, window.words.start);
        moments.iter().try_for_each(|moment| finite(moment))?;
        finite(model)
    }
}

impl Mean {
    fn of(
        layout: &Layout,
        sum: &[u8],
        survivors: u32,
        parameters: usize,
        state: impl FnOnce() -> Digest,
    ) -> Result<Self, LineageError> {
        let weight = one(layout, sum, names::WEIGHT)?;
        let (survivors, parameters) = (u64::from(survivors), parameters as u64);
        if weight < survivors {
            return Err(LineageError::Impossible("weight"));
        }
        let coordinates = match layout.private() {
            Some(_) if weight != survivors => return Err(LineageError::Impossible("weight")),
            Some((_, private)) => Some(private.coordinates),
            None => layout.segment(names::UPDATE).map(|update| update.words),
        };
        if coordinates != Some(parameters) {
            return Err(LineageError::Impossible("update"));
        }
        Ok(match layout.private() {
            Some(_) => Self::Private { survivors, rotation: Rotation::from_state(&state()) },
            None => Self::Weighted(weight),
        })
    }
}

fn metrics(layout: &Layout, sum: &[u8]) -> Option<Metrics> {
    let rows = one(layout, sum, names::EVALUATION_ROWS).ok()?;
    let correct = one(layout, sum, names::EVALUATION_CORRECT).ok()?;
    let loss_sum = layout.read_fixed(sum, names::EVALUATION_LOSS).ok()?.iter().sum();
    (correct <= rows && loss_sum >= 0.0).then_some(Metrics { rows, correct, loss_sum })
}

fn one(layout: &Layout, sum: &[u8], name: &str) -> Result<u64, ValueError> {
    Ok(layout.read_counts(sum, name)?.iter().sum())
}

/// Refuses values that are not finite, the first of them being parameter number `first`.
pub(super) fn all_finite(values: &[f32], first: usize) -> Result<(), LineageError> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(LineageError::Diverged(first + index)),
        None => Ok(()),
    }
}
