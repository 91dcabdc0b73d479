//! The tenant's own rows: read from CSV, IDX or NumPy files, checked cell by cell against the
//! federated schema, scaled, and split into rows to train on and rows held out. Nothing read here
//! leaves the process except through a trainer.
//!
//! | what the path names | becomes |
//! |---|---|
//! | `x.csv` | a table: columns by name, the label column among them |
//! | a folder with `features.npy` and `labels.npy` | a table of numbers, or pictures |
//! | a folder with `*images*idx?*` and `*labels*idx1*`, gzip or not | pictures |
//! | a folder with one `.csv` | that table |
//!
//! IDX and CSV files whose names start with `test` (IDX also `t10k`) beside others are the held-out
//! rows, whole; any other data is split by row hash.

mod cell;
mod error;
mod folder;
mod idx;
mod npy;
mod rows;
pub(crate) mod standard;
mod table;

use std::path::PathBuf;

use roundelay_crypto::digest::Digest;
use roundelay_protocol::schema::Schema;
use serde::{Deserialize, Serialize};

pub use error::{DataError, DataFault, Place};
pub use rows::{InputShape, Rows};

/// Share of the rows that is held out where nothing else is said, in percent.
pub const HELD_OUT_PERCENT: u8 = 20;

/// Largest number of values (rows × inputs) in one data set; four bytes of memory each.
pub const VALUES_MAX: u64 = 1 << 32;

/// Where a client's data lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// A CSV file, or a folder as described at the top of this module.
    pub path: PathBuf,
    /// Share of the rows that is held out for evaluation, in percent, below 100.
    #[serde(default = "held_out_percent")]
    pub held_out_percent: u8,
    /// What the tenant calls the people or things behind these rows: budgets of differential privacy
    /// are counted by this name, whatever becomes of the file.
    #[serde(default = "data_set")]
    pub data_set: String,
}

impl Source {
    /// The data at `path` with the usual share held out.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), held_out_percent: HELD_OUT_PERCENT, data_set: data_set() }
    }
}

/// Whether a data set may be called so.
///
/// # Errors
/// What it may be called.
pub fn check_data_set(name: &str) -> Result<(), String> {
    if (1..=64).contains(&name.len()) && !name.contains(char::is_control) {
        return Ok(());
    }
    Err("a name of 1 to 64 bytes, without control characters".to_owned())
}

/// Where the tenant makes no difference, all its data is of the same people.
fn data_set() -> String {
    "all".to_owned()
}

fn held_out_percent() -> u8 {
    HELD_OUT_PERCENT
}

/// One version of a client's data, checked against a schema.
#[derive(Debug, Clone, PartialEq)]
pub struct Data {
    /// Rows to train on, at least one.
    pub train: Rows,
    /// Rows that training never sees; none where the data is that small.
    pub held_out: Rows,
    /// Names this version: the same rows in any order, split the same way, give the same digest.
    pub digest: Digest,
}

impl Data {
    /// Reads the data at `source` as `schema` describes it.
    ///
    /// # Errors
    /// The first fault found, with its file, row and column and what to do about it.
    pub fn load(source: &Source, schema: &Schema) -> Result<Self, DataError> {
        if source.held_out_percent >= 100 {
            return Err(DataError::at(&source.path, DataFault::NothingToTrainOn));
        }
        let mut sink = rows::Sink::new(schema, source.held_out_percent);
        folder::read(&source.path, schema, &mut sink)?;
        sink.finish(&source.path)
    }

    /// Data that is already in memory, split like data read from a file. `inputs` are row-major.
    ///
    /// # Errors
    /// No rows, or a row of the wrong width, with an input that is not finite or outside its
    /// column's bounds, or an unknown class.
    pub fn from_memory(
        schema: &Schema,
        inputs: &[f32],
        labels: &[u32],
        held_out_percent: u8,
    ) -> Result<Self, DataError> {
        let mut sink = rows::Sink::new(schema, held_out_percent);
        rows::push_all(schema, inputs, labels, &mut sink)?;
        sink.finish(std::path::Path::new("(memory)"))
    }
}
