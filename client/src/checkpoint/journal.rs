//! A file of entries with a checksum each, appended and made durable as one batch. Where fewer
//! entries say the same, they take the place of all, whole or not at all.
//!
//! ```text
//! file  = "roundelay <kind> <format>\n", entry, entry, ...
//! entry = length ‖ its complement (u32 each, little endian) ‖ body ‖ check (8 bytes)
//! ```
//! The check is the start of a digest over the entry's place in the file and its body.
//!
//! A crash may cut off the end of the last entry. It was never durable, so nothing that it covers
//! was ever sent: opening takes it off. Damage anywhere else is refused.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use roundelay_crypto::digest::Digest;

use super::durable;
use super::failpoint::reached;
use super::files::{Access, Kind, replace, sync_directory};
use super::{CheckpointError, at};

const CHECK_BYTES: usize = 8;
/// Length and complement: a length that was damaged would hide every entry after it.
const HEADER_BYTES: usize = 8;
/// Bytes of one entry's body at most: a cohort of `COHORT_MAX` clients takes 32 KiB.
pub(super) const ENTRY_BYTES_MAX: usize = 40 << 10;
/// Bytes that one crash can have left half written: what is appended between two syncs.
const TORN_BYTES_MAX: usize = 8 * ENTRY_BYTES_MAX;

/// An open journal, at its end.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
    /// Bytes up to the end of the last whole entry.
    end: u64,
    /// Whether something was appended since the last sync.
    dirty: bool,
}

