//! The heavy work of a federation as data: training, masking and deriving are described here by the
//! engine and run by the driver, on whatever threads it has.

use std::sync::Arc;

use rand_core::CryptoRng;
use rayon::prelude::*;
use roundelay_crypto::chunks::{ChunkRoot, chunk_digest};
use roundelay_crypto::digest::Digest;
use roundelay_crypto::mask::Masks;
use roundelay_crypto::secret::{Secret, Seed};
use roundelay_protocol::contribution;
use roundelay_protocol::ids::{ModelVersion, RoundNumber};
use roundelay_protocol::layout::{Chunk, Layout, ValueError};
use roundelay_protocol::lineage::{LineageError, State, StateError};
use roundelay_protocol::manifest::Task;
use roundelay_protocol::message::Published;
use roundelay_protocol::metrics::Metrics;
use roundelay_protocol::plan::{PlanKind, TrainingPlan};
use roundelay_protocol::round::horizontal::client::{LocalFailure, MaskPlan, Roots};

use roundelay_protocol::transcript::aggregate_digest;

use crate::train::{Control, TrainError, Trainer};

/// Masking or deriving so many bytes costs less than waking another thread for it.
const SHORT_BYTES: usize = 64 * 1024;

/// The local work of one round.
#[derive(Debug)]
pub struct TrainWork {
    /// The round.
    pub round: RoundNumber,
    /// What is asked for; held against the manifest already.
    pub plan: Box<TrainingPlan>,
    /// The model that the plan names; for statistics, the one at hand.
    pub state: Arc<State>,
    /// The task of the manifest.
    pub task: Arc<Task>,
    /// Where privacy is promised: what its contribution is rounded and noised with.
    pub noise: Option<Noise>,
}

/// Fresh randomness for one contribution, independent of the round's keys.
pub struct Noise(Seed);

impl Noise {
    /// Drawn from `rng`.
    #[must_use]
    pub fn random(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        Self(Secret::random(rng))
    }
}

impl std::fmt::Debug for Noise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Noise")
    }
}

/// A contribution laid out for its plan, not yet masked. It can be masked and nothing else.
pub struct Contribution {
    words: Vec<u8>,
}

#[cfg(test)]
impl Contribution {
    /// Words that only tests look at.
    pub(crate) fn words(&self) -> &[u8] {
        &self.words
    }

    /// Any words.
    pub(crate) fn of_words(words: Vec<u8>) -> Self {
        Self { words }
    }
}

impl std::fmt::Debug for Contribution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Contribution({} bytes)", self.words.len())
    }
}

/// Why there is no contribution.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WorkFailure {
    /// The trainer failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// What it computed can't be laid out.
    #[error("the contribution can't be laid out: {0}")]
    Values(#[from] ValueError),
}

impl WorkFailure {
    /// What the coordinator is told.
    #[must_use]
    pub fn local_failure(&self) -> LocalFailure {
        match self {
            Self::Train(TrainError::Diverged { .. })
            | Self::Values(ValueError::Quantise { .. }) => LocalFailure::NotFinite,
            _ => LocalFailure::TrainingFailed,
        }
    }
}

impl TrainWork {
    /// Evaluates and trains, and lays the result out.
    ///
    /// # Errors
    /// The trainer failed or was cancelled, or its result is out of the plan's bounds.
    pub fn run(
        &self,
        trainer: &mut dyn Trainer,
        control: &dyn Control,
    ) -> Result<Contribution, WorkFailure> {
        let layout = &self.plan.layout;
        if let Some(standardisation) = self.state.standardisation() {
            trainer.standardise(standardisation)?;
        }
        let model = self.state.model();
        let words = match self.plan.kind {
            PlanKind::Statistics => contribution::statistics(layout, &trainer.statistics()?)?,
            PlanKind::Evaluate => contribution::evaluate(layout, &trainer.evaluate(model)?)?,
            PlanKind::Train if self.task.privacy.is_some() => self.private(trainer, control)?,
            PlanKind::Train => {
                let metrics = trainer.evaluate(model)?;
                let hyperparameters = &self.plan.hyperparameters;
                let update =
                    trainer.train(model, hyperparameters, self.plan.model_version, control)?;
                let weight = self.task.quantisation.weight(update.rows);
                contribution::train(layout, &update.delta, weight, &metrics)?
            }
        };
        Ok(Contribution { words })
    }

    /// The update with noise, and no evaluation.
    fn private(
        &self,
        trainer: &mut dyn Trainer,
        control: &dyn Control,
    ) -> Result<Vec<u8>, WorkFailure> {
        let Some(Noise(seed)) = &self.noise else {
            let what = "a private contribution without noise".to_owned();
            return Err(TrainError::Internal(what).into());
        };
        let TrainingPlan { layout, hyperparameters, model, model_version, .. } = &*self.plan;
        let before = self.state.model();
        let update = trainer.train(before, hyperparameters, *model_version, control)?;
        Ok(contribution::private(layout, &update.delta, model, seed)?)
    }
}

/// Puts the masks of a round on a contribution.
#[derive(Debug)]
pub struct MaskWork {
    /// The round.
    pub round: RoundNumber,
    /// What is masked.
    pub contribution: Contribution,
    /// With which masks.
    pub plan: MaskPlan,
}

/// A masked vector: uniformly random to everyone who lacks a mask.
#[derive(Debug)]
pub struct Masked {
    round: RoundNumber,
    words: Vec<u8>,
    roots: Roots,
}

