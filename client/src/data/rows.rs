//! Rows in memory, and the sink that readers push them into one by one: it hashes each row,
//! decides by the hash whether it is held out, and names the data version by all hashes.

use std::path::Path;

use roundelay_crypto::digest::Digest;
use roundelay_protocol::schema::Schema;
use zerocopy::IntoBytes;

use super::cell;
use super::standard::input_ranges;
use super::{Data, DataError, DataFault, Place, VALUES_MAX};

/// How the inputs of one row are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputShape {
    /// A table's row: one value per numeric column, one per category of the others.
    Flat {
        /// Number of inputs.
        inputs: usize,
    },
    /// A picture, channel by channel and row by row.
    Image {
        /// Channels.
        channels: usize,
        /// Pixels down.
        height: usize,
        /// Pixels across.
        width: usize,
    },
}

impl InputShape {
    /// The shape of a row under `schema`.
    #[must_use]
    pub fn of(schema: &Schema) -> Self {
        match schema {
            Schema::Table { .. } => {
                Self::Flat { inputs: usize::try_from(schema.feature_count()).unwrap_or(usize::MAX) }
            }
            Schema::Images { channels, height, width, .. } => Self::Image {
                channels: *channels as usize,
                height: *height as usize,
                width: *width as usize,
            },
        }
    }

    /// Number of inputs of a row.
    #[must_use]
    pub fn inputs(self) -> usize {
        match self {
            Self::Flat { inputs } => inputs,
            Self::Image { channels, height, width } => channels * height * width,
        }
    }
}

/// Rows and their classes, one row of inputs after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    inputs: Vec<f32>,
    labels: Vec<u32>,
    width: usize,
}

impl Rows {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Inputs of a row, at least one.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// The inputs, row-major.
    #[must_use]
    pub fn inputs(&self) -> &[f32] {
        &self.inputs
    }

    /// The class of each row, below the schema's number of classes.
    #[must_use]
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// These rows with other inputs of the same number.
    pub(super) fn with_inputs(&self, inputs: Vec<f32>) -> Self {
        debug_assert_eq!(inputs.len(), self.inputs.len());
        Self { inputs, labels: self.labels.clone(), width: self.width }
    }

    fn empty(width: usize) -> Self {
        Self { inputs: Vec::new(), labels: Vec::new(), width }
    }

    fn push(&mut self, inputs: &[f32], label: u32) {
        self.inputs.extend_from_slice(inputs);
        self.labels.push(label);
    }
}

/// Where a row goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Where its hash says.
    ByHash,
    /// To the rows that are trained on.
    Train,
    /// To the rows that are held out.
    HeldOut,
}

/// Takes rows one by one.
pub(super) struct Sink {
    shape: InputShape,
    classes: usize,
    held_out_percent: u8,
    train: Rows,
    held_out: Rows,
    digests: Vec<[u8; 33]>,
}

impl Sink {
    pub(super) fn new(schema: &Schema, held_out_percent: u8) -> Self {
        let shape = InputShape::of(schema);
        Self {
            shape,
            classes: schema.class_count(),
            held_out_percent,
            train: Rows::empty(shape.inputs()),
            held_out: Rows::empty(shape.inputs()),
            digests: Vec::new(),
        }
    }

    pub(super) fn shape(&self) -> InputShape {
        self.shape
    }

    pub(super) fn classes(&self) -> usize {
        self.classes
    }

    /// Refuses more rows than fit into memory, before the first is read.
    pub(super) fn reserve(&mut self, file: &Path, rows: u64) -> Result<(), DataError> {
        let held = (self.train.len() + self.held_out.len()) as u64;
        let values = rows.saturating_add(held).saturating_mul(self.shape.inputs() as u64);
        if values > VALUES_MAX {
            return Err(DataError::at(file, DataFault::TooLarge { values, limit: VALUES_MAX }));
        }
        Ok(())
    }

    /// Takes a row of the sink's width with a class below its number of classes.
    pub(super) fn push(&mut self, inputs: &[f32], label: u32, part: Part) {
        debug_assert_eq!(inputs.len(), self.shape.inputs());
        let digest = Digest::of("roundelay data row", &[inputs.as_bytes(), &label.to_le_bytes()]);
        let held_out = match part {
            Part::ByHash => bucket(&digest) < u64::from(self.held_out_percent),
            Part::Train => false,
            Part::HeldOut => true,
        };
        let rows = if held_out { &mut self.held_out } else { &mut self.train };
        rows.push(inputs, label);
        let mut entry = [u8::from(held_out); 33];
        entry[..32].copy_from_slice(&digest.0);
        self.digests.push(entry);
    }

    pub(super) fn finish(mut self, file: &Path) -> Result<Data, DataError> {
        if self.digests.is_empty() {
            return Err(DataError::at(file, DataFault::NoRows));
        }
        if self.train.is_empty() {
            return Err(DataError::at(file, DataFault::NothingToTrainOn));
        }
        self.digests.sort_unstable();
        let digest = Digest::of("roundelay data version", &[self.digests.as_flattened()]);
        Ok(Data { train: self.train, held_out: self.held_out, digest })
    }
}

/// A number below 100, the same for the same row wherever it stands.
fn bucket(digest: &Digest) -> u64 {
    let mut head = [0; 8];
    head.copy_from_slice(&digest.0[..8]);
    u64::from_le_bytes(head) % 100
}

/// Pushes rows from memory, each checked.
pub(super) fn push_all(
    schema: &Schema,
    inputs: &[f32],
    labels: &[u32],
    sink: &mut Sink,
) -> Result<(), DataError> {
    let file = Path::new("(memory)");
    let width = sink.shape.inputs().max(1);
    if inputs.len() != labels.len() * width {
        let rows = inputs.len() / width;
        let fault = DataFault::LabelCount { rows: rows as u64, labels: labels.len() as u64 };
        return Err(DataError::at(file, fault));
    }
    sink.reserve(file, labels.len() as u64)?;
    let bounds = bounds(schema, width);
    for (row, (inputs, label)) in inputs.chunks_exact(width).zip(labels).enumerate() {
        let place = Place::Row(row as u64);
        let outside = |(value, (min, max)): (&f32, &(f32, f32))| !(min..=max).contains(&value);
        if let Some(at) = inputs.iter().zip(&bounds).position(outside) {
            let ((min, max), text) = (bounds[at], inputs[at].to_string());
            cell::bounded(inputs[at], min, max, &text)
                .map_err(|fault| DataError::at_cell(file, place, &at.to_string(), fault))?;
        }
        check_class(*label, sink.classes).map_err(|fault| DataError::at_row(file, place, fault))?;
        sink.push(inputs, *label, Part::ByHash);
    }
    Ok(())
}

/// Smallest and largest value of each input.
fn bounds(schema: &Schema, width: usize) -> Vec<(f32, f32)> {
    let ranges = input_ranges(schema);
    let mut bounds = vec![(0.0, 1.0); width];
    for column in schema.numeric_columns() {
        bounds[ranges[column.index].start] = (column.min, column.max);
    }
    bounds
}

/// Refuses a class that the schema does not have.
pub(super) fn check_class(label: u32, classes: usize) -> Result<(), DataFault> {
    if (label as usize) < classes {
        return Ok(());
    }
    let known = format!("0 to {}", classes.saturating_sub(1));
    Err(DataFault::UnknownLabel { cell: label.to_string(), known })
}