impl Journal {
    /// Opens or creates a journal and reads its entries in order.
    pub(crate) fn open(path: &Path, kind: Kind) -> Result<(Self, Vec<Vec<u8>>), CheckpointError> {
        let fail = |error| at(path, error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(fail)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(fail)?;
        let header = kind.header();
        if header.as_bytes().starts_with(&bytes) {
            // New, or cut off before the first line was whole: there was no entry yet.
            let journal = Self::start(file, path, &header).map_err(fail)?;
            return Ok((journal, Vec::new()));
        }
        let start = kind.strip(path, &bytes)?;
        let (entries, end) = entries(path, &bytes, start)?;
        let mut journal = Self { file, path: path.to_owned(), end: end as u64, dirty: false };
        if end < bytes.len() {
            journal.cut_back().map_err(fail)?;
        }
        journal.file.seek(SeekFrom::Start(journal.end)).map_err(fail)?;
        Ok((journal, entries))
    }

    fn start(mut file: File, path: &Path, header: &str) -> io::Result<Self> {
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(header.as_bytes())?;
        reached(&["history", "create.before"])?;
        file.sync_all()?;
        sync_directory(path)?;
        let end = header.len() as u64;
        Ok(Self { file, path: path.to_owned(), end, dirty: false })
    }

    /// Appends an entry. It is durable after the next [`sync`](Self::sync).
    pub(crate) fn append(&mut self, body: &[u8]) -> Result<(), CheckpointError> {
        let written = self.write(body);
        if written.is_err() {
            // A full disk leaves half an entry: take it off, so that a later one has a clean start.
            let _ = self.cut_back();
        }
        written.map_err(|error| at(&self.path, error))
    }

    fn write(&mut self, body: &[u8]) -> io::Result<()> {
        let entry = entry(self.end, body)?;
        reached(&["history", "append.before"])?;
        self.file.write_all(&entry)?;
        reached(&["history", "append.after"])?;
        self.end += entry.len() as u64;
        self.dirty = true;
        Ok(())
    }

    fn cut_back(&mut self) -> io::Result<()> {
        self.file.set_len(self.end)?;
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.sync_data()
    }

    /// Puts these entries in place of all that are there, durably.
    ///
    /// # Errors
    /// It can't be written. Either nothing has changed and the journal goes on, or nobody knows which
    /// of the two a loss of power leaves: then it is not given back, and nothing may rest on it.
    pub(crate) fn replaced(
        mut self,
        kind: Kind,
        bodies: &[Vec<u8>],
    ) -> (Option<Self>, Result<(), CheckpointError>) {
        match self.replace(kind, bodies) {
            Ok(()) => (Some(self), Ok(())),
            Err(error) => (Some(self).filter(Self::is_in_place), Err(error)),
        }
    }

    fn replace(&mut self, kind: Kind, bodies: &[Vec<u8>]) -> Result<(), CheckpointError> {
        let fail = |error| at(&self.path, error);
        let mut bytes = kind.header().into_bytes();
        for body in bodies {
            bytes.extend(entry(bytes.len() as u64, body).map_err(fail)?);
        }
        replace(&self.path, Access::Plain, &[&bytes])?;
        let file = OpenOptions::new().append(true).open(&self.path).map_err(fail)?;
        (self.file, self.end, self.dirty) = (file, bytes.len() as u64, false);
        Ok(())
    }

    /// Whether what is appended here is read at the next start.
    fn is_in_place(&self) -> bool {
        let place = |file: &std::fs::Metadata| (file.dev(), file.ino());
        let (own, named) = (self.file.metadata(), std::fs::metadata(&self.path));
        own.is_ok_and(|own| named.is_ok_and(|named| place(&own) == place(&named)))
    }

    /// Bytes in it.
    pub(crate) fn bytes(&self) -> u64 {
        self.end
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether something waits to be made durable.
    pub(crate) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Makes everything appended so far durable.
    pub(crate) fn sync(&mut self) -> Result<(), CheckpointError> {
        if !self.dirty {
            return Ok(());
        }
        reached(&["history", "sync.before"])
            .and_then(|()| durable::sync(&self.file, &self.path))
            .map_err(|error| at(&self.path, error))?;
        self.dirty = false;
        Ok(())
    }
}

fn entry(place: u64, body: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(body.len())
        .ok()
        .filter(|_| body.len() <= ENTRY_BYTES_MAX)
        .ok_or_else(|| io::Error::other("an entry of a journal is too long"))?;
    let mut entry = Vec::with_capacity(HEADER_BYTES + body.len() + CHECK_BYTES);
    entry.extend_from_slice(&length.to_le_bytes());
    entry.extend_from_slice(&(!length).to_le_bytes());
    entry.extend_from_slice(body);
    entry.extend_from_slice(&check(place, body));
    Ok(entry)
}

/// Covers the place too, so that an entry copied elsewhere is damage.
fn check(place: u64, body: &[u8]) -> [u8; CHECK_BYTES] {
    let digest = Digest::of("roundelay/client/journal", &[&place.to_le_bytes(), body]);
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&digest.0[..CHECK_BYTES]);
    check
}

/// All whole entries from `start` on, and where the last of them ends.
fn entries(
    path: &Path,
    bytes: &[u8],
    start: usize,
) -> Result<(Vec<Vec<u8>>, usize), CheckpointError> {
    let (mut found, mut end) = (Vec::new(), start);
    while end < bytes.len() {
        match entry_at(bytes, end) {
            Ok((body, next)) => {
                found.push(body.to_vec());
                end = next;
            }
            Err(Broken::CutOff) => break,
            Err(Broken::Changed) if is_unwritten(&bytes[end..]) => break,
            Err(Broken::Changed) => {
                return Err(CheckpointError::damaged(path, "an entry's checksum does not match"));
            }
        }
    }
    Ok((found, end))
}

/// Why there is no entry at a place.
enum Broken {
    /// The file ends before the entry does.
    CutOff,
    /// The bytes are not what was written.
    Changed,
}

/// The body of the entry at `place` and where the entry ends.
fn entry_at(bytes: &[u8], place: usize) -> Result<(&[u8], usize), Broken> {
    let rest = &bytes[place..];
    let (length, rest) = rest.split_first_chunk::<4>().ok_or(Broken::CutOff)?;
    let (complement, rest) = rest.split_first_chunk::<4>().ok_or(Broken::CutOff)?;
    let length = u32::from_le_bytes(*length);
    if length != !u32::from_le_bytes(*complement) {
        return Err(Broken::Changed);
    }
    let length = length as usize;
    let body = rest.get(..length).ok_or(Broken::CutOff)?;
    let found = rest.get(length..length + CHECK_BYTES).ok_or(Broken::CutOff)?;
    if found != check(place as u64, body) {
        return Err(Broken::Changed);
    }
    Ok((body, place + HEADER_BYTES + length + CHECK_BYTES))
}

/// Whether the end of the file may be blocks that never reached the disk: they read as zeros.
fn is_unwritten(tail: &[u8]) -> bool {
    tail.len() <= TORN_BYTES_MAX && tail.ends_with(&[0; CHECK_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind { name: "test", format: 1 };

    fn three(path: &Path) -> Vec<Vec<u8>> {
        let bodies = vec![b"one".to_vec(), Vec::new(), vec![7; 300]];
        let (mut journal, none) = Journal::open(path, KIND).unwrap();
        assert!(none.is_empty());
        for body in &bodies {
            journal.append(body).unwrap();
        }
        journal.sync().unwrap();
        bodies
    }

    #[test]
    fn entries_are_read_back_in_order_and_more_can_follow() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let mut bodies = three(&path);
        let (mut journal, read) = Journal::open(&path, KIND).unwrap();
        assert_eq!(read, bodies);
        journal.append(b"four").unwrap();
        bodies.push(b"four".to_vec());
        assert_eq!(Journal::open(&path, KIND).unwrap().1, bodies);
    }

    #[test]
    fn a_file_cut_off_anywhere_opens_with_a_prefix_of_its_entries() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let bodies = three(&path);
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let (mut journal, read) = Journal::open(&path, KIND).unwrap();
            assert!(bodies.starts_with(&read) && read.len() < bodies.len(), "{length}");
            journal.append(b"after").unwrap();
            let again = Journal::open(&path, KIND).unwrap().1;
            assert_eq!(again.len(), read.len() + 1, "{length}");
            assert_eq!(again.last().unwrap(), b"after");
        }
    }

