//! What can be wrong with a tenant's data. Each fault is one line that says where it is and what
//! to do. The line may quote a cell: it is for the tenant's own eyes and never sent.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// A fault in a tenant's data, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataError {
    /// The file, as people read it.
    pub file: String,
    /// The row in it.
    pub place: Place,
    /// The column, by name or number.
    pub column: Option<String>,
    /// What is wrong.
    pub fault: Box<DataFault>,
}

/// A row of a file, counted as its own tools count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// The file as a whole.
    Whole,
    /// A line of a text file, the header being line 1.
    Line(u64),
    /// An index of an array, the first row being 0.
    Row(u64),
}

/// What is wrong with the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum DataFault {
    /// The file cannot be read.
    #[error("cannot be read: {0}; check the path and its permissions")]
    Unreadable(String),
    /// The folder holds no data, or too much of it.
    #[error(
        "{0}; name one CSV file, or a folder with one data set (features.npy and labels.npy, or an IDX pair)"
    )]
    NoDataSet(String),
    /// A column of the schema is not in the header.
    #[error(
        "the schema's column {name:?} is missing from the header; add it or rename the one that holds it"
    )]
    MissingColumn {
        /// The column's name in the schema.
        name: String,
    },
    /// The header has a column twice.
    #[error("the column {name:?} stands twice in the header; keep one")]
    ColumnTwice {
        /// The column's name.
        name: String,
    },
    /// A line has more or fewer cells than the header.
    #[error("has {found} cells where the header has {expected}; repair the line")]
    Ragged {
        /// Cells in the header.
        expected: u64,
        /// Cells in the line.
        found: u64,
    },
    /// A quoted cell that never ends: the file was cut off, or a mark stands alone.
    #[error(
        "begins a quoted cell that never ends: the file was cut off, or a quotation mark within is \
         not doubled; export it again"
    )]
    OpenQuote,
    /// The text is not CSV, or not UTF-8.
    #[error("is not readable as CSV in UTF-8: {0}; export it again")]
    NotCsv(String),
    /// An empty cell.
    #[error("is empty; fill it or leave the row out")]
    EmptyCell,
    /// A cell of a numeric column is no number.
    #[error("{cell:?} is not a number; correct it or leave the row out")]
    NotANumber {
        /// The cell, shortened.
        cell: String,
    },
    /// NaN, an infinity, or a number beyond 32-bit floats.
    #[error("{cell} is not a finite number; fill it or leave the row out")]
    NotFinite {
        /// The value as it stands.
        cell: String,
    },
    /// A number outside the schema's bounds.
    #[error(
        "{value} lies outside the schema's {min} to {max}; correct it or leave the row out: an amendment \
         can't change a schema, wider bounds need a federation of their own"
    )]
    OutOfBounds {
        /// The value.
        value: String,
        /// Smallest value of the schema.
        min: String,
        /// Largest value of the schema.
        max: String,
    },
    /// A cell of a categorical column outside its vocabulary.
    #[error(
        "{cell:?} is not one of the schema's values ({known}); correct it or leave the row out: an \
         amendment can't change a schema, another vocabulary needs a federation of its own"
    )]
    UnknownCategory {
        /// The cell, shortened.
        cell: String,
        /// The vocabulary, shortened.
        known: String,
    },
    /// A label outside the schema's.
    #[error(
        "{cell:?} is not one of the schema's labels ({known}); correct it or leave the row out: an \
         amendment can't change a schema, other labels need a federation of their own"
    )]
    UnknownLabel {
        /// The label, shortened.
        cell: String,
        /// The known labels, shortened.
        known: String,
    },
    /// No rows at all.
    #[error("has no rows; give it at least one row of data")]
    NoRows,
    /// All rows were held out.
    #[error("leaves no row to train on; hold out fewer rows or add some")]
    NothingToTrainOn,
    /// Features and labels do not belong together.
    #[error("has {labels} labels for {rows} rows of features; give the two files of one data set")]
    LabelCount {
        /// Rows of features.
        rows: u64,
        /// Labels.
        labels: u64,
    },
    /// An array of the wrong shape.
    #[error("has the shape {found}, the schema asks for {expected}; resize the data")]
    WrongShape {
        /// Shape in the file.
        found: String,
        /// Shape in the schema.
        expected: String,
    },
    /// The file's header is broken or of a kind that is not read.
    #[error("{0}")]
    BadFile(String),
    /// A file of another kind than the schema describes.
    #[error("holds {found}, the schema asks for {expected}; give a file of that kind")]
    WrongKind {
        /// What the file holds.
        found: String,
        /// What the schema describes.
        expected: String,
    },
    /// More values than fit.
    #[error("holds {values} values, the limit is {limit}; split the data over several clients")]
    TooLarge {
        /// Rows times inputs.
        values: u64,
        /// [`super::VALUES_MAX`].
        limit: u64,
    },
}

impl DataError {
    /// A fault of the file as a whole.
    #[must_use]
    pub fn at(file: &Path, fault: DataFault) -> Self {
        Self::at_row(file, Place::Whole, fault)
    }

    /// A fault of one row.
    #[must_use]
    pub fn at_row(file: &Path, place: Place, fault: DataFault) -> Self {
        Self { file: file.display().to_string(), place, column: None, fault: Box::new(fault) }
    }

    /// A fault of one cell.
    #[must_use]
    pub fn at_cell(file: &Path, place: Place, column: &str, fault: DataFault) -> Self {
        Self { column: Some(column.to_owned()), ..Self::at_row(file, place, fault) }
    }

    pub(super) fn io(file: &Path, error: &std::io::Error) -> Self {
        Self::at(file, DataFault::Unreadable(error.to_string()))
    }
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        match self.place {
            Place::Whole => {}
            Place::Line(line) => write!(f, ", line {line}")?,
            Place::Row(row) => write!(f, ", row {row} (the first is 0)")?,
        }
        if let Some(column) = &self.column {
            write!(f, ", column {column:?}")?;
        }
        write!(f, ": {}", self.fault)
    }
}

impl std::error::Error for DataError {}

/// A cell as an error quotes it: at most 40 characters.
pub(super) fn shortened(cell: &str) -> String {
    let mut text: String = cell.chars().take(40).collect();
    if text.len() < cell.len() {
        text.push('…');
    }
    text
}

/// A vocabulary as an error quotes it: at most eight entries.
pub(super) fn listed(known: &[String]) -> String {
    let text = known.iter().take(8).map(|entry| shortened(entry).escape_debug().to_string());
    let mut text = text.collect::<Vec<_>>().join(", ");
    if known.len() > 8 {
        text.push_str(&format!(", … {} in all", known.len()));
    }
    text
}
