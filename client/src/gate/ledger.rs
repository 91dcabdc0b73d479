//! The egress ledger: what left this machine, one line each, chained by hashes, so that nobody can
//! later take a line away or change it unseen.
//!
//! ```text
//! roundelay ledger 1
//! <chain, 64 hex digits> <entry, JSON>
//! ```
//! `chain` is the digest of the chain of the line before (zero before the first) and this line's
//! entry. A line is written before what it tells of is sent. It is made durable in the background,
//! except for masked vectors: theirs is durable before the first byte leaves. A crash may lose
//! lines about small messages of the last second, never a line about an upload.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::{FederationId, RoundNumber};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::checkpoint::failpoint::reached;
use crate::checkpoint::{CheckpointError, at};

mod mark;

use mark::{Mark, Marker};

const HEADER: &str = "roundelay ledger 1\n";
const CHAIN_DIGITS: usize = 64;
/// Bytes of one line at most.
const LINE_BYTES_MAX: usize = 4 << 10;

/// One message that left this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Counts the lines from 0.
    pub sequence: u64,
    /// This machine's clock, milliseconds since 1970.
    pub unix_ms: u64,
    /// The federation that it was about, if any.
    pub federation: Option<String>,
    /// The round that it was about, if any.
    pub round: Option<u64>,
    /// What it was, such as `advert` or `masked-vector`.
    pub kind: String,
    /// Its length.
    pub bytes: u64,
    /// Hash of its bytes; of a masked vector, the root over its chunks.
    pub hash: String,
    /// Why it may leave.
    pub why: String,
}

/// What is about to leave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leaving {
    pub(crate) federation: Option<FederationId>,
    pub(crate) round: Option<RoundNumber>,
    pub(crate) kind: &'static str,
    pub(crate) bytes: u64,
    pub(crate) hash: Digest,
    pub(crate) why: &'static str,
}

/// An open ledger, at its end. Several processes may append in turn.
#[derive(Debug)]
pub struct Ledger {
    file: File,
    path: PathBuf,
    end: u64,
    chain: Digest,
    sequence: u64,
    /// Lines that this process wrote, and how many of them are durable.
    written: u64,
    durable: u64,
    marker: Marker,
    /// A sync has failed. The system forgets which bytes it gave up on, so trying again proves
    /// nothing: nothing leaves any more until the ledger is opened anew.
    broken: bool,
}

/// Lines that wait to be made durable.
pub(crate) struct Unsynced {
    /// To be synced.
    pub(crate) file: File,
    /// Its name.
    pub(crate) path: PathBuf,
    /// What this covers.
    pub(crate) lines: Lines,
}

/// Lines up to one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lines {
    /// How many of them this process wrote.
    written: u64,
    last: Mark,
}