impl MaskWork {
    /// Masks in place, chunk by chunk on all cores of the current rayon pool.
    #[must_use]
    pub fn run(self) -> Masked {
        let Self { round, contribution: Contribution { mut words }, plan } = self;
        let MaskPlan { keys, layout } = &plan;
        let is_short = words.len() <= SHORT_BYTES;
        let mut chunks = Vec::with_capacity(layout.chunk_count());
        let mut rest = words.as_mut_slice();
        for chunk in layout.chunks() {
            let (bytes, after) = rest.split_at_mut(chunk.bytes());
            chunks.push((chunk, bytes));
            rest = after;
        }
        let masks = Masks::new(keys);
        let mask = |(chunk, bytes): (Chunk, &mut [u8])| {
            let plain = chunk_digest(bytes);
            masks.add(bytes, chunk.ring, chunk.offset as u64);
            [plain, chunk_digest(bytes)]
        };
        let digests: Vec<[Digest; 2]> = if is_short {
            chunks.into_iter().map(mask).collect()
        } else {
            chunks.into_par_iter().map(mask).collect()
        };
        let [plain, masked] = [0, 1].map(|which: usize| {
            let mut root = ChunkRoot::new();
            digests.iter().for_each(|of_chunk| root.push_digest(&of_chunk[which]));
            root.finish()
        });
        Masked { round, words, roots: Roots { masked, plain } }
    }
}

impl Masked {
    /// Any words, where a test does not care what they are.
    #[cfg(test)]
    pub(crate) fn of_words(round: RoundNumber, words: Vec<u8>) -> Self {
        let none = Digest([0; 32]);
        Self { round, words, roots: Roots { masked: none, plain: none } }
    }

    /// The round that it is for.
    #[must_use]
    pub fn round(&self) -> RoundNumber {
        self.round
    }

    /// Its bytes.
    #[must_use]
    pub fn words(&self) -> &[u8] {
        &self.words
    }

    /// The root over its chunks, and over what was masked.
    #[must_use]
    pub fn roots(&self) -> Roots {
        self.roots
    }
}

/// How a new state comes about.
#[derive(Debug)]
pub enum Derivation {
    /// From the state before and a published aggregate.
    Advance {
        /// The round.
        round: RoundNumber,
        /// The state before.
        before: Arc<State>,
        /// The task of the manifest.
        task: Arc<Task>,
        /// The layout of the aggregate.
        layout: Layout,
        /// The announcement.
        published: Box<Published>,
        /// The aggregate.
        aggregate: Vec<u8>,
    },
    /// From the bytes of a state whose hash is known.
    Take {
        /// The version that was asked for.
        version: ModelVersion,
        /// The task of the manifest.
        task: Arc<Task>,
        /// Its hash.
        expected: Digest,
        /// Its bytes.
        bytes: Vec<u8>,
    },
}

/// A state that was derived, or why none was.
#[derive(Debug)]
pub enum Derived {
    /// Of [`Derivation::Advance`].
    Advanced {
        /// The round.
        round: RoundNumber,
        /// The state with its hash, and the evaluation of the one before.
        result: Result<(Arc<State>, Digest, Option<Metrics>), DeriveError>,
    },
    /// Of [`Derivation::Take`].
    Taken {
        /// The version that was asked for.
        version: ModelVersion,
        /// The state, whose hash is the expected one.
        result: Result<Arc<State>, DeriveError>,
    },
}

/// Why no state follows. The coordinator is at fault, or a member whose contribution was wrong.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DeriveError {
    /// The aggregate is not the one that was announced.
    #[error("the aggregate's bytes do not have the announced hash")]
    WrongAggregate,
    /// The bytes of a state are not the one that was announced.
    #[error("the state's bytes do not have the announced hash or version")]
    WrongState,
    /// No state follows from the aggregate.
    #[error(transparent)]
    Lineage(#[from] LineageError),
    /// The bytes are no state of this task.
    #[error(transparent)]
    State(#[from] StateError),
}

impl Derivation {
    /// Whether deriving takes less than handing it to another thread does.
    #[must_use]
    pub fn is_short(&self) -> bool {
        let (Self::Advance { aggregate: bytes, .. } | Self::Take { bytes, .. }) = self;
        bytes.len() <= SHORT_BYTES
    }

    /// Derives and checks.
    #[must_use]
    pub fn run(self) -> Derived {
        match self {
            Self::Advance { round, before, task, layout, published, aggregate } => {
                let result = advance(&before, &task, &layout, &published, &aggregate);
                Derived::Advanced { round, result }
            }
            Self::Take { version, task, expected, bytes } => {
                Derived::Taken { version, result: take(version, &task, expected, &bytes) }
            }
        }
    }
}

fn advance(
    before: &State,
    task: &Task,
    layout: &Layout,
    published: &Published,
    aggregate: &[u8],
) -> Result<(Arc<State>, Digest, Option<Metrics>), DeriveError> {
    if aggregate_digest(aggregate) != published.aggregate {
        return Err(DeriveError::WrongAggregate);
    }
    let survivors = published.survivors.into();
    let advanced = before.advance(task, published.kind, layout, aggregate, survivors)?;
    let hash = advanced.state.hash();
    Ok((Arc::new(advanced.state), hash, advanced.metrics))
}

fn take(
    version: ModelVersion,
    task: &Task,
    expected: Digest,
    bytes: &[u8],
) -> Result<Arc<State>, DeriveError> {
    let state = State::from_bytes(task, bytes)?;
    if state.hash() != expected || state.version() != version {
        return Err(DeriveError::WrongState);
    }
    Ok(Arc::new(state))
}
