//! What a path names: a CSV file, or a folder whose file names say which data set it holds.

use std::io::Read;
use std::path::{Path, PathBuf};

use roundelay_program::file::open;
use roundelay_protocol::schema::Schema;

use super::rows::{Part, Sink};
use super::{DataError, DataFault, idx, npy, table};

/// The two files of a NumPy data set.
const FEATURES: &str = "features.npy";
const LABELS: &str = "labels.npy";

/// Reads whatever data `path` names.
pub(super) fn read(path: &Path, schema: &Schema, sink: &mut Sink) -> Result<(), DataError> {
    if !path.is_dir() {
        return match one_of_a_pair(path) {
            Some(what) => Err(no_data_set(path, what)),
            None => table::read(path, schema, Part::ByHash, sink),
        };
    }
    let files = files(path)?;
    match (named(&files, FEATURES), named(&files, LABELS)) {
        (Some(features), Some(labels)) => return npy::read(features, labels, schema, sink),
        (Some(_), None) => return Err(no_data_set(path, "holds features.npy and no labels.npy")),
        (None, Some(_)) => return Err(no_data_set(path, "holds labels.npy and no features.npy")),
        (None, None) => {}
    }
    let idx_files = files.iter().any(|file| name(file).contains("idx"));
    if idx_files {
        return read_idx(path, &files, sink);
    }
    read_tables(path, &files, schema, sink)
}

/// One table, with a table of held-out rows beside it or not.
fn read_tables(
    folder: &Path,
    files: &[PathBuf],
    schema: &Schema,
    sink: &mut Sink,
) -> Result<(), DataError> {
    let tables = files.iter().filter(|file| name(file).ends_with(".csv"));
    let (test, train): (Vec<&PathBuf>, Vec<&PathBuf>) =
        tables.partition(|file| name(file).starts_with("test"));
    match (train.as_slice(), test.as_slice()) {
        ([file], []) | ([], [file]) => table::read(file, schema, Part::ByHash, sink),
        ([train], [test]) => {
            table::read(train, schema, Part::Train, sink)?;
            table::read(test, schema, Part::HeldOut, sink)
        }
        ([], []) => Err(no_data_set(folder, "holds no CSV, IDX or NumPy data")),
        (train, test) => {
            let many = train.len() + test.len();
            Err(no_data_set(folder, &format!("holds {many} CSV files")))
        }
    }
}

/// The files of a folder, sorted by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let failed = |error: std::io::Error| DataError::io(folder, &error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        files.push(entry.map_err(failed)?.path());
    }
    files.sort();
    Ok(files)
}

/// The file's name in lower case.
fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().to_lowercase()
}

fn named<'a>(files: &'a [PathBuf], wanted: &str) -> Option<&'a Path> {
    files.iter().find(|file| name(file) == wanted).map(PathBuf::as_path)
}

/// What a file is, by its name or its first bytes, that says nothing without another one.
fn one_of_a_pair(file: &Path) -> Option<&'static str> {
    const NPY: &str = "is one NumPy file of a pair";
    const IDX: &str = "is one IDX file of a pair";
    let mut start = [0; 6];
    let read = open(file).and_then(|mut file| file.read(&mut start)).unwrap_or(0);
    match &start[..read] {
        start if start.starts_with(b"\x93NUMPY") || name(file).ends_with(".npy") => Some(NPY),
        // Two zeros, the type of the values, and how many dimensions they have.
        [0, 0, 8..=14, 1..=4, ..] => Some(IDX),
        [0x1f, 0x8b, ..] if name(file).contains("idx") => Some(IDX),
        _ => None,
    }
}

/// An IDX pair, with a pair of held-out files beside it or not.
fn read_idx(folder: &Path, files: &[PathBuf], sink: &mut Sink) -> Result<(), DataError> {
    let (test, train): (Vec<&PathBuf>, Vec<&PathBuf>) = files
        .iter()
        .filter(|file| name(file).contains("idx"))
        .partition(|file| name(file).starts_with("t10k") || name(file).starts_with("test"));
    if train.is_empty() {
        let (images, labels) = idx_pair(folder, &test)?;
        return idx::read(images, labels, Part::ByHash, sink);
    }
    let (images, labels) = idx_pair(folder, &train)?;
    if test.is_empty() {
        return idx::read(images, labels, Part::ByHash, sink);
    }
    idx::read(images, labels, Part::Train, sink)?;
    let (images, labels) = idx_pair(folder, &test)?;
    idx::read(images, labels, Part::HeldOut, sink)
}

fn idx_pair<'a>(folder: &Path, files: &[&'a PathBuf]) -> Result<(&'a Path, &'a Path), DataError> {
    let one = |kind: &str| {
        let mut found = files.iter().filter(|file| name(file).contains(kind));
        match (found.next(), found.next()) {
            (Some(file), None) => Ok(file.as_path()),
            (None, _) => Err(no_data_set(folder, &format!("has no IDX file of {kind}"))),
            (Some(_), Some(_)) => {
                Err(no_data_set(folder, &format!("has several IDX files of {kind}")))
            }
        }
    };
    Ok((one("images")?, one("labels")?))
}

fn no_data_set(folder: &Path, what: &str) -> DataError {
    DataError::at(folder, DataFault::NoDataSet(what.to_owned()))
}
