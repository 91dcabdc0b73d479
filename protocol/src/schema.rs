//! The federated schema: what columns every member's data has, with which types and vocabularies.
//! Agreed in the manifest, checked by every client before its first round.

use std::collections::BTreeSet;
use std::fmt;

use roundelay_crypto::digest::Digest;
use serde::{Deserialize, Serialize};

use crate::codec::canonical;
use crate::limits::{CLASSES_MAX, COLUMNS_MAX, FEATURES_MAX, NAME_BYTES_MAX};
use crate::plain::is_plain;

mod difference;

/// The shape of every member's data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Schema {
    /// Rows of named columns and a label column.
    Table {
        /// Feature columns in the order of the model's inputs.
        columns: Vec<Column>,
        /// Name of the label column.
        label: String,
        /// Labels in class order, as they stand in the data.
        labels: Vec<String>,
        /// Standardise numeric columns by masked statistics over all members.
        standardise: bool,
    },
    /// Pictures of one size, as in IDX or NumPy files.
    Images {
        /// Channels.
        channels: u32,
        /// Pixels down.
        height: u32,
        /// Pixels across.
        width: u32,
        /// Number of classes; labels are `0..classes`.
        classes: u32,
    },
}

/// One feature column of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// The name in the header.
    pub name: String,
    /// What its cells hold.
    pub kind: ColumnKind,
}

/// What the cells of a column hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ColumnKind {
    /// A finite number; the bounds limit what one row adds to the masked statistics.
    Number {
        /// Smallest value; lower ones are refused.
        min: f32,
        /// Largest value; higher ones are refused.
        max: f32,
    },
    /// One of a fixed vocabulary, one-hot encoded in this order.
    Category {
        /// The vocabulary.
        values: Vec<String>,
    },
}

/// A valid schema has finite bounds, so this agrees with `==`.
impl Eq for ColumnKind {}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ColumnKind::Number { .. } => "number",
            ColumnKind::Category { .. } => "category",
        };
        write!(f, "`{}: {kind}`", self.name)
    }
}

/// Why a schema is none. Whoever wrote the task is at fault. Columns count from 1.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SchemaError {
    /// No columns, or too many.
    #[error("a table has 1 to {COLUMNS_MAX} feature columns, not {0}")]
    Columns(usize),
    /// A name or value that is empty, too long or not plain.
    #[error("{place}: a name or value has 1 to {NAME_BYTES_MAX} bytes, without control characters")]
    Name {
        /// Where.
        place: String,
    },
    /// A name or value twice.
    #[error("{place}: `{name}` stands there twice")]
    Twice {
        /// Where.
        place: String,
        /// What.
        name: String,
    },
    /// Bounds that are no range.
    #[error("column {column} `{name}`: min and max must be finite and min below max")]
    Bounds {
        /// Its number.
        column: usize,
        /// Its name.
        name: String,
    },
    /// Too few or too many classes.
    #[error("a task has 2 to {CLASSES_MAX} classes, not {0}")]
    Classes(usize),
    /// An empty vocabulary.
    #[error("column {column} `{name}`: a category needs at least one value")]
    EmptyVocabulary {
        /// Its number.
        column: usize,
        /// Its name.
        name: String,
    },
    /// More inputs than a model takes, or none.
    #[error("the data has {0} features after one-hot encoding; 1 to {FEATURES_MAX} are possible")]
    Features(u64),
    /// Nothing to standardise.
    #[error("standardise is set, but no column is a number: set it to false")]
    NothingToStandardise,
}

impl Schema {
    /// Refuses what no data can have, with the place of the first fault.
    pub fn validate(&self) -> Result<(), SchemaError> {
        if let Self::Table { columns, label, labels, standardise } = self {
            validate_columns(columns, label)?;
            distinct("labels", labels)?;
            if *standardise && self.numeric_columns().next().is_none() {
                return Err(SchemaError::NothingToStandardise);
            }
        }
        let classes = self.class_count();
        if !(2..=CLASSES_MAX).contains(&classes) {
            return Err(SchemaError::Classes(classes));
        }
        match self.feature_count() {
            1..=FEATURES_MAX => Ok(()),
            features => Err(SchemaError::Features(features)),
        }
    }

