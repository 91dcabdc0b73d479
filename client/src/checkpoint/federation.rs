//! What a client keeps of one federation: the pinned manifest, the history that must never be
//! forgotten, the newest model state, and masked vectors on their way out.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use roundelay_crypto::digest::Digest;
use roundelay_protocol::codec;
use roundelay_protocol::ids::{FederationId, RoundNumber};
use roundelay_protocol::round::horizontal::client::{Event, Record};

use super::durable;
use super::failpoint::reached;
use super::files::{Access, Kind, read_sealed, write_sealed};
use super::journal::{ENTRY_BYTES_MAX, Journal};
use super::{CheckpointError, at};
use crate::engine::work::Masked;
use crate::outbound::MaskedVector;

const HISTORY: Kind = Kind { name: "history", format: 3 };
const STATE: Kind = Kind { name: "state", format: 1 };
const FINISHED: Kind = Kind { name: "finished", format: 1 };
/// Bytes that a history may have before it is compacted, and at least twice what it then has.
const COMPACT_BYTES: u64 = 256 << 10;
/// Bytes of one record of the history at most.
const RECORD_BYTES_MAX: usize = ENTRY_BYTES_MAX;

/// A file that a masked vector was in, for the next one.
const SPARE: &str = "masked.spare";
/// Bytes of it at most: beyond, the time goes elsewhere, and disks are not for spares.
const SPARE_BYTES_MAX: u64 = 64 << 10;

/// The folder of one federation.
#[derive(Debug, Clone)]
pub struct FederationDir {
    federation: FederationId,
    folder: PathBuf,
}

impl FederationDir {
    pub(super) fn new(federation: FederationId, folder: PathBuf) -> Self {
        Self { federation, folder }
    }

    /// The federation.
    #[must_use]
    pub fn federation(&self) -> FederationId {
        self.federation
    }

    /// The path of a file in it.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Opens the history and reads every record in order.
    ///
    /// # Errors
    /// The file is damaged or newer, holds a record of another federation, or is gone or empty.
    pub fn history(&self) -> Result<(HistoryFile, Vec<Record>), CheckpointError> {
        let path = self.path("history");
        let is_begun = path.metadata().is_ok_and(|file| file.len() > 0);
        if self.path("state").exists() && !is_begun {
            return Err(CheckpointError::damaged(
                &path,
                "it is not there or empty, and the model beside it is there",
            ));
        }
        let (journal, entries) = Journal::open(&path, HISTORY)?;
        let records = entries
            .iter()
            .map(|entry| {
                let record: Record = codec::decode(entry, RECORD_BYTES_MAX)
                    .map_err(|error| CheckpointError::damaged(&path, error.to_string()))?;
                if record.federation != self.federation {
                    return Err(CheckpointError::damaged(&path, "it is of another federation"));
                }
                Ok(record)
            })
            .collect::<Result<_, _>>()?;
        Ok((HistoryFile { journal, waiting: Vec::new(), compact_at: COMPACT_BYTES }, records))
    }

    /// Replaces the stored model state.
    ///
    /// # Errors
    /// It can't be written; the old one is still there.
    pub fn save_state(&self, state: &[u8]) -> Result<(), CheckpointError> {
        write_sealed(&self.path("state"), STATE, Access::Plain, state)
    }

    /// The stored model state of at most `bytes_max` bytes, if there is one.
    ///
    /// # Errors
    /// The file is damaged or newer.
    pub fn state(&self, bytes_max: u64) -> Result<Option<Vec<u8>>, CheckpointError> {
        read_sealed(&self.path("state"), STATE, bytes_max.saturating_add(256))
    }

    /// Remembers that all rounds of a manifest's task are done, and that their last result is here.
    ///
    /// # Errors
    /// It can't be written.
    pub fn keep_finished(&self, manifest: Digest) -> Result<(), CheckpointError> {
        write_sealed(&self.path("finished"), FINISHED, Access::Plain, &manifest.0)
    }

