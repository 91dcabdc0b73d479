//! What a path names: a CSV file, or a folder whose file names say which data set it holds.

use std::path::{Path, PathBuf};

use roundelay_protocol::schema::Schema;

use super::rows::{Part, Sink};
use super::{DataError, DataFault, idx, npy, table};

/// Reads whatever data `path` names.
pub(super) fn read(path: &Path, schema: &Schema, sink: &mut Sink) -> Result<(), DataError> {
    if !path.is_dir() {
        return table::read(path, schema, Part::ByHash, sink);
    }
    let files = files(path)?;
    if let Some((features, labels)) = numpy_pair(&files) {
        return npy::read(features, labels, schema, sink);
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

fn numpy_pair(files: &[PathBuf]) -> Option<(&Path, &Path)> {
    let named = |wanted: &str| files.iter().find(|file| name(file) == wanted).map(PathBuf::as_path);
    Some((named("features.npy")?, named("labels.npy")?))
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