impl Ledger {
    /// Opens or creates the ledger at `path`.
    ///
    /// # Errors
    /// It can't be read or written, its end is not one of a ledger, or lines that were durable are
    /// missing from it.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|error| at(path, error))?;
        let mut ledger = Self {
            file,
            path: path.to_owned(),
            end: 0,
            chain: Digest([0; 32]),
            sequence: 0,
            written: 0,
            durable: 0,
            marker: Marker::open(path)?,
            broken: false,
        };
        ledger.exclusively(|ledger| {
            // Before anything is taken off or begun anew.
            if let Some(mark) = Mark::read(&ledger.path)? {
                mark.check(&mut ledger.file, &ledger.path)?;
            }
            ledger.catch_up()
        })?;
        Ok(ledger)
    }

    /// Writes a line about what is about to leave.
    ///
    /// # Errors
    /// It can't be written: the message must not be sent.
    pub(crate) fn record(&mut self, leaving: &Leaving) -> Result<(), CheckpointError> {
        self.check_whole()?;
        self.exclusively(|ledger| {
            ledger.catch_up()?;
            let written = ledger.append(leaving);
            if written.is_err() {
                // Half a line on a full disk: take it off again.
                let _ = ledger.cut_back();
            }
            written.map_err(|error| at(&ledger.path, error))
        })
    }

    /// The lines that wait to be made durable, if any. Tell [`synced`](Self::synced) what came of
    /// it.
    ///
    /// # Errors
    /// The ledger is of no more use.
    pub(crate) fn unsynced(&mut self) -> Result<Option<Unsynced>, CheckpointError> {
        self.check_whole()?;
        if self.durable == self.written {
            return Ok(None);
        }
        let file = reached(&["ledger.sync.before"]).and_then(|()| self.file.try_clone());
        match file {
            Ok(file) => {
                let last = Mark { end: self.end, lines: self.sequence, chain: self.chain };
                let lines = Lines { written: self.written, last };
                Ok(Some(Unsynced { file, path: self.path.clone(), lines }))
            }
            Err(error) => Err(self.break_off(error)),
        }
    }

    /// The lines that waited are durable, or not.
    ///
    /// # Errors
    /// They are not: from now on nothing is recorded, so that nothing leaves.
    pub(crate) fn synced(
        &mut self,
        lines: Lines,
        done: io::Result<()>,
    ) -> Result<(), CheckpointError> {
        match done.and_then(|()| self.marker.set(&lines.last)) {
            Ok(()) => {
                self.durable = self.durable.max(lines.written);
                Ok(())
            }
            Err(error) => Err(self.break_off(error)),
        }
    }

    fn break_off(&mut self, error: io::Error) -> CheckpointError {
        self.broken = true;
        at(&self.path, error)
    }

    fn check_whole(&self) -> Result<(), CheckpointError> {
        if !self.broken {
            return Ok(());
        }
        let words =
            "lines of it could not be made durable; nothing is sent until this is restarted";
        Err(at(&self.path, io::Error::other(words)))
    }

    /// Other processes (`manifest sign` beside a running daemon) append too: one at a time.
    fn exclusively<R>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<R, CheckpointError>,
    ) -> Result<R, CheckpointError> {
        flock(&self.file, FlockOperation::LockExclusive)
            .map_err(|error| at(&self.path, error.into()))?;
        let done = work(self);
        let _ = flock(&self.file, FlockOperation::Unlock);
        done
    }

    /// Takes in what other processes appended, and takes off a line that a crash cut short.
    fn catch_up(&mut self) -> Result<(), CheckpointError> {
        let length = self.file.metadata().map_err(|error| at(&self.path, error))?.len();
        if length == self.end && length > 0 {
            return Ok(());
        }
        let tail = Tail::read(&mut self.file, &self.path, length)?;
        (self.end, self.chain, self.sequence) = (tail.end, tail.chain, tail.sequence);
        if tail.end == 0 {
            self.start().map_err(|error| at(&self.path, error))
        } else if tail.end < length {
            self.cut_back().map_err(|error| at(&self.path, error))
        } else {
            Ok(())
        }
    }

    fn start(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(HEADER.as_bytes())?;
        self.file.sync_all()?;
        self.end = HEADER.len() as u64;
        Ok(())
    }

    fn cut_back(&mut self) -> io::Result<()> {
        self.file.set_len(self.end)
    }

    fn append(&mut self, leaving: &Leaving) -> io::Result<()> {
        let entry = Entry {
            sequence: self.sequence,
            unix_ms: crate::clock::unix_ms(),
            federation: leaving.federation.map(|id| id.to_string()),
            round: leaving.round.map(|round| round.0),
            kind: leaving.kind.to_owned(),
            bytes: leaving.bytes,
            hash: leaving.hash.to_string(),
            why: leaving.why.to_owned(),
        };
        let json = serde_json::to_string(&entry)?;
        let chain = next_chain(self.chain, &json);
        let line = format!("{chain} {json}\n");
        reached(&["ledger.before"])?;
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.write_all(line.as_bytes())?;
        reached(&["ledger.after"])?;
        self.end += line.len() as u64;
        (self.chain, self.sequence, self.written) = (chain, self.sequence + 1, self.written + 1);
        Ok(())
    }
}

fn next_chain(before: Digest, json: &str) -> Digest {
    Digest::of("roundelay/client/ledger", &[before.as_ref(), json.as_bytes()])
}

/// Splits a line into its chain and its entry, as text and parsed.
fn parse(line: &str) -> Option<(Digest, &str, Entry)> {
    let (chain, json) = line.split_at_checked(CHAIN_DIGITS)?;
    let json = json.strip_prefix(' ')?;
    Some((chain.parse().ok()?, json, serde_json::from_str(json).ok()?))
}

/// Where the last whole line ends, and what it says.
struct Tail {
    end: u64,
    chain: Digest,
    sequence: u64,
}

