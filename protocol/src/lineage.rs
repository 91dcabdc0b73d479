//! The lineage of a model: each state follows from the one before it and a published sum, by a pure
//! function that the coordinator and every client compute alike. The hash of a state is what a
//! training plan names and what a transcript binds.

use std::ops::Range;

use roundelay_crypto::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::ids::{ModelVersion, RoundNumber};
use crate::layout::{LanesError, Layout, ValueError, names};
use crate::manifest::Task;
use crate::metrics::Metrics;
use crate::model::{ModelError, initial};
use crate::plan::PlanKind;
use crate::privacy::Rotation;
use crate::statistics::{Standardisation, StatisticsError};
use crate::transcript::NO_TRANSCRIPT;

mod attested;
mod bytes;

pub use attested::Attested;
pub use bytes::StateError;

/// Everything that a round starts from: the model, what the server optimiser carries along, and
/// how tables are standardised.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    version: ModelVersion,
    standardisation: Option<Standardisation>,
    model: Vec<f32>,
    moments: Vec<Vec<f32>>,
}

/// Where somebody stands in the lineage: a state, and the published round that led to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The round that published it, 0 for the initial model.
    pub round: RoundNumber,
    /// The version.
    pub model_version: ModelVersion,
    /// Hash of the model and optimiser state.
    pub state: Digest,
    /// Root of the transcript of that round, zero before the first.
    pub transcript: Digest,
}

impl Standing {
    /// The start, which is a function of the manifest: the initial state has this hash.
    #[must_use]
    pub fn initial(state: Digest) -> Self {
        let (round, model_version) = (RoundNumber(0), ModelVersion(0));
        Self { round, model_version, state, transcript: NO_TRANSCRIPT }
    }
}