    /// Whether nothing is left to do here under the manifest in force, as far as is remembered. A
    /// coordinator that was restored from a backup may yet ask for the result.
    #[must_use]
    pub fn has_finished(&self) -> bool {
        // What can't be read is read, and told of, by whoever needs it.
        let Ok(Some(finished)) = read_sealed(&self.path("finished"), FINISHED, 256) else {
            return false;
        };
        let pins = self.pins().ok().filter(|pins| pins.next.is_none());
        let in_force = pins.and_then(|pins| pins.in_force);
        in_force.is_some_and(|pinned| finished == pinned.hash().0)
    }

    /// Stores a masked vector durably, to be sent. The file is never opened after a restart (its
    /// keys are gone with the process), so its name need not be durable, only its bytes.
    ///
    /// # Errors
    /// It can't be written; what was written of it is removed.
    pub fn store_masked(&self, masked: &Masked) -> Result<MaskedVector, CheckpointError> {
        let (round, words) = (masked.round(), masked.words());
        let (path, draft) = (self.masked_path(round), self.path(&format!("round-{round}.spare")));
        // Where there is none, the draft is a new file.
        let _ = fs::rename(self.path(SPARE), &draft);
        let stored = write_masked(&draft, words)
            .and_then(|()| fs::rename(&draft, &path))
            .and_then(|()| reached(&["masked.after"]));
        if stored.is_err() {
            let _ = (fs::remove_file(&draft), fs::remove_file(&path));
        }
        stored.map_err(|error| at(&path, error))?;
        let (federation, bytes) = (self.federation, words.len() as u64);
        Ok(MaskedVector { federation, round, path, bytes, root: masked.roots().masked })
    }

    /// Removes the masked vector of a round that is over. The file of a short one is left for the
    /// next: to make and to remove a file takes longer than to write to it.
    pub fn forget_masked(&self, round: RoundNumber) {
        let path = self.masked_path(round);
        let is_short = fs::metadata(&path).is_ok_and(|file| file.len() <= SPARE_BYTES_MAX);
        // A leftover is removed at the next start.
        let _ = if is_short { fs::rename(&path, self.path(SPARE)) } else { fs::remove_file(&path) };
    }

    /// Removes every masked vector: after a restart no round that had begun goes on.
    ///
    /// # Errors
    /// The folder can't be read.
    pub(crate) fn forget_all_masked(&self) -> Result<(), CheckpointError> {
        let entries = fs::read_dir(&self.folder).map_err(|error| at(&self.folder, error))?;
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let extension = path.extension();
            if extension.is_some_and(|extension| extension == "masked" || extension == "spare") {
                fs::remove_file(&path).map_err(|error| at(&path, error))?;
            }
        }
        Ok(())
    }

    fn masked_path(&self, round: RoundNumber) -> PathBuf {
        self.folder.join(format!("round-{round}.masked"))
    }
}

fn write_masked(path: &Path, bytes: &[u8]) -> io::Result<()> {
    reached(&["masked.before"])?;
    let mut file: File =
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    if file.metadata()?.len() > bytes.len() as u64 {
        file.set_len(bytes.len() as u64)?;
    }
    reached(&["masked.sync.before"])?;
    durable::sync(&file, path)
}

/// The open history of a federation: records that must be durable before what they cover is sent.
#[derive(Debug)]
pub struct HistoryFile {
    journal: Journal,
    /// Events that wait to be made durable.
    waiting: Vec<&'static str>,
    /// Bytes at which it is compacted next.
    compact_at: u64,
}

impl HistoryFile {
    /// Appends a record. It is durable after the next [`sync`](Self::sync).
    ///
    /// # Errors
    /// It can't be written: what it covers must not be sent.
    pub fn append(&mut self, record: &Record) -> Result<(), CheckpointError> {
        let event = event_name(&record.event);
        reached(&["history", event, "before"]).map_err(|error| at(self.journal.path(), error))?;
        self.journal.append(&codec::encode(record))?;
        self.waiting.push(event);
        Ok(())
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.journal.path()
    }

    /// Whether records wait to be made durable.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.journal.is_dirty()
    }

    /// Makes every appended record durable.
    ///
    /// # Errors
    /// The disk refused: what the records cover must not be sent.
    pub fn sync(&mut self) -> Result<(), CheckpointError> {
        self.journal.sync()?;
        self.waiting
            .drain(..)
            .try_for_each(|event| reached(&["history", event, "after"]))
            .map_err(|error| at(self.journal.path(), error))
    }
}