impl Tail {
    fn read(file: &mut File, path: &Path, length: u64) -> Result<Self, CheckpointError> {
        let fail = |error| at(path, error);
        let from = length.saturating_sub(2 * LINE_BYTES_MAX as u64);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(from)).map_err(fail)?;
        file.read_to_end(&mut bytes).map_err(fail)?;
        if from == 0 && HEADER.as_bytes().starts_with(&bytes) && bytes.len() < HEADER.len() {
            return Ok(Self { end: 0, chain: Digest([0; 32]), sequence: 0 });
        }
        Self::of(&bytes, from)
            .ok_or_else(|| CheckpointError::damaged(path, "its end is not one of a ledger"))
    }

    /// Looks at the last whole lines of `bytes`, which start at `from` in the file.
    fn of(bytes: &[u8], from: u64) -> Option<Self> {
        let mut end = bytes.len();
        loop {
            // Up to and with the last line feed before `end`.
            end = bytes[..end].iter().rposition(|byte| *byte == b'\n')? + 1;
            let start =
                bytes[..end - 1].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let line = std::str::from_utf8(&bytes[start..end - 1]).ok();
            let place = from + end as u64;
            if from == 0 && &bytes[..end] == HEADER.as_bytes() {
                return Some(Self { end: place, chain: Digest([0; 32]), sequence: 0 });
            }
            if let Some((chain, _, entry)) = line.and_then(parse) {
                return Some(Self { end: place, chain, sequence: entry.sequence + 1 });
            }
            // Blocks that never reached the disk: look at the line before.
            end -= 1;
        }
    }
}

/// Every line of a ledger in order, each checked against the chain.
pub struct Entries {
    lines: io::Lines<BufReader<File>>,
    path: PathBuf,
    chain: Digest,
    sequence: u64,
    /// Up to where lines have to be there, until that was seen.
    mark: Option<Mark>,
}

impl Entries {
    /// Reads the ledger at `path` from its first line; `None` where there never was one.
    ///
    /// # Errors
    /// It can't be read, is no ledger, or is gone.
    pub fn read(path: &Path) -> Result<Option<Self>, CheckpointError> {
        let mark = Mark::read(path)?;
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return mark.map_or(Ok(None), |mark| Err(mark.missing(path)));
            }
            Err(error) => return Err(at(path, error)),
        };
        let mut reader = BufReader::new(file);
        let mut first = String::new();
        reader.by_ref().take(64).read_line(&mut first).map_err(|error| at(path, error))?;
        if first != HEADER {
            return Err(CheckpointError::damaged(path, "its first line is not a ledger's"));
        }
        let (lines, path) = (reader.lines(), path.to_owned());
        Ok(Some(Self { lines, path, chain: Digest([0; 32]), sequence: 0, mark }))
    }

    fn check(&mut self, line: &str) -> Result<Entry, CheckpointError> {
        let bad = |sequence| {
            CheckpointError::damaged(&self.path, format!("line {sequence} was changed or removed"))
        };
        let (chain, json, entry) = parse(line).ok_or_else(|| bad(self.sequence))?;
        if chain != next_chain(self.chain, json) || entry.sequence != self.sequence {
            return Err(bad(self.sequence));
        }
        (self.chain, self.sequence) = (chain, self.sequence + 1);
        match self.mark.take_if(|mark| mark.lines == self.sequence) {
            Some(mark) if mark.chain != chain => Err(mark.missing(&self.path)),
            _ => Ok(entry),
        }
    }
}

