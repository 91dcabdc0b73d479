//! A state but for its vectors, and where in its bytes these lie: for whoever reads and writes a
//! state that is too long to be held.

use roundelay_crypto::digest::{Digest, DigestStream};

use super::StateError;
use crate::ids::ModelVersion;
use crate::manifest::Task;
use crate::statistics::{Standardisation, StandardisedColumn};

const MAGIC: &[u8; 8] = b"RNDLST01";
const HEADER_BYTES: u64 = 8 + 4 * 8;
/// Bytes of a standardised column.
const COLUMN_BYTES: usize = 2 * 4;

/// All of a state but its vectors: the model, and the optimiser's moments.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    pub(super) version: ModelVersion,
    pub(super) standardisation: Option<Standardisation>,
    pub(super) parameters: usize,
    pub(super) moments: usize,
}

impl Head {
    /// Its version: training rounds since the initial model.
    #[must_use]
    pub fn version(&self) -> ModelVersion {
        self.version
    }

    /// How tables are standardised; none before the statistics round, or where the task has none.
    #[must_use]
    pub fn standardisation(&self) -> Option<&Standardisation> {
        self.standardisation.as_ref()
    }

    /// Values in each of its vectors.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.parameters
    }

    /// Vectors of the state: the model, then each moment.
    #[must_use]
    pub fn vectors(&self) -> usize {
        1 + self.moments
    }

    /// Where a vector begins in the bytes of the state, the model being number 0.
    #[must_use]
    pub fn vector_start(&self, vector: usize) -> u64 {
        self.bytes() + 4 * self.parameters as u64 * vector as u64
    }

    /// How many bytes the whole state has.
    #[must_use]
    pub fn state_bytes(&self) -> u64 {
        self.vector_start(self.vectors())
    }

    /// How many bytes all before the model has.
    fn bytes(&self) -> u64 {
        HEADER_BYTES + (COLUMN_BYTES * self.columns().count()) as u64
    }

    fn columns(&self) -> impl Iterator<Item = &StandardisedColumn> + Clone {
        self.standardisation.iter().flat_map(|by| &by.columns)
    }

    /// The hash of the state once all its bytes are pushed, these first.
    #[must_use]
    pub fn hash(&self) -> DigestStream {
        Digest::of_stream("roundelay/state", self.state_bytes())
    }

    /// All before the model.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let counts = [self.parameters, self.moments, self.columns().count()];
        let counts = counts.map(|count| count as u64);
        let mut head = MAGIC.to_vec();
        for number in std::iter::once(self.version.0).chain(counts) {
            head.extend_from_slice(&number.to_le_bytes());
        }
        for StandardisedColumn { mean, inverse_deviation } in self.columns() {
            head.extend_from_slice(&mean.to_le_bytes());
            head.extend_from_slice(&inverse_deviation.to_le_bytes());
        }
        head
    }

    /// The most bytes that the head of a task's state has.
    #[must_use]
    pub fn bytes_max(task: &Task) -> u64 {
        HEADER_BYTES + (COLUMN_BYTES * task.schema.numeric_columns().count()) as u64
    }

    /// The head of a state of the task from the first bytes of it, and what follows of them.
    pub fn read<'a>(task: &Task, start: &'a [u8]) -> Result<(Self, &'a [u8]), StateError> {
        let rest = start.strip_prefix(MAGIC).ok_or(StateError::NotAState)?;
        let (header, rest) = rest.split_at_checked(4 * 8).ok_or(StateError::NotAState)?;
        let (header, _) = header.as_chunks();
        let [version, parameters, moments, columns] = header else {
            return Err(StateError::NotAState);
        };
        let [version, parameters, moments, columns] =
            [version, parameters, moments, columns].map(|n| u64::from_le_bytes(*n));
        let of_task = task.model.parameter_count(&task.schema) == Ok(parameters)
            && task.optimiser.moment_count() as u64 == moments
            && standardised_counts(task).contains(&columns);
        if !of_task {
            return Err(StateError::OtherTask);
        }
        let [parameters, moments, columns] = [parameters, moments, columns]
            .map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        let split = rest.as_chunks().0.split_at_checked(columns);
        let (columns, _) = split.ok_or(StateError::Length {
            bytes: start.len() as u64,
            expected: HEADER_BYTES + (COLUMN_BYTES * columns) as u64,
        })?;
        let standardisation = standardisation(columns);
        if standardisation.as_ref().is_some_and(|by| !by.fits(&task.schema)) {
            return Err(StateError::NotFinite);
        }
        let version = ModelVersion(version);
        let head = Self { version, standardisation, parameters, moments };
        Ok((head, rest.split_at(columns.as_flattened().len()).1))
    }
}

/// Numbers of standardised columns that a state of the task may have: none before the statistics.
fn standardised_counts(task: &Task) -> [u64; 2] {
    let numeric = task.schema.numeric_columns().count() as u64;
    [0, if task.schema.standardises() { numeric } else { 0 }]
}

fn standardisation(columns: &[[u8; COLUMN_BYTES]]) -> Option<Standardisation> {
    let column = |&[a, b, c, d, e, f, g, h]: &[u8; COLUMN_BYTES]| StandardisedColumn {
        mean: f32::from_le_bytes([a, b, c, d]),
        inverse_deviation: f32::from_le_bytes([e, f, g, h]),
    };
    (!columns.is_empty()).then(|| Standardisation { columns: columns.iter().map(column).collect() })
}
