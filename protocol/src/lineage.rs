//! The lineage of a model: each state follows from the one before it and a published sum, by a pure
//! function that the coordinator and every client compute alike. The hash of a state is what a
//! training plan names and what a transcript binds.

use roundelay_crypto::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::ids::{ModelVersion, RoundNumber};
use crate::layout::{LanesError, Layout, ValueError};
use crate::manifest::Task;
use crate::metrics::Metrics;
use crate::model::{ModelError, initial};
use crate::plan::PlanKind;
use crate::statistics::{Standardisation, StatisticsError};
use crate::transcript::NO_TRANSCRIPT;

mod attested;
mod bytes;
mod head;
mod step;

pub use attested::Attested;
pub use bytes::StateError;
pub use head::Head;
pub use step::{Step, Window};

use step::all_finite;

/// Everything that a round starts from: the model, what the server optimiser carries along, and
/// how tables are standardised.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    head: Head,
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
        all_finite(&model, 0)?;
        let (parameters, moments) = (model.len(), task.optimiser.moment_count());
        // Without statistics, columns are standardised by their bounds from the start.
        let by_bounds = task.schema.standardises() && !task.takes_statistics();
        let standardisation = by_bounds.then(|| Standardisation::from_bounds(&task.schema));
        let head = Head { version: ModelVersion(0), standardisation, parameters, moments };
        let moments = task.optimiser.initial_moments(parameters);
        Ok(Self { head, model, moments })
    }

    /// All of it but its vectors.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Its version: training rounds since the initial model.
    #[must_use]
    pub fn version(&self) -> ModelVersion {
        self.head.version
    }

    /// The flat model.
    #[must_use]
    pub fn model(&self) -> &[f32] {
        &self.model
    }

    /// How tables are standardised; none before the statistics round, or where the task has none.
    #[must_use]
    pub fn standardisation(&self) -> Option<&Standardisation> {
        self.head.standardisation()
    }

    /// What training plans name and transcripts bind: over the version, the standardisation, the
    /// model and the optimiser's moments.
    #[must_use]
    pub fn hash(&self) -> Digest {
        let mut digest = self.head.hash();
        self.pieces().for_each(|piece| digest.push(&piece));
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
        let hash = || self.hash();
        let step = Step::new(task, kind, layout, sum, survivors, &self.head, hash)?;
        let mut state = self.clone();
        state.head = step.next().clone();
        for window in step.windows() {
            state.take(&step, sum, &window)?;
        }
        Ok(Advanced { state, metrics: step.metrics() })
    }

    fn take(&mut self, step: &Step, sum: &[u8], window: &Window) -> Result<(), LineageError> {
        let impossible = || LineageError::Impossible("update");
        let words = &window.words;
        let moments = self.moments.iter_mut().map(|moment| moment.get_mut(words.clone()));
        let mut moments = moments.collect::<Option<Vec<_>>>().ok_or_else(impossible)?;
        let model = self.model.get_mut(words.clone()).ok_or_else(impossible)?;
        step.take(sum, window, model, &mut moments)
    }
}

#[cfg(test)]
mod tests;