impl Iterator for Entries {
    type Item = Result<Entry, CheckpointError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some(line) = self.lines.next() else {
            return self.mark.take().map(|mark| Err(mark.missing(&self.path)));
        };
        Some(line.map_err(|error| at(&self.path, error)).and_then(|line| self.check(&line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::failpoint::{Fault, arm, disarm};

    fn leaving(round: u64) -> Leaving {
        Leaving {
            federation: Some(FederationId([1; 16])),
            round: Some(RoundNumber(round)),
            kind: "advert",
            bytes: 100 + round,
            hash: Digest([9; 32]),
            why: "public keys",
        }
    }

    fn with_lines(count: u64) -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("ledger");
        let mut ledger = Ledger::open(&path).unwrap();
        (0..count).for_each(|round| ledger.record(&leaving(round)).unwrap());
        (root, path)
    }

    fn read(path: &Path) -> Result<Vec<Entry>, CheckpointError> {
        Entries::read(path)?.unwrap().collect()
    }

    #[test]
    fn lines_are_read_back_and_continued_after_a_restart() {
        let (_root, path) = with_lines(3);
        Ledger::open(&path).unwrap().record(&leaving(3)).unwrap();
        let entries = read(&path).unwrap();
        assert_eq!(entries.iter().map(|entry| entry.sequence).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(entries[3].bytes, 103);
    }

    #[test]
    fn two_processes_append_to_one_chain() {
        let (_root, path) = with_lines(1);
        let (mut one, mut two) = (Ledger::open(&path).unwrap(), Ledger::open(&path).unwrap());
        for round in 0..5 {
            one.record(&leaving(round)).unwrap();
            two.record(&leaving(round)).unwrap();
        }
        assert_eq!(read(&path).unwrap().len(), 11);
    }

    #[test]
    fn a_changed_removed_or_moved_line_is_found() {
        let (_root, path) = with_lines(4);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let mut tampered = vec![
            text.replace("\"bytes\":101", "\"bytes\":1"),
            text.replace("public keys", "public kees"),
        ];
        for gone in 1..lines.len() - 1 {
            let mut rest = lines.clone();
            rest.remove(gone);
            tampered.push(rest.join("\n"));
            let mut swapped = lines.clone();
            swapped.swap(gone, gone + 1);
            tampered.push(swapped.join("\n"));
        }
        for text in tampered {
            std::fs::write(&path, &text).unwrap();
            assert!(read(&path).is_err(), "{text}");
        }
    }

    #[test]
    fn a_line_cut_short_by_a_crash_is_taken_off_and_the_chain_goes_on() {
        let (_root, path) = with_lines(3);
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            Ledger::open(&path).unwrap().record(&leaving(7)).unwrap();
            let entries = read(&path).unwrap();
            assert!((1..=4).contains(&entries.len()), "{length}");
            assert_eq!(entries.last().unwrap().round, Some(7));
        }
    }

    #[test]
    fn an_end_that_never_reached_the_disk_is_taken_off() {
        let (_root, path) = with_lines(3);
        let mut torn = std::fs::read(&path).unwrap();
        torn.extend([0; 500]);
        std::fs::write(&path, &torn).unwrap();
        Ledger::open(&path).unwrap().record(&leaving(7)).unwrap();
        assert_eq!(read(&path).unwrap().len(), 4);
    }

    #[test]
    fn a_full_disk_leaves_the_chain_whole() {
        let (_root, path) = with_lines(2);
        let mut ledger = Ledger::open(&path).unwrap();
        for step in ["ledger.before", "ledger.after"] {
            arm(step, Fault::Full);
            assert!(matches!(ledger.record(&leaving(9)), Err(CheckpointError::DiskFull(_))));
            assert!(!disarm());
        }
        ledger.record(&leaving(3)).unwrap();
        assert_eq!(read(&path).unwrap().len(), 3);
    }

    /// A ledger of so many lines, all of them marked as durable.
    fn with_durable_lines(count: u64) -> (tempfile::TempDir, PathBuf) {
        let (root, path) = with_lines(count);
        let mut ledger = Ledger::open(&path).unwrap();
        ledger.record(&leaving(count)).unwrap();
        let unsynced = ledger.unsynced().unwrap().unwrap();
        ledger.synced(unsynced.lines, Ok(())).unwrap();
        (root, path)
    }

    #[test]
    fn lines_that_were_durable_and_are_gone_from_the_end_are_missed() {
        let (_root, path) = with_durable_lines(4);
        let whole = std::fs::read_to_string(&path).unwrap();
        Ledger::open(&path).unwrap().record(&leaving(9)).unwrap();
        assert_eq!(read(&path).unwrap().len(), 6, "a mark that lags behind is no harm");
        let lines: Vec<&str> = whole.split_inclusive('\n').collect();
        let shorter: Vec<String> = (0..lines.len()).map(|left| lines[..left].concat()).collect();
        for text in shorter {
            std::fs::write(&path, &text).unwrap();
            assert!(read(&path).is_err(), "{text}");
            let refused = Ledger::open(&path).unwrap_err().to_string();
            assert!(
                refused.contains("of the 5 lines that were written some are missing"),
                "{refused}"
            );
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "nothing is taken off");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(Entries::read(&path).is_err());
        assert!(Ledger::open(&path).is_err());
    }

    #[test]
    fn a_ledger_that_was_written_anew_under_the_same_name_is_told_from_the_one_before() {
        let (_root, path) = with_durable_lines(4);
        std::fs::rename(Mark::path(&path), path.with_extension("kept")).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut ledger = Ledger::open(&path).unwrap();
        (10..20).for_each(|round| ledger.record(&leaving(round)).unwrap());
        assert_eq!(read(&path).unwrap().len(), 10);
        std::fs::rename(path.with_extension("kept"), Mark::path(&path)).unwrap();
        assert!(read(&path).is_err());
        assert!(Ledger::open(&path).is_err());
    }

    #[test]
    fn a_file_that_is_no_ledger_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("ledger");
        std::fs::write(&path, "something else\nentirely\n").unwrap();
        assert!(Ledger::open(&path).is_err());
        assert!(Entries::read(&path).is_err());
    }
}
