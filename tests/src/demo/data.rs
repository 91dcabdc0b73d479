//! The demo's rows: read once, split over tenants, written as the files that each tenant's trainer
//! reads.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Rows with their labels, in the form in which they are written for a trainer.
pub struct DataSet {
    /// Name for people.
    pub name: &'static str,
    /// Rows to train on.
    pub train: Rows,
    /// Rows that nobody trains on.
    pub test: Rows,
    /// Number of classes.
    pub classes: u32,
}

/// A run of rows.
pub struct Rows {
    form: Form,
    /// One label a row.
    pub labels: Vec<u32>,
    /// Bytes of a row, end to end.
    values: Vec<u8>,
}

/// How rows are kept and written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Whole numbers 0 to 16 in named columns: `data.csv`.
    Table { columns: usize },
    /// Grey pictures: IDX files.
    Pictures { height: usize, width: usize },
}

/// Rows of `digits` that are kept for the test: every fifth.
const DIGITS_TEST_EVERY: usize = 5;

impl DataSet {
    /// scikit-learn's digits: 1,797 rows of 64 whole numbers from 0 to 16 and a label.
    ///
    /// # Errors
    /// Where the file is missing or is another table.
    pub fn digits(file: &Path) -> Result<Self, String> {
        let text = String::from_utf8(gunzip(file)?).map_err(|_| wrong(file, "it is no text"))?;
        let form = Form::Table { columns: 64 };
        let empty = || Rows { form, labels: Vec::new(), values: Vec::new() };
        let (mut train, mut test) = (empty(), empty());
        for (number, line) in text.lines().enumerate() {
            let cells: Vec<f32> = line.split(',').filter_map(|cell| cell.parse().ok()).collect();
            let (label, pixels) = match cells.split_last() {
                Some((label, pixels)) if pixels.len() == 64 => (label, pixels),
                _ => return Err(wrong(file, &format!("line {} has no 65 numbers", number + 1))),
            };
            let rows = if number % DIGITS_TEST_EVERY == 0 { &mut test } else { &mut train };
            rows.labels.push(*label as u32);
            rows.values.extend(pixels.iter().map(|pixel| *pixel as u8));
        }
        Ok(Self { name: "digits", train, test, classes: 10 })
    }

    /// A folder of IDX files as MNIST has them, gzipped or not.
    ///
    /// # Errors
    /// Where a file is missing or malformed.
    pub fn idx(folder: &Path) -> Result<Self, String> {
        let rows = |part: &str| Rows::idx(folder, part);
        let (train, test) = (rows("train")?, rows("t10k")?);
        let classes = train.labels.iter().chain(&test.labels).max().map_or(0, |label| label + 1);
        if train.form != test.form {
            return Err(wrong(folder, "training and test pictures differ in size"));
        }
        Ok(Self { name: "IDX pictures", train, test, classes })
    }

    /// The schema of the rows as TOML, for the task file.
    #[must_use]
    pub fn schema_toml(&self) -> String {
        match self.train.form {
            Form::Table { columns } => {
                let labels: Vec<String> = (0..self.classes).map(|k| format!("\"{k}\"")).collect();
                let mut text = String::from("[schema.table]\nlabel = \"label\"\n");
                text += &format!("labels = [{}]\nstandardise = true\n", labels.join(", "));
                for column in 0..columns {
                    text += &format!(
                        "[[schema.table.columns]]\nname = \"p{column}\"\nkind = {{ number = {{ min = 0.0, max = 16.0 }} }}\n"
                    );
                }
                text
            }
            Form::Pictures { height, width } => format!(
                "[schema.images]\nchannels = 1\nheight = {height}\nwidth = {width}\nclasses = {}\n",
                self.classes
            ),
        }
    }
}

