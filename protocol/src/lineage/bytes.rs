//! A state as bytes: what its hash covers, what a newcomer fetches and what both sides store.
//!
//! ```text
//! "RNDLST01"   8 bytes
//! version, parameters, moments, standardised columns      4 × u64, little endian
//! mean and inverse deviation of each standardised column  2 × f32 each
//! the model, then each moment                             f32, little endian
//! ```

use super::State;
use crate::ids::ModelVersion;
use crate::manifest::Task;
use crate::statistics::{Standardisation, StandardisedColumn};

const MAGIC: &[u8; 8] = b"RNDLST01";
const HEADER_BYTES: u64 = 8 + 4 * 8;
/// Bytes that are written at a time: a multiple of 4 that stays in the cache.
const PIECE_BYTES: usize = 64 << 10;

/// Why bytes are not a state of a task. Whoever sent or stored them is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Not a state, or one of another format.
    #[error("the bytes are not a model state of this format")]
    NotAState,
    /// Of another model, optimiser or schema.
    #[error("the state belongs to another model, optimiser or schema than the task's")]
    OtherTask,
    /// Shorter or longer than its header says.
    #[error("the state has {bytes} bytes, its header says {expected}")]
    Length {
        /// Bytes there are.
        bytes: u64,
        /// Bytes there should be.
        expected: u64,
    },
    /// A value that is not finite.
    #[error("the state has values that are not finite")]
    NotFinite,
}

impl State {
    /// The bytes of the state.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.byte_count()).unwrap_or(0));
        self.write_to(|piece| bytes.extend_from_slice(piece));
        bytes
    }

    /// How many bytes the state has.
    #[must_use]
    pub fn byte_count(&self) -> u64 {
        let columns = self.standardisation.as_ref().map_or(0, |by| by.columns.len());
        let values = self.model.len() * (1 + self.moments.len()) + 2 * columns;
        HEADER_BYTES + 4 * values as u64
    }

    /// Hands the bytes of the state to `sink` in order, in pieces: no copy of the whole is made.
    pub fn write_to(&self, mut sink: impl FnMut(&[u8])) {
        let whole = usize::try_from(self.byte_count()).unwrap_or(usize::MAX);
        let mut piece = vec![0; PIECE_BYTES];
        for start in (0..whole).step_by(PIECE_BYTES) {
            piece.truncate(whole - start);
            self.read_at(start, &mut piece);
            sink(&piece);
        }
    }

    /// Writes the bytes of the state from `start` on into `out`, as many as both have. Both `start`
    /// and the length of `out` are multiples of 4: the state is made of such groups.
    pub fn read_at(&self, start: usize, out: &mut [u8]) {
        let head = self.head();
        let taken = head.len().saturating_sub(start).min(out.len());
        let (front, mut rest) = out.split_at_mut(taken);
        if let Some(head) = head.get(start..start + taken) {
            front.copy_from_slice(head);
        }
        let mut skip = start.saturating_sub(head.len()) / 4;
        for values in std::iter::once(&self.model).chain(&self.moments) {
            let here = values.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(values.len());
            let (groups, _) = rest.as_chunks_mut();
            groups.iter_mut().zip(here).for_each(|(to, value)| *to = value.to_le_bytes());
            let written = rest.len().min(4 * here.len());
            rest = rest.split_at_mut(written).1;
        }
    }

    /// All before the model.
    fn head(&self) -> Vec<u8> {
        let columns = self.standardisation.iter().flat_map(|by| &by.columns);
        let counts = [self.model.len(), self.moments.len(), columns.clone().count()];
        let counts = counts.map(|count| count as u64);
        let mut head = MAGIC.to_vec();
        for number in std::iter::once(self.version.0).chain(counts) {
            head.extend_from_slice(&number.to_le_bytes());
        }
        for StandardisedColumn { mean, inverse_deviation } in columns {
            head.extend_from_slice(&mean.to_le_bytes());
            head.extend_from_slice(&inverse_deviation.to_le_bytes());
        }
        head
    }

    /// The most bytes that a state of a task has: what a fetch takes at most.
    pub fn bytes_max(task: &Task) -> Result<u64, crate::model::ModelError> {
        let parameters = task.model.parameter_count(&task.schema)?;
        let vectors = 1 + task.optimiser.moment_count() as u64;
        let columns = task.schema.numeric_columns().count() as u64;
        Ok(HEADER_BYTES + 4 * (parameters * vectors + 2 * columns))
    }

    /// The state in these bytes, if it is one of the task.
    pub fn from_bytes(task: &Task, bytes: &[u8]) -> Result<Self, StateError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(StateError::NotAState)?;
        let (header, values) = rest.split_at_checked(4 * 8).ok_or(StateError::NotAState)?;
        let (header, _) = header.as_chunks();
        let [version, parameters, moments, columns] = header else {
            return Err(StateError::NotAState);
        };
        let [parameters, moments, columns] =
            [parameters, moments, columns].map(|n| u64::from_le_bytes(*n));
        let of_task = task.model.parameter_count(&task.schema) == Ok(parameters)
            && task.optimiser.moment_count() as u64 == moments
            && standardised_counts(task).contains(&columns);
        if !of_task {
            return Err(StateError::OtherTask);
        }
        let expected = HEADER_BYTES + 4 * (parameters * (1 + moments) + 2 * columns);
        if expected != bytes.len() as u64 {
            return Err(StateError::Length { bytes: bytes.len() as u64, expected });
        }
        let mut values = values.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value));
        let [parameters, columns] =
            [parameters, columns].map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        let standardisation = read_columns(&mut values, columns);
        let model: Vec<f32> = values.by_ref().take(parameters).collect();
        let moments: Vec<Vec<f32>> =
            (0..moments).map(|_| values.by_ref().take(parameters).collect()).collect();
        let finite = moments.iter().chain([&model]).flatten().all(|value| value.is_finite());
        if !finite || standardisation.as_ref().is_some_and(|by| !by.fits(&task.schema)) {
            return Err(StateError::NotFinite);
        }
        let version = ModelVersion(u64::from_le_bytes(*version));
        Ok(Self { version, standardisation, model, moments })
    }
}

/// Numbers of standardised columns that a state of the task may have: none before the statistics.
fn standardised_counts(task: &Task) -> [u64; 2] {
    let numeric = task.schema.numeric_columns().count() as u64;
    [0, if task.schema.standardises() { numeric } else { 0 }]
}

fn read_columns(values: &mut impl Iterator<Item = f32>, count: usize) -> Option<Standardisation> {
    let column = |_| {
        let (mean, inverse_deviation) = (values.next()?, values.next()?);
        Some(StandardisedColumn { mean, inverse_deviation })
    };
    let columns: Vec<_> = (0..count).filter_map(column).collect();
    (count > 0).then_some(Standardisation { columns })
}
