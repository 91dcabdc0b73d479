//! scikit-learn's `digits` table: 1,797 rows of 64 pixels and a label, from its pinned wheel.

use std::fs;
use std::path::PathBuf;

use super::wheels::{Wheel, unpack};
use crate::run::target;

/// The wheel is only unpacked for its data, so one platform's serves them all.
const SCIKIT_LEARN: Wheel = Wheel {
    requirement: "scikit-learn==1.9.1",
    sha256: "52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df",
    platform: "manylinux_2_28_x86_64",
};

/// Makes the table available and returns its file (`digits.csv.gz`, no header).
pub(crate) fn digits() -> Result<PathBuf, String> {
    let folder = target().join("scikit-learn-1.9.1");
    let table = folder.join("sklearn/datasets/data/digits.csv.gz");
    if table.exists() {
        return Ok(table);
    }
    note!("scikit-learn's digits table: about 9 MB, once");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let wheel = SCIKIT_LEARN.download()?;
    unpack(&wheel, &folder, &["sklearn/datasets/data/digits.csv.gz"])?;
    SCIKIT_LEARN.forget();
    Ok(table)
}
