//! IDX files, the format of MNIST: a magic number with the type and number of dimensions, the
//! dimensions as big-endian `u32`, then the values. Pictures and labels are unsigned bytes, the
//! file may be gzip. A file is read row by row and never trusted for its announced size.

use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use roundelay_program::file::open;

use super::rows::{InputShape, Part, Sink, check_class};
use super::{DataError, DataFault, Place};

/// Type code of unsigned bytes, the only one read.
const UNSIGNED_BYTES: u8 = 0x08;

/// Reads a pair of picture and label files.
pub(super) fn read(
    images: &Path,
    labels: &Path,
    part: Part,
    sink: &mut Sink,
) -> Result<(), DataError> {
    let InputShape::Image { channels, height, width } = sink.shape() else {
        let fault = DataFault::WrongKind { found: "pictures".into(), expected: "a table".into() };
        return Err(DataError::at(images, fault));
    };
    let mut pictures = Reader::open(images)?;
    let rows = check_shape(&pictures, [channels, height, width])?;
    let labels = read_labels(labels, rows, sink.classes())?;
    sink.reserve(images, rows)?;

    let mut bytes = vec![0; sink.shape().inputs()];
    let mut inputs = vec![0.0; bytes.len()];
    for (row, label) in labels.into_iter().enumerate() {
        pictures.row(&mut bytes, row as u64, rows)?;
        for (input, byte) in inputs.iter_mut().zip(&bytes) {
            *input = f32::from(*byte) / 255.0;
        }
        sink.push(&inputs, label, part);
    }
    pictures.end()
}

/// The number of pictures, if they have the schema's size.
fn check_shape(pictures: &Reader, expected: [usize; 3]) -> Result<u64, DataError> {
    let [channels, height, width] = expected;
    let found: Vec<usize> = pictures.dimensions.iter().skip(1).map(|n| *n as usize).collect();
    let fits = found == expected || (channels == 1 && found == [height, width]);
    if !fits {
        let fault = DataFault::WrongShape {
            found: format!("{found:?} per picture"),
            expected: format!("{expected:?} (channels, height, width)"),
        };
        return Err(DataError::at(&pictures.file, fault));
    }
    Ok(u64::from(pictures.dimensions[0]))
}

fn read_labels(file: &Path, rows: u64, classes: usize) -> Result<Vec<u32>, DataError> {
    let mut reader = Reader::open(file)?;
    let &[count] = reader.dimensions.as_slice() else {
        let found = format!("{:?}", reader.dimensions);
        let fault = DataFault::WrongShape { found, expected: "one label per picture".into() };
        return Err(DataError::at(file, fault));
    };
    if u64::from(count) != rows {
        let fault = DataFault::LabelCount { rows, labels: u64::from(count) };
        return Err(DataError::at(file, fault));
    }
    let mut labels = Vec::new();
    let mut byte = [0];
    for row in 0..rows {
        reader.row(&mut byte, row, rows)?;
        let label = u32::from(byte[0]);
        check_class(label, classes)
            .map_err(|fault| DataError::at_row(file, Place::Row(row), fault))?;
        labels.push(label);
    }
    reader.end()?;
    Ok(labels)
}

/// An open IDX file behind its header.
struct Reader {
    file: std::path::PathBuf,
    dimensions: Vec<u32>,
    bytes: Box<dyn Read>,
}

impl Reader {
    fn open(file: &Path) -> Result<Self, DataError> {
        let mut bytes = plain_or_gzip(file)?;
        let mut magic = [0; 4];
        header(file, bytes.read_exact(&mut magic))?;
        let [0, 0, kind, count @ 1..=4] = magic else {
            return Err(bad(file, "is not an IDX file; give the original or convert to NumPy"));
        };
        if kind != UNSIGNED_BYTES {
            return Err(bad(file, "holds another type than unsigned bytes; convert it to NumPy"));
        }
        let mut dimensions = Vec::new();
        for _ in 0..count {
            let mut size = [0; 4];
            header(file, bytes.read_exact(&mut size))?;
            dimensions.push(u32::from_be_bytes(size));
        }
        Ok(Self { file: file.to_owned(), dimensions, bytes })
    }

    fn row(&mut self, into: &mut [u8], row: u64, rows: u64) -> Result<(), DataError> {
        self.bytes.read_exact(into).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => {
                bad(&self.file, &format!("ends in row {row} of {rows}; copy it again"))
            }
            _ => DataError::io(&self.file, &error),
        })
    }

    /// Nothing may follow the last row.
    fn end(mut self) -> Result<(), DataError> {
        match self.bytes.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(bad(&self.file, "goes on after its last row; copy it again")),
            Err(error) => Err(DataError::io(&self.file, &error)),
        }
    }
}

fn plain_or_gzip(file: &Path) -> Result<Box<dyn Read>, DataError> {
    let opened = || open(file).map_err(|error| DataError::io(file, &error));
    let mut magic = [0; 2];
    let gzip = opened()?.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
    let reader = BufReader::with_capacity(1 << 16, opened()?);
    if gzip {
        Ok(Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(reader))))
    } else {
        Ok(Box::new(reader))
    }
}

fn header(file: &Path, read: std::io::Result<()>) -> Result<(), DataError> {
    read.map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => bad(file, "ends inside its IDX header; copy it again"),
        _ => DataError::io(file, &error),
    })
}

fn bad(file: &Path, what: &str) -> DataError {
    DataError::at(file, DataFault::BadFile(what.to_owned()))
}