impl HistoryFile {
    /// Whether it holds much that decides nothing any more.
    #[must_use]
    pub fn has_grown(&self) -> bool {
        self.journal.bytes() >= self.compact_at
    }

    /// Puts the fewest records that say the same in place of all that were appended, durably. Not given
    /// back where nobody knows what is durable.
    ///
    /// # Errors
    /// It can't be written.
    pub fn compacted(mut self, records: &[Record]) -> (Option<Self>, Result<(), CheckpointError>) {
        if let Err(error) = self.sync() {
            return (Some(self), Err(error));
        }
        let bodies: Vec<Vec<u8>> = records.iter().map(codec::encode).collect();
        let (journal, replaced) = self.journal.replaced(HISTORY, &bodies);
        let file = journal.map(|journal| {
            // On a full disk too: another attempt at once would find it full again.
            let compact_at = COMPACT_BYTES.max(2 * journal.bytes());
            Self { journal, waiting: self.waiting, compact_at }
        });
        (file, replaced)
    }
}

fn event_name(event: &Event) -> &'static str {
    match event {
        Event::Advertised => "advertised",
        Event::Shared => "shared",
        Event::Uploading { .. } => "uploading",
        Event::Signed { .. } => "signed",
        Event::Revealed => "revealed",
        Event::Stands(_) | Event::Adopted(_) => "stands",
        Event::Met { .. } => "met",
        Event::RolledBack { .. } => "rolled-back",
    }
}

#[cfg(test)]
mod tests {
    use roundelay_protocol::ids::{ClientId, ModelVersion};
    use roundelay_protocol::lineage::Standing;
    use roundelay_protocol::plan::PlanKind;
    use roundelay_protocol::round::horizontal::client::{Cohort, History};

    use super::*;
    use crate::checkpoint::StateDir;
    use crate::checkpoint::failpoint::{Fault, arm, disarm};

    const FEDERATION: FederationId = FederationId([7; 16]);

    fn folder() -> (tempfile::TempDir, FederationDir) {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::create(root.path()).unwrap().federation(FEDERATION).unwrap();
        (root, dir)
    }

    fn record(round: u64, event: Event) -> Record {
        Record { federation: FEDERATION, round: RoundNumber(round), event }
    }

    fn masked() -> Masked {
        Masked::of_words(RoundNumber(4), vec![1; 100])
    }

    #[test]
    fn the_history_is_read_back_as_it_was_written() {
        let (_root, dir) = folder();
        let records = [
            record(1, Event::Advertised),
            record(1, Event::Shared),
            record(1, Event::Signed { set: Digest([3; 32]) }),
            record(2, Event::Advertised),
        ];
        let (mut history, none) = dir.history().unwrap();
        assert!(none.is_empty());
        records.iter().for_each(|record| history.append(record).unwrap());
        history.sync().unwrap();
        assert_eq!(dir.history().unwrap().1, records);
    }

    #[test]
    fn a_history_or_pin_that_is_gone_from_beside_a_model_is_missed() {
        let (_root, dir) = folder();
        assert!(dir.pins().unwrap().in_force.is_none(), "nothing was there yet");
        drop(dir.history().unwrap());
        dir.save_state(&[1; 10]).unwrap();
        assert_eq!(dir.history().unwrap().1, []);
        fs::write(dir.path("history"), "").unwrap();
        assert!(dir.history().is_err(), "it is not begun anew");
        fs::remove_file(dir.path("history")).unwrap();
        let missed = dir.history().err().unwrap().to_string();
        assert!(missed.contains("forgets which sets it has signed"), "{missed}");
        let missed = dir.pins().unwrap_err().to_string();
        assert!(missed.contains("manifest: it is not there"), "{missed}");
    }

