//! CSV tables. Columns are found by the header's names, so that their order in the file does not
//! matter and columns that the schema does not name are ignored.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use csv::{ErrorKind, Position, ReaderBuilder, StringRecord};
use roundelay_program::file::open;
use roundelay_protocol::schema::{Column, ColumnKind, Schema};

use super::cell;
use super::rows::{Part, Sink};
use super::{DataError, DataFault, Place};

/// Reads a CSV file with a header line.
pub(super) fn read(
    file: &Path,
    schema: &Schema,
    part: Part,
    sink: &mut Sink,
) -> Result<(), DataError> {
    let Schema::Table { columns, label, labels, .. } = schema else {
        let fault = DataFault::WrongKind {
            found: "a table".to_owned(),
            expected: "pictures (IDX or NumPy)".to_owned(),
        };
        return Err(DataError::at(file, fault));
    };
    let opened = open(file).map_err(|error| DataError::io(file, &error))?;
    let quotes = Quotes { file: opened, odd: false };
    let mut reader = ReaderBuilder::new().buffer_capacity(1 << 16).from_reader(quotes);
    let header = reader.headers().map_err(|error| not_csv(file, &error))?.clone();
    let places = columns
        .iter()
        .map(|column| place_of(file, &header, &column.name))
        .collect::<Result<Vec<_>, _>>()?;
    let label_place = place_of(file, &header, label)?;

    let mut record = StringRecord::new();
    let mut inputs = Vec::new();
    let (mut rows, mut line) = (0, Place::Line(1));
    while reader.read_record(&mut record).map_err(|error| not_csv(file, &error))? {
        line = Place::Line(record.position().map_or(0, Position::line));
        encode(&record, columns, &places, &mut inputs)
            .map_err(|(column, fault)| DataError::at_cell(file, line, column, fault))?;
        let class = cell::label(record.get(label_place).unwrap_or_default(), labels)
            .map_err(|fault| DataError::at_cell(file, line, label, fault))?;
        rows += 1;
        sink.reserve(file, 1)?;
        sink.push(&inputs, class, part);
    }
    if reader.get_ref().odd {
        return Err(DataError::at_row(file, line, DataFault::OpenQuote));
    }
    if rows == 0 {
        return Err(DataError::at(file, DataFault::NoRows));
    }
    Ok(())
}

/// A file, and whether it has an odd number of quotation marks so far. In a whole one they are even:
/// a quoted cell begins and ends with one, and doubles those within (RFC 4180, 2.5 to 2.7). The
/// parser takes the end of the file for the end of a cell.
struct Quotes {
    file: File,
    odd: bool,
}

impl Read for Quotes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        let quotes = buffer.iter().take(read).filter(|byte| **byte == b'"').count();
        self.odd ^= quotes % 2 == 1;
        Ok(read)
    }
}

/// The inputs of a record, or the column with a fault.
fn encode<'a>(
    record: &StringRecord,
    columns: &'a [Column],
    places: &[usize],
    inputs: &mut Vec<f32>,
) -> Result<(), (&'a str, DataFault)> {
    inputs.clear();
    for (column, place) in columns.iter().zip(places) {
        let text = record.get(*place).unwrap_or_default();
        let at_column = |fault| (column.name.as_str(), fault);
        match &column.kind {
            ColumnKind::Number { min, max } => {
                inputs.push(cell::number(text, *min, *max).map_err(at_column)?);
            }
            ColumnKind::Category { values } => {
                let chosen = cell::category(text, values).map_err(at_column)?;
                inputs.extend((0..values.len()).map(|at| f32::from(u8::from(at == chosen))));
            }
        }
    }
    Ok(())
}

fn place_of(file: &Path, header: &StringRecord, name: &str) -> Result<usize, DataError> {
    // Spreadsheets start a file with a byte order mark, which then leads the first name.
    let named = |cell: &str| cell.trim_start_matches('\u{feff}').trim() == name;
    let mut found = header.iter().enumerate().filter(|(_, cell)| named(cell));
    match (found.next(), found.next()) {
        (Some((at, _)), None) => Ok(at),
        (Some(_), Some(_)) => {
            let fault = DataFault::ColumnTwice { name: name.to_owned() };
            Err(DataError::at_row(file, Place::Line(1), fault))
        }
        (None, _) => {
            let fault = DataFault::MissingColumn { name: name.to_owned() };
            Err(DataError::at_row(file, Place::Line(1), fault))
        }
    }
}

fn not_csv(file: &Path, error: &csv::Error) -> DataError {
    let line = |position: &Option<Position>| {
        position.as_ref().map_or(Place::Whole, |position| Place::Line(position.line()))
    };
    match error.kind() {
        ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let fault = DataFault::Ragged { expected: *expected_len, found: *len };
            DataError::at_row(file, line(pos), fault)
        }
        ErrorKind::Utf8 { pos, .. } => {
            let fault = DataFault::NotCsv("a cell is not UTF-8".to_owned());
            DataError::at_row(file, line(pos), fault)
        }
        ErrorKind::Io(error) => DataError::io(file, error),
        other => DataError::at(file, DataFault::NotCsv(format!("{other:?}"))),
    }
}
