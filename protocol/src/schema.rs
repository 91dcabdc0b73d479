//! The federated schema: what columns every member's data has, with which types and vocabularies.

use serde::{Deserialize, Serialize};

/// The shape of every member's data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
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
    #[serde(flatten)]
    pub kind: ColumnKind,
}

/// What the cells of a column hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

impl Eq for ColumnKind {}