/// Why no state follows. Where masks did not cancel, the round is void; everything else means that
/// a survivor contributed what no honest client does, or that training diverged.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LineageError {
    /// The task's model cannot be, or a TorchScript module came without its initial parameters.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The parameters of the TorchScript module are not those of the task.
    #[error("the module has {found} parameters, the task {expected}: it is another module")]
    Parameters {
        /// In the module, 0 where none were given.
        found: usize,
        /// In the task.
        expected: u64,
    },
    /// Check lanes do not hold.
    #[error(transparent)]
    Lanes(#[from] LanesError),
    /// Sums out of their bounds.
    #[error(transparent)]
    Values(#[from] ValueError),
    /// The statistics.
    #[error(transparent)]
    Statistics(#[from] StatisticsError),
    /// A weight that so many survivors cannot have, or an update of another length.
    #[error("the published {0} is impossible: a survivor's contribution was wrong")]
    Impossible(&'static str),
    /// The next model would not be finite.
    #[error(
        "the model diverged: parameter {0} is no longer finite; lower the learning rates or the clip"
    )]
    Diverged(usize),
}

/// What a published sum brings about.
#[derive(Debug, Clone, PartialEq)]
pub struct Advanced {
    /// The state after the round.
    pub state: State,
    /// The evaluation of the state before it; none for statistics, and none where the sums are
    /// impossible (a lying survivor spoils a figure, not the round).
    pub metrics: Option<Metrics>,
}

impl State {
    /// Version 0 of a task. `module` are the parameters in a TorchScript module's file, none for
    /// the other models, whose initial one is a function of the task.
    pub fn initial(task: &Task, module: Option<Vec<f32>>) -> Result<Self, LineageError> {
        let expected = task.model.parameter_count(&task.schema)?;
        let model = initial(task)?.or(module).unwrap_or_default();
        if model.len() as u64 != expected {
            return Err(LineageError::Parameters { found: model.len(), expected });
        }
        all_finite(&model)?;
        let moments = task.optimiser.initial_moments(model.len());
        // Without statistics, columns are standardised by their bounds from the start.
        let by_bounds = task.schema.standardises() && !task.takes_statistics();
        let standardisation = by_bounds.then(|| Standardisation::from_bounds(&task.schema));
        Ok(Self { version: ModelVersion(0), standardisation, model, moments })
    }

    /// Its version: training rounds since the initial model.
    #[must_use]
    pub fn version(&self) -> ModelVersion {
        self.version
    }

    /// The flat model.
    #[must_use]
    pub fn model(&self) -> &[f32] {
        &self.model
    }

    /// How tables are standardised; none before the statistics round, or where the task has none.
    #[must_use]
    pub fn standardisation(&self) -> Option<&Standardisation> {
        self.standardisation.as_ref()
    }

    /// What training plans name and transcripts bind: over the version, the standardisation, the
    /// model and the optimiser's moments.
    #[must_use]
    pub fn hash(&self) -> Digest {
        let mut digest = Digest::of_stream("roundelay/state", self.byte_count());
        self.write_to(|piece| digest.push(piece));
        digest.finish()
    }

    /// The state after a round of `kind` whose unmasked sum over so many survivors is `sum`.
    pub fn advance(
        &self,
        task: &Task,
        kind: PlanKind,
        layout: &Layout,
        sum: &[u8],
        survivors: u32,
    ) -> Result<Advanced, LineageError> {
        layout.check_lanes(sum, survivors)?;
        let mut state = self.clone();
        let metrics = match kind {
            PlanKind::Statistics => {
                let standardisation = Standardisation::from_sums(&task.schema, layout, sum)?;
                state.standardisation = Some(standardisation);
                None
            }
            PlanKind::Train => {
                state.train(task, layout, sum, survivors)?;
                metrics(layout, sum)
            }
            PlanKind::Evaluate => metrics(layout, sum),
        };
        Ok(Advanced { state, metrics })
    }

    fn train(
        &mut self,
        task: &Task,
        layout: &Layout,
        sum: &[u8],
        survivors: u32,
    ) -> Result<(), LineageError> {
        let weight = one(layout, sum, names::WEIGHT)?;
        if weight < u64::from(survivors) {
            return Err(LineageError::Impossible("weight"));
        }
        if layout.private().is_some() {
            self.step_private(task, layout, sum, (weight, survivors))?;
        } else {
            self.step_windows(task, layout, sum, weight)?;
        }
        self.version = self.version.next();
        self.moments.iter().chain([&self.model]).try_for_each(|values| all_finite(values))
    }

    fn step_windows(
        &mut self,
        task: &Task,
        layout: &Layout,
        sum: &[u8],
        weight: u64,
    ) -> Result<(), LineageError> {
        let parameters = self.model.len() as u64;
        if layout.segment(names::UPDATE).is_some_and(|update| update.words != parameters) {
            return Err(LineageError::Impossible("update"));
        }
        layout.read_mean_windows(sum, names::UPDATE, weight, |words, update| {
            self.step(task, words, update)
        })
    }

    /// A rotated update is turned back as a whole.
    fn step_private(
        &mut self,
        task: &Task,
        layout: &Layout,
        sum: &[u8],
        (weight, survivors): (u64, u32),
    ) -> Result<(), LineageError> {
        if weight != u64::from(survivors) {
            return Err(LineageError::Impossible("weight"));
        }
        let rotation = Rotation::from_state(&self.hash());
        let update = layout.read_private(sum, names::UPDATE, weight, &rotation)?;
        if update.len() != self.model.len() {
            return Err(LineageError::Impossible("update"));
        }
        self.step(task, 0..update.len(), &update)
    }

    /// Steps the coordinates `words` alone: every optimiser goes coordinate by coordinate.
    fn step(
        &mut self,
        task: &Task,
        words: Range<usize>,
        update: &[f32],
    ) -> Result<(), LineageError> {
        let impossible = || LineageError::Impossible("update");
        let moments = self.moments.iter_mut().map(|moment| moment.get_mut(words.clone()));
        let mut moments = moments.collect::<Option<Vec<_>>>().ok_or_else(impossible)?;
        let model = self.model.get_mut(words.clone()).ok_or_else(impossible)?;
        task.optimiser.step(model, &mut moments, update);
        Ok(())
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

fn all_finite(values: &[f32]) -> Result<(), LineageError> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(LineageError::Diverged(index)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
