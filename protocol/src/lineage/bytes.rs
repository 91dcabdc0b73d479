//! A state as bytes: what its hash covers, what a newcomer fetches and what both sides store.
//!
//! ```text
//! "RNDLST01"   8 bytes                                                           ┐
//! version, parameters, moments, standardised columns      4 × u64, little endian │ the head
//! mean and inverse deviation of each standardised column  2 × f32 each           ┘
//! the model, then each moment                             f32, little endian
//! ```

use super::{Head, State};
use crate::manifest::Task;
use crate::model::ModelError;

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
        let whole = usize::try_from(self.head.state_bytes()).unwrap_or(0);
        let mut bytes = Vec::with_capacity(whole);
        self.pieces().for_each(|piece| bytes.extend_from_slice(&piece));
        bytes
    }

    /// The bytes of the state in order, in pieces: no copy of the whole is made.
    pub fn pieces(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        let vectors = std::iter::once(&self.model).chain(&self.moments);
        let windows = vectors.flat_map(|values| values.chunks(PIECE_BYTES / 4));
        let piece = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect();
        std::iter::once(self.head.to_bytes()).chain(windows.map(piece))
    }

    /// The most bytes that a state of a task has: what a fetch takes at most.
    pub fn bytes_max(task: &Task) -> Result<u64, ModelError> {
        let parameters = task.model.parameter_count(&task.schema)?;
        let vectors = 1 + task.optimiser.moment_count() as u64;
        Ok(Head::bytes_max(task) + 4 * parameters * vectors)
    }

    /// The state in these bytes, if it is one of the task.
    pub fn from_bytes(task: &Task, bytes: &[u8]) -> Result<Self, StateError> {
        let (head, values) = Head::read(task, bytes)?;
        let expected = head.state_bytes();
        if expected != bytes.len() as u64 {
            return Err(StateError::Length { bytes: bytes.len() as u64, expected });
        }
        let mut values = values.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value));
        let model: Vec<f32> = values.by_ref().take(head.parameters).collect();
        let moments: Vec<Vec<f32>> =
            (0..head.moments).map(|_| values.by_ref().take(head.parameters).collect()).collect();
        let finite = moments.iter().chain([&model]).flatten().all(|value| value.is_finite());
        if !finite {
            return Err(StateError::NotFinite);
        }
        Ok(Self { head, model, moments })
    }
}