    #[test]
    fn a_history_stays_as_small_as_what_it_remembers_over_hundreds_of_rounds() {
        let (_root, dir) = folder();
        let mut file = dir.history().unwrap().0;
        let mut history = History::new(FEDERATION);
        let standing = |round: u64| Standing {
            round: RoundNumber(round),
            model_version: ModelVersion(round),
            state: Digest::of("state", &[&round.to_le_bytes()]),
            transcript: Digest([2; 32]),
        };
        let client = |number| ClientId(Digest::of("client", &[&[number]]));
        let mut members: Vec<ClientId> = (0..100).map(client).collect();
        members.sort_unstable();
        let cohort = Cohort { manifest: Digest([1; 32]), members: members.clone(), witnesses: 2 };
        let (mut compactions, mut longest) = (0, 0);
        for round in 1..=600 {
            let model = standing(round - 1).state;
            let (kind, cohort, contribution) = (PlanKind::Train, cohort.clone(), Digest([4; 32]));
            let upload = Event::Uploading { kind, model, cohort, contribution };
            let met = Event::Met { clients: members.clone() };
            let signed = Event::Signed { set: Digest([3; 32]) };
            let stands = Event::Stands(standing(round));
            for event in
                [Event::Advertised, Event::Shared, upload, met, signed, Event::Revealed, stands]
            {
                let record = record(round, event);
                history = History::replay(
                    FEDERATION,
                    history.export().iter().chain(std::iter::once(&record)),
                );
                file.append(&record).unwrap();
            }
            if file.has_grown() {
                let (compacted, done) = file.compacted(&history.export());
                done.unwrap();
                (file, compactions) = (compacted.unwrap(), compactions + 1);
            }
            longest = longest.max(fs::metadata(dir.path("history")).unwrap().len());
        }
        file.sync().unwrap();
        assert!((5..100).contains(&compactions), "{compactions}");
        assert!(longest < COMPACT_BYTES + 20_000, "{longest}");
        let records = dir.history().unwrap().1;
        assert_eq!(History::replay(FEDERATION, &records), history);
    }

    #[test]
    fn a_history_of_another_federation_is_refused() {
        let (_root, dir) = folder();
        let (mut history, _) = dir.history().unwrap();
        let foreign = FederationId([8; 16]);
        let record = Record { federation: foreign, ..record(1, Event::Advertised) };
        history.append(&record).unwrap();
        assert!(dir.history().is_err());
    }

    #[test]
    fn a_full_disk_leaves_no_half_of_a_masked_vector() {
        let (_root, dir) = folder();
        for step in ["masked.before", "masked.sync.before"] {
            arm(step, Fault::Full);
            let error = dir.store_masked(&masked()).unwrap_err();
            assert!(!disarm());
            assert!(matches!(error, CheckpointError::DiskFull(_)), "{error}");
            assert!(!dir.masked_path(RoundNumber(4)).exists());
        }
    }

    #[test]
    fn the_file_of_a_short_vector_serves_the_next_one_and_that_of_a_long_one_goes() {
        let (_root, dir) = folder();
        let long = usize::try_from(SPARE_BYTES_MAX).unwrap() + 1;
        for (round, bytes) in [(1, 100), (2, 300), (3, 200), (4, long), (5, 100)] {
            let words = vec![u8::try_from(round).unwrap(); bytes];
            let round = RoundNumber(round);
            let stored = dir.store_masked(&Masked::of_words(round, words.clone())).unwrap();
            assert_eq!(fs::read(&stored.path).unwrap(), words);
            assert!(!dir.path(SPARE).exists(), "it is in use");
            dir.forget_masked(round);
            assert!(!stored.path.exists());
            assert_eq!(dir.path(SPARE).exists(), bytes < long);
        }
    }

    #[test]
    fn masked_vectors_of_an_earlier_process_are_removed() {
        let (_root, dir) = folder();
        let stored = dir.store_masked(&masked()).unwrap();
        let late = dir.store_masked(&Masked::of_words(RoundNumber(5), vec![1; 10])).unwrap();
        dir.forget_masked(late.round);
        let (mut history, _) = dir.history().unwrap();
        history.append(&record(4, Event::Advertised)).unwrap();
        dir.forget_all_masked().unwrap();
        assert!(!stored.path.exists() && !dir.path(SPARE).exists());
        assert_eq!(dir.history().unwrap().1.len(), 1);
    }
}
