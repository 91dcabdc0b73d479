//! NumPy's `.npy` arrays: magic, version, a Python dictionary with type, order and shape, then the
//! values. Versions 1 and 2, little endian, C order, types `f4 f8 u1 i4 i8`. Format: NumPy
//! Enhancement Proposal 1.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use roundelay_program::file::open;
use roundelay_protocol::schema::{Column, ColumnKind, Schema};

use super::cell;
use super::error::{listed, shortened};
use super::rows::{InputShape, Part, Sink, check_class};
use super::{DataError, DataFault, Place};

/// Longest header that is read, in bytes; NumPy's own are a few hundred.
const HEADER_BYTES_MAX: usize = 64 << 10;

/// Reads a pair of feature and label arrays.
pub(super) fn read(
    features: &Path,
    labels: &Path,
    schema: &Schema,
    sink: &mut Sink,
) -> Result<(), DataError> {
    let mut array = Array::open(features)?;
    // First, as no shape and no label helps where the schema wants what numbers are not.
    let rule = Rule::new(features, schema, array.kind)?;
    let rows = check_shape(&array, sink.shape())?;
    let labels = read_labels(labels, rows, schema)?;
    sink.reserve(features, rows)?;
    let mut values = vec![0.0; sink.shape().inputs()];
    let mut inputs = vec![0.0; values.len()];
    for (row, label) in labels.into_iter().enumerate() {
        array.row(&mut values, row as u64)?;
        for (at, (input, value)) in inputs.iter_mut().zip(&values).enumerate() {
            *input = rule.input(at, *value).map_err(|fault| {
                DataError::at_cell(features, Place::Row(row as u64), &rule.column(at), fault)
            })?;
        }
        sink.push(&inputs, label, Part::ByHash);
    }
    array.end()
}

/// The number of rows, if each has the shape that the schema asks for.
fn check_shape(array: &Array, shape: InputShape) -> Result<u64, DataError> {
    let (rows, found) = array.shape.split_first().unwrap_or((&0, &[]));
    let (fits, expected) = match shape {
        InputShape::Flat { inputs } => (found == [inputs as u64], vec![inputs]),
        InputShape::Image { channels, height, width } => {
            let [c, h, w] = [channels as u64, height as u64, width as u64];
            let flat = found == [c * h * w];
            (
                flat || found == [c, h, w] || (c == 1 && found == [h, w]),
                vec![channels, height, width],
            )
        }
    };
    if fits {
        return Ok(*rows);
    }
    let fault = DataFault::WrongShape {
        found: format!("{:?}", array.shape),
        expected: format!("{expected:?} per row"),
    };
    Err(DataError::at(&array.file, fault))
}

fn read_labels(file: &Path, rows: u64, schema: &Schema) -> Result<Vec<u32>, DataError> {
    let mut array = Array::open(file)?;
    let count = match array.shape.as_slice() {
        [count] | [count, 1] => *count,
        other => {
            let fault = DataFault::WrongShape {
                found: format!("{other:?}"),
                expected: "one label per row".to_owned(),
            };
            return Err(DataError::at(file, fault));
        }
    };
    if count != rows {
        return Err(DataError::at(file, DataFault::LabelCount { rows, labels: count }));
    }
    let mut labels = Vec::new();
    let mut value = [0.0];
    for row in 0..rows {
        array.row(&mut value, row)?;
        let label = class(value[0], schema)
            .map_err(|fault| DataError::at_row(file, Place::Row(row), fault))?;
        labels.push(label);
    }
    array.end()?;
    Ok(labels)
}

/// The class that a label stands for: itself for pictures, its place in the vocabulary for tables.
fn class(value: f64, schema: &Schema) -> Result<u32, DataFault> {
    let text = value.to_string();
    match schema {
        Schema::Table { labels, .. } => {
            let at = labels.iter().position(|label| *label == text);
            at.and_then(|at| u32::try_from(at).ok())
                .ok_or_else(|| DataFault::UnknownLabel { cell: text, known: listed(labels) })
        }
        Schema::Images { classes, .. } => {
            let label = text.parse().map_err(|_| DataFault::UnknownLabel {
                cell: shortened(&text),
                known: format!("0 to {}", classes.saturating_sub(1)),
            })?;
            check_class(label, *classes as usize)?;
            Ok(label)
        }
    }
}

