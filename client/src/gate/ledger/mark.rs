//! How far the ledger was durable, in a file beside it: `ledger.mark`. A hash chain shows that a line
//! was changed or taken out of the middle; only this shows that lines are missing from the end, or
//! all of them.
//!
//! ```text
//! <end of the line in bytes> <lines> <chain, 64 hex digits>
//! ```
//! It is written, not synced, whenever lines have become durable: after a crash it may be behind the
//! ledger, never ahead of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use roundelay_crypto::digest::Digest;

use super::{LINE_BYTES_MAX, parse};
use crate::checkpoint::{CheckpointError, at};

/// The last line that is known to be durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Where it ends.
    pub(super) end: u64,
    /// How many lines there are with it.
    pub(super) lines: u64,
    /// Its chain.
    pub(super) chain: Digest,
}

impl Mark {
    /// Where the mark of a ledger lies.
    pub(super) fn path(ledger: &Path) -> PathBuf {
        ledger.with_extension("mark")
    }

    /// What is marked for a ledger; none where nothing is, or a crash tore it.
    pub(super) fn read(ledger: &Path) -> Result<Option<Self>, CheckpointError> {
        let path = Self::path(ledger);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&path, error)),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.strip_suffix('\n')?.split(' ');
        let (end, lines, chain) = (words.next()?, words.next()?, words.next()?);
        let mark =
            Self { end: end.parse().ok()?, lines: lines.parse().ok()?, chain: chain.parse().ok()? };
        words.next().is_none().then_some(mark)
    }

    fn text(&self) -> String {
        format!("{:020} {:020} {}\n", self.end, self.lines, self.chain)
    }

    /// Whether the ledger still has this line where it was.
    pub(super) fn check(&self, ledger: &mut File, path: &Path) -> Result<(), CheckpointError> {
        let from = self.end.saturating_sub(LINE_BYTES_MAX as u64);
        let mut bytes = Vec::new();
        let mut read = || {
            ledger.seek(SeekFrom::Start(from))?;
            ledger.take(self.end - from).read_to_end(&mut bytes)
        };
        read().map_err(|error| at(path, error))?;
        let line = bytes.strip_suffix(b"\n").and_then(|lines| {
            let last = lines.rsplit(|byte| *byte == b'\n').next()?;
            parse(std::str::from_utf8(last).ok()?)
        });
        match line {
            Some((chain, _, entry)) if chain == self.chain && entry.sequence + 1 == self.lines => {
                Ok(())
            }
            _ => Err(self.missing(path)),
        }
    }

    /// Lines up to the mark are not there.
    pub(super) fn missing(&self, path: &Path) -> CheckpointError {
        let why =
            format!("of the {} lines that were written some are missing or changed", self.lines);
        CheckpointError::damaged(path, why)
    }
}

/// The file with the mark, open to be written again and again.
#[derive(Debug)]
pub(super) struct Marker(File);

impl Marker {
    /// Of the ledger at `path`.
    pub(super) fn open(ledger: &Path) -> Result<Self, CheckpointError> {
        let path = Mark::path(ledger);
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path);
        file.map(Self).map_err(|error| at(&path, error))
    }

    /// The texts of all marks have one length: one write replaces the one before.
    pub(super) fn set(&self, mark: &Mark) -> io::Result<()> {
        self.0.write_all_at(mark.text().as_bytes(), 0)
    }
}
