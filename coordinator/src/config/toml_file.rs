//! TOML files that people write: what is wrong is said in one line with file, line and column, and
//! a key that does not exist with the nearest one that does.

use std::path::{Path, PathBuf};

use roundelay_program::file::read_text;
use roundelay_protocol::suggestion::with_suggestion;
use serde::de::DeserializeOwned;

/// Bytes of a file that is read.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Why a file was refused.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It could not be read.
    #[error("{}: {why}; name one that can be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's words.
        why: String,
    },
    /// It is not TOML, lacks a key, or has one that does not exist.
    #[error("{}, line {line}, column {column}: {what}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong there.
        what: String,
    },
    /// A value is out of range.
    #[error("{}: {what}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Which value, and what it may be.
        what: String,
    },
}

/// Reads a file into a value.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, FileError> {
    let unreadable = |why: String| FileError::Unreadable { path: path.to_owned(), why };
    let text = read_text(path, FILE_BYTES_MAX).map_err(|error| unreadable(error.to_string()))?;
    parse(path, &text)
}

/// Parses the text of a file into a value; `path` is for the error.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, FileError> {
    toml::from_str(text).map_err(|error| {
        let before = &text[..error.span().map_or(0, |span| span.start.min(text.len()))];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        FileError::Syntax {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            what: with_suggestion(&error.message().replace('\n', " ")),
        }
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[serde(rename = "rounds")]
        _rounds: u32,
    }

    #[test]
    fn a_wrong_value_a_missing_key_and_broken_toml_are_one_line_each() {
        for text in ["rounds = \"x\"", "", "rounds = ", "[rounds", "rounds = 1\nrounds = 2"] {
            let error = parse::<Sample>(Path::new("t.toml"), text).unwrap_err().to_string();
            assert!(error.starts_with("t.toml, line "), "{error}");
            assert!(!error.contains('\n') && !error.contains("did you mean"), "{error}");
        }
    }

    #[test]
    fn a_key_that_resembles_nothing_is_refused_without_a_guess() {
        let error = parse::<Sample>(Path::new("t.toml"), "banana = 1").unwrap_err().to_string();
        assert!(error.contains("unknown field `banana`") && !error.contains("mean"), "{error}");
    }
}