/// How a value of the file becomes an input.
enum Rule<'a> {
    /// Unsigned bytes of a picture.
    Bytes,
    /// A picture that is already scaled to 0..=1.
    Scaled,
    /// Numeric columns: name, smallest and largest value.
    Columns(Vec<(&'a str, f32, f32)>),
}

impl<'a> Rule<'a> {
    fn new(file: &Path, schema: &'a Schema, kind: Kind) -> Result<Self, DataError> {
        match (schema, kind) {
            (Schema::Table { columns, .. }, _) => {
                let columns = columns.iter().map(|column| numeric(file, column));
                Ok(Self::Columns(columns.collect::<Result<_, _>>()?))
            }
            (Schema::Images { .. }, Kind::U1) => Ok(Self::Bytes),
            (Schema::Images { .. }, Kind::F4 | Kind::F8) => Ok(Self::Scaled),
            (Schema::Images { .. }, _) => Err(bad(
                file,
                "holds wide integers; pictures are unsigned bytes or floats in 0..=1",
            )),
        }
    }

    fn input(&self, at: usize, value: f64) -> Result<f32, DataFault> {
        let (min, max) = match self {
            Self::Bytes => return Ok(narrow(value) / 255.0),
            Self::Scaled => (0.0, 1.0),
            Self::Columns(columns) => (columns[at].1, columns[at].2),
        };
        cell::bounded(narrow(value), min, max, &value.to_string())
    }

    fn column(&self, at: usize) -> String {
        match self {
            Self::Columns(columns) => columns[at].0.to_owned(),
            Self::Bytes | Self::Scaled => at.to_string(),
        }
    }
}

fn numeric<'a>(file: &Path, column: &'a Column) -> Result<(&'a str, f32, f32), DataError> {
    match &column.kind {
        ColumnKind::Number { min, max } => Ok((&column.name, *min, *max)),
        ColumnKind::Category { .. } => {
            let fault = DataFault::WrongKind {
                found: "numbers".to_owned(),
                expected: format!("categories in column {:?} (use CSV)", column.name),
            };
            Err(DataError::at(file, fault))
        }
    }
}

/// To the width that models compute in; what does not fit becomes infinite and is refused.
#[allow(clippy::cast_possible_truncation, reason = "rounding to f32 is what is meant")]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    F4,
    F8,
    U1,
    I4,
    I8,
}

impl Kind {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "<f4" => Self::F4,
            "<f8" => Self::F8,
            "|u1" | "<u1" => Self::U1,
            "<i4" => Self::I4,
            "<i8" => Self::I8,
            _ => return None,
        })
    }

    fn bytes(self) -> usize {
        match self {
            Self::U1 => 1,
            Self::F4 | Self::I4 => 4,
            Self::F8 | Self::I8 => 8,
        }
    }

    /// The value of `bytes()` bytes. An `i8` beyond 2^53 is rounded, which no label or cell is.
    #[allow(clippy::cast_precision_loss, reason = "labels and cells are far below 2^53")]
    fn value(self, bytes: &[u8]) -> f64 {
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let low = [wide[0], wide[1], wide[2], wide[3]];
        match self {
            Self::U1 => f64::from(bytes[0]),
            Self::F4 => f64::from(f32::from_le_bytes(low)),
            Self::I4 => f64::from(i32::from_le_bytes(low)),
            Self::F8 => f64::from_le_bytes(wide),
            Self::I8 => i64::from_le_bytes(wide) as f64,
        }
    }
}

/// An open array behind its header.
struct Array {
    file: PathBuf,
    kind: Kind,
    shape: Vec<u64>,
    bytes: BufReader<File>,
    row: Vec<u8>,
}

impl Array {
    fn open(file: &Path) -> Result<Self, DataError> {
        let opened = open(file).map_err(|error| DataError::io(file, &error))?;
        let mut bytes = BufReader::with_capacity(1 << 16, opened);
        let header = read_header(file, &mut bytes)?;
        let (kind, shape) = parse_header(&header).map_err(|what| bad(file, &what))?;
        Ok(Self { file: file.to_owned(), kind, shape, bytes, row: Vec::new() })
    }