    /// What clients compare before they join: equal exactly for equal schemas.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of("roundelay/schema", &[&canonical(self)])
    }

    /// Inputs of the model: one per number, one per value of a category, one per pixel and channel.
    #[must_use]
    pub fn feature_count(&self) -> u64 {
        match self {
            Self::Table { columns, .. } => columns
                .iter()
                .map(|column| match &column.kind {
                    ColumnKind::Number { .. } => 1,
                    ColumnKind::Category { values } => values.len() as u64,
                })
                .sum(),
            Self::Images { channels, height, width, .. } => {
                let pixels = u64::from(*height) * u64::from(*width);
                pixels.saturating_mul(u64::from(*channels))
            }
        }
    }

    /// Outputs of the model.
    #[must_use]
    pub fn class_count(&self) -> usize {
        match self {
            Self::Table { labels, .. } => labels.len(),
            Self::Images { classes, .. } => *classes as usize,
        }
    }

    /// Whether numeric columns are standardised by a statistics round before training.
    #[must_use]
    pub fn standardises(&self) -> bool {
        matches!(self, Self::Table { standardise: true, .. })
    }

    /// The numeric columns of a table with their bounds, in order; none for images.
    pub fn numeric_columns(&self) -> impl Iterator<Item = NumericColumn<'_>> {
        let columns = match self {
            Self::Table { columns, .. } => columns.as_slice(),
            Self::Images { .. } => &[],
        };
        columns.iter().enumerate().filter_map(|(index, column)| match column.kind {
            ColumnKind::Number { min, max } => {
                Some(NumericColumn { index, name: &column.name, min, max })
            }
            ColumnKind::Category { .. } => None,
        })
    }

    /// The first thing in which a client's data differs from the plan, in words; `None` where they
    /// agree.
    #[must_use]
    pub fn difference(&self, plan: &Self) -> Option<String> {
        difference::first(self, plan)
    }
}

/// A numeric column of a table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NumericColumn<'a> {
    /// Its position among the feature columns, from 0.
    pub index: usize,
    /// Its name.
    pub name: &'a str,
    /// Smallest value.
    pub min: f32,
    /// Largest value.
    pub max: f32,
}

fn validate_columns(columns: &[Column], label: &str) -> Result<(), SchemaError> {
    if columns.is_empty() || columns.len() > COLUMNS_MAX {
        return Err(SchemaError::Columns(columns.len()));
    }
    let names = columns.iter().map(|column| column.name.as_str()).chain(std::iter::once(label));
    distinct("column names", names)?;
    for (index, Column { name, kind }) in columns.iter().enumerate() {
        let column = index + 1;
        match kind {
            ColumnKind::Number { min, max } => {
                if !(min.is_finite() && max.is_finite() && min < max) {
                    return Err(SchemaError::Bounds { column, name: name.clone() });
                }
            }
            ColumnKind::Category { values } => {
                if values.is_empty() {
                    return Err(SchemaError::EmptyVocabulary { column, name: name.clone() });
                }
                distinct(&format!("column {column} `{name}`"), values)?;
            }
        }
    }
    Ok(())
}

fn distinct<'a, S: AsRef<str> + ?Sized + 'a>(
    place: &str,
    names: impl IntoIterator<Item = &'a S>,
) -> Result<(), SchemaError> {
    let mut seen = BTreeSet::new();
    for name in names {
        let name = name.as_ref();
        let shaped = (1..=NAME_BYTES_MAX).contains(&name.len()) && is_plain(name);
        if !shaped {
            return Err(SchemaError::Name { place: place.to_owned() });
        }
        if !seen.insert(name) {
            return Err(SchemaError::Twice { place: place.to_owned(), name: name.to_owned() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