    #[test]
    fn a_changed_byte_in_a_durable_entry_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        three(&path);
        let whole = std::fs::read(&path).unwrap();
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 1;
            std::fs::write(&path, changed).unwrap();
            assert!(Journal::open(&path, KIND).is_err(), "{place}");
        }
    }

    #[test]
    fn an_end_that_never_reached_the_disk_is_taken_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let bodies = three(&path);
        let whole = std::fs::read(&path).unwrap();
        for unwritten in 8..200 {
            let mut torn = whole.clone();
            let from = torn.len() - unwritten;
            torn[from..].fill(0);
            std::fs::write(&path, torn).unwrap();
            assert_eq!(Journal::open(&path, KIND).unwrap().1, bodies[..2], "{unwritten}");
        }
    }

    #[test]
    fn a_full_disk_leaves_the_journal_as_it_was() {
        use crate::checkpoint::failpoint::{Fault, arm, disarm};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let bodies = three(&path);
        let (mut journal, _) = Journal::open(&path, KIND).unwrap();
        for place in ["history.append.before", "history.append.after"] {
            arm(place, Fault::Full);
            let error = journal.append(b"lost").unwrap_err();
            assert!(matches!(error, CheckpointError::DiskFull { .. }), "{error}");
            assert!(!disarm(), "{place} was reached");
        }
        assert_eq!(Journal::open(&path, KIND).unwrap().1, bodies);
    }

    #[test]
    fn fewer_entries_take_the_place_of_all_and_others_follow_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        three(&path);
        let (journal, _) = Journal::open(&path, KIND).unwrap();
        let few = vec![vec![9; 40]];
        let (journal, replaced) = journal.replaced(KIND, &few);
        replaced.unwrap();
        let mut journal = journal.unwrap();
        assert_eq!(journal.bytes(), std::fs::metadata(&path).unwrap().len());
        journal.append(b"after").unwrap();
        journal.sync().unwrap();
        assert_eq!(Journal::open(&path, KIND).unwrap().1, [few[0].clone(), b"after".to_vec()]);
    }

    #[test]
    fn a_journal_that_cannot_be_replaced_goes_on_unless_nobody_knows_which_one_is_there() {
        use crate::checkpoint::failpoint::{Fault, arm, disarm};
        let steps = [
            ("file.journal.create.before", true),
            ("file.journal.write.before", true),
            ("file.journal.sync.before", true),
            ("file.journal.rename.before", true),
            ("file.journal.directory.before", false),
        ];
        for (step, goes_on) in steps {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("journal");
            let mut bodies = three(&path);
            let (journal, _) = Journal::open(&path, KIND).unwrap();
            arm(step, Fault::Full);
            let (journal, replaced) = journal.replaced(KIND, &[b"all".to_vec()]);
            assert!(!disarm(), "{step} was reached");
            assert!(matches!(replaced, Err(CheckpointError::DiskFull(_))), "{step}");
            assert_eq!(journal.is_some(), goes_on, "{step}");
            if let Some(mut journal) = journal {
                journal.append(b"next").unwrap();
                bodies.push(b"next".to_vec());
                assert_eq!(Journal::open(&path, KIND).unwrap().1, bodies, "{step}");
            }
        }
    }

    #[test]
    fn a_crash_while_it_is_replaced_leaves_all_entries_or_the_few() {
        use crate::checkpoint::failpoint::{Fault, arm, disarm};
        let steps = [
            "file.journal.create.before",
            "file.journal.write.before",
            "file.journal.sync.before",
            "file.journal.rename.before",
            "file.journal.directory.before",
            "file.journal.after",
        ];
        for step in steps {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("journal");
            let bodies = three(&path);
            let (journal, _) = Journal::open(&path, KIND).unwrap();
            let few = vec![b"all".to_vec()];
            arm(step, Fault::Kill);
            let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                journal.replaced(KIND, &few).1.is_err()
            }));
            assert!(!disarm() && died.is_err(), "{step} was reached");
            let read = Journal::open(&path, KIND).unwrap().1;
            let is_replaced =
                matches!(step, "file.journal.directory.before" | "file.journal.after");
            assert_eq!(read, if is_replaced { few } else { bodies }, "{step}");
        }
    }

    #[test]
    fn a_journal_of_a_newer_build_is_refused_and_named_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        three(&path);
        let whole = std::fs::read(&path).unwrap();
        let newer = [Kind { name: "test", format: 2 }.header().as_bytes(), b"?"].concat();
        std::fs::write(&path, newer).unwrap();
        let error = Journal::open(&path, KIND).unwrap_err();
        assert!(matches!(error, CheckpointError::Newer { format: 2, .. }), "{error}");
        std::fs::write(&path, [b"something else\n".to_vec(), whole].concat()).unwrap();
        assert!(matches!(Journal::open(&path, KIND).unwrap_err(), CheckpointError::Damaged { .. }));
    }
}