    fn row(&mut self, values: &mut [f64], row: u64) -> Result<(), DataError> {
        self.row.resize(values.len() * self.kind.bytes(), 0);
        self.bytes.read_exact(&mut self.row).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => {
                bad(&self.file, &format!("ends in row {row} of {}; save it again", self.shape[0]))
            }
            _ => DataError::io(&self.file, &error),
        })?;
        for (value, bytes) in values.iter_mut().zip(self.row.chunks_exact(self.kind.bytes())) {
            *value = self.kind.value(bytes);
        }
        Ok(())
    }

    fn end(mut self) -> Result<(), DataError> {
        match self.bytes.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(bad(&self.file, "goes on after its last row; save it again")),
            Err(error) => Err(DataError::io(&self.file, &error)),
        }
    }
}

fn read_header(file: &Path, bytes: &mut impl Read) -> Result<String, DataError> {
    let cut = |error: std::io::Error| match error.kind() {
        ErrorKind::UnexpectedEof => bad(file, "ends inside its NumPy header; save it again"),
        _ => DataError::io(file, &error),
    };
    let mut start = [0; 8];
    bytes.read_exact(&mut start).map_err(cut)?;
    if &start[..6] != b"\x93NUMPY" {
        return Err(bad(file, "is not a NumPy array; save it with numpy.save"));
    }
    let length = match start[6] {
        1 => {
            let mut length = [0; 2];
            bytes.read_exact(&mut length).map_err(cut)?;
            usize::from(u16::from_le_bytes(length))
        }
        2 => {
            let mut length = [0; 4];
            bytes.read_exact(&mut length).map_err(cut)?;
            u32::from_le_bytes(length) as usize
        }
        version => {
            let what = format!("has NumPy format {version}; save it with numpy.save (1 or 2)");
            return Err(bad(file, &what));
        }
    };
    if length > HEADER_BYTES_MAX {
        return Err(bad(file, "has a NumPy header of more than 64 KiB; save it again"));
    }
    let mut header = vec![0; length];
    bytes.read_exact(&mut header).map_err(cut)?;
    String::from_utf8(header).map_err(|_| bad(file, "has a NumPy header that is not text"))
}

/// Type and shape out of `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
fn parse_header(header: &str) -> Result<(Kind, Vec<u64>), String> {
    let after = |key: &str| {
        let at = header.find(key).ok_or_else(|| format!("has no {key} in its NumPy header"))?;
        let rest = header[at + key.len()..].trim_start();
        rest.strip_prefix(':').map(str::trim_start).ok_or_else(|| format!("has a broken {key}"))
    };
    let descr = after("'descr'")?;
    let descr = descr.strip_prefix('\'').and_then(|rest| rest.split_once('\''));
    let Some((descr, _)) = descr else {
        return Err("holds records; save a plain array of one type".to_owned());
    };
    let kind = Kind::parse(descr).ok_or_else(|| {
        format!("holds {descr:?}; convert it with .astype to one of <f4 <f8 |u1 <i4 <i8")
    })?;
    if !after("'fortran_order'")?.starts_with("False") {
        return Err("is in Fortran order; save numpy.ascontiguousarray of it".to_owned());
    }
    let shape = after("'shape'")?;
    let shape = shape.strip_prefix('(').and_then(|rest| rest.split_once(')'));
    let (shape, _) = shape.ok_or("has a broken 'shape' in its NumPy header")?;
    let sizes = shape.split(',').map(str::trim).filter(|size| !size.is_empty());
    let shape = sizes
        .map(|size| size.parse().map_err(|_| format!("has a broken dimension {size:?}")))
        .collect::<Result<Vec<u64>, String>>()?;
    if shape.is_empty() || shape.len() > 4 {
        return Err(format!("has {} dimensions; rows come first, then 0 to 3 more", shape.len()));
    }
    Ok((kind, shape))
}

fn bad(file: &Path, what: &str) -> DataError {
    DataError::at(file, DataFault::BadFile(what.to_owned()))
}