impl Rows {
    fn idx(folder: &Path, part: &str) -> Result<Self, String> {
        let images = read_idx(folder, &format!("{part}-images-idx3-ubyte"))?;
        let labels = read_idx(folder, &format!("{part}-labels-idx1-ubyte"))?;
        let [count, height, width] = images.shape[..] else {
            return Err(wrong(folder, "the pictures have no three dimensions"));
        };
        if labels.shape != [count] {
            return Err(wrong(folder, "pictures and labels differ in number"));
        }
        let labels = labels.values.iter().map(|label| u32::from(*label)).collect();
        Ok(Self { form: Form::Pictures { height, width }, labels, values: images.values })
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// How many of the chosen rows have each label.
    #[must_use]
    pub fn count_labels(&self, chosen: &[usize], classes: u32) -> Vec<usize> {
        let mut counts = vec![0; classes as usize];
        chosen.iter().for_each(|row| counts[self.labels[*row] as usize] += 1);
        counts
    }

    /// Writes the chosen rows into a folder, for a trainer. Files that start with `test-` are what
    /// it holds out.
    ///
    /// # Errors
    /// Where the folder can't be written.
    pub fn write(&self, chosen: &[usize], folder: &Path, prefix: &str) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("can't write {}: {error}", folder.display());
        fs::create_dir_all(folder).map_err(failed)?;
        let files = match self.form {
            Form::Table { columns } => vec![("data.csv", self.csv(chosen, columns))],
            Form::Pictures { height, width } => {
                let pixels = chosen.iter().flat_map(|row| self.row(*row, height * width));
                let labels = chosen.iter().map(|row| self.labels[*row] as u8);
                vec![
                    (
                        "images-idx3-ubyte",
                        idx_bytes(&[chosen.len(), height, width], pixels.copied()),
                    ),
                    ("labels-idx1-ubyte", idx_bytes(&[chosen.len()], labels)),
                ]
            }
        };
        for (name, bytes) in files {
            let mut file =
                fs::File::create(folder.join(format!("{prefix}{name}"))).map_err(failed)?;
            file.write_all(&bytes).map_err(failed)?;
        }
        Ok(())
    }

    fn row(&self, row: usize, width: usize) -> &[u8] {
        &self.values[row * width..(row + 1) * width]
    }

    fn csv(&self, chosen: &[usize], columns: usize) -> Vec<u8> {
        let header: Vec<String> = (0..columns).map(|column| format!("p{column}")).collect();
        let mut text = header.join(",") + ",label\n";
        for row in chosen {
            for cell in self.row(*row, columns) {
                text += &format!("{cell},");
            }
            text += &format!("{}\n", self.labels[*row]);
        }
        text.into_bytes()
    }
}

struct Idx {
    shape: Vec<usize>,
    values: Vec<u8>,
}

fn read_idx(folder: &Path, name: &str) -> Result<Idx, String> {
    let plain: PathBuf = folder.join(name);
    let packed = folder.join(format!("{name}.gz"));
    let (file, bytes) = if packed.exists() {
        let bytes = gunzip(&packed)?;
        (packed, bytes)
    } else {
        let read = fs::read(&plain);
        let bytes = read.map_err(|error| match error.kind() {
            ErrorKind::NotFound => format!(
                "{}: there is no {name} and no {name}.gz; give --data a folder with MNIST's four \
                 IDX files: images and labels of `train-` and of `t10k-`",
                folder.display()
            ),
            _ => format!("can't read {}: {error}", plain.display()),
        })?;
        (plain, bytes)
    };
    let [0, 0, 8, dimensions, ..] = bytes[..] else {
        return Err(wrong(&file, "it is no IDX file of bytes"));
    };
    let header = 4 + 4 * usize::from(dimensions);
    if bytes.len() < header {
        return Err(wrong(&file, "it ends inside its header"));
    }
    let word = |at: &[u8]| u32::from_be_bytes([at[0], at[1], at[2], at[3]]) as usize;
    let shape: Vec<usize> = bytes[4..header].chunks_exact(4).map(word).collect();
    if shape.iter().product::<usize>() != bytes.len() - header {
        return Err(wrong(&file, "its length is not what its header says"));
    }
    Ok(Idx { shape, values: bytes[header..].to_vec() })
}

fn idx_bytes(shape: &[usize], values: impl Iterator<Item = u8>) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, shape.len() as u8];
    shape.iter().for_each(|length| bytes.extend((*length as u32).to_be_bytes()));
    bytes.extend(values);
    bytes
}

fn gunzip(file: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: std::io::Error| format!("can't read {}: {error}", file.display());
    let mut bytes = Vec::new();
    let reader = fs::File::open(file).map_err(failed)?;
    flate2::read::GzDecoder::new(reader).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn wrong(file: &Path, why: &str) -> String {
    format!("{} can't be used: {why}", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_pictures_is_told_what_belongs_into_it() {
        let folder = tempfile::tempdir().unwrap();
        for data in [folder.path(), &folder.path().join("nothing")] {
            let line = DataSet::idx(data).err().unwrap();
            assert!(line.starts_with(&data.display().to_string()), "{line}");
            assert!(
                line.contains("train-images-idx3-ubyte.gz") && line.contains("t10k-"),
                "{line}"
            );
            assert!(!line.contains('\n'), "{line}");
        }
    }
}
