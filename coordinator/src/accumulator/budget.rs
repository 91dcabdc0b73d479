//! One fixed budget of memory for what grows with a cohort: the undo data of all uploads, and the
//! vectors that many clients are sent from memory. And what happens above it.
//!
//! An upload that finds room keeps its undo data in memory. One that finds none waits, unread, in
//! line: its client feels the back pressure of its stream. When nothing has been given back for a
//! while, and those that hold the memory bring next to nothing, the next in line goes on with a spool
//! instead. A spooled upload
//! needs memory for one chunk while that chunk is added. A small part of the budget is kept for
//! these, so that they never wait for the ones in memory, only in turn for each other.
//!
//! What is there in any case is charged: connections, and what rounds keep of their leaves. It
//! leaves less for uploads, down to half of the budget.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::chunks::Chunks;
use super::undo::Undo;

/// What one permit of a semaphore stands for.
const UNIT_BYTES: u64 = 4 << 10;
/// How often a line looks whether it moves. Where it does not, its first goes to the spool.
const PATIENCE: Duration = Duration::from_millis(500);
/// The part of the memory that is to be filled meanwhile: at that pace all of it comes back within a
/// minute.
const PACE_PART: u64 = 128;
/// The part of the budget for chunks of spooled uploads that are being added.
const TURNS_PART: u64 = 32;

/// Memory that all rounds of a coordinator share.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    memory: Arc<Semaphore>,
    memory_units: u32,
    turns: Arc<Semaphore>,
    turn_units: u32,
    chunks: Chunks,
    charged: Mutex<Charged>,
    /// Times that memory was let go: whether the line moves.
    released: AtomicU64,
    /// Bytes that came for uploads with room in memory: whether it will.
    filled: AtomicU64,
    spooled: AtomicU64,
    folder: PathBuf,
}

/// A part of the memory, given back when it is dropped.
#[derive(Debug)]
pub struct Hold {
    shared: Arc<Shared>,
    permit: Option<OwnedSemaphorePermit>,
}

/// Memory for one chunk of a spooled upload, until it is dropped.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "held, not read")] Option<OwnedSemaphorePermit>);

/// Memory that was taken without asking, until it is dropped.
#[derive(Debug)]
pub struct Charge {
    shared: Arc<Shared>,
    units: u32,
}

/// Bytes that are charged.
struct Paid {
    bytes: Bytes,
    _charge: Charge,
}

impl AsRef<[u8]> for Paid {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// All charges together.
#[derive(Debug, Default)]
struct Charged {
    units: u64,
    /// What was taken off the memory for them; the rest is owed, and paid by what comes back.
    paid: u32,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Some(mut permit) = self.permit.take() else { return };
        let mut charged = self.shared.charged();
        let held = u32::try_from(permit.num_permits()).unwrap_or(u32::MAX);
        let pays = held.min(self.shared.owed(&charged));
        if let Some(paid) = permit.split(pays as usize) {
            paid.forget();
            charged.paid += pays;
        }
        drop(charged);
        drop(permit);
        self.shared.released.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut charged = self.shared.charged();
        charged.units -= u64::from(self.units);
        let more = charged.paid.saturating_sub(self.shared.to_pay(&charged));
        charged.paid -= more;
        self.shared.memory.add_permits(more as usize);
    }
}

impl Shared {
    fn charged(&self) -> MutexGuard<'_, Charged> {
        self.charged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What charges take off the memory once all is paid: half of it at the most.
    fn to_pay(&self, charged: &Charged) -> u32 {
        u32::try_from(charged.units).unwrap_or(u32::MAX).min(self.memory_units / 2)
    }

    fn owed(&self, charged: &Charged) -> u32 {
        self.to_pay(charged).saturating_sub(charged.paid)
    }
}

impl Budget {
    /// `memory_bytes` in all. Spools are files without a name in `folder`, which is made if it is
    /// not there.
    ///
    /// # Errors
    /// The folder can't be made.
    pub fn new(memory_bytes: u64, folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        let for_turns = memory_bytes / TURNS_PART;
        let (turn_units, memory_units) = (units(for_turns), units(memory_bytes - for_turns));
        Ok(Self(Arc::new(Shared {
            memory: Arc::new(Semaphore::new(memory_units as usize)),
            memory_units,
            turns: Arc::new(Semaphore::new(turn_units as usize)),
            turn_units,
            chunks: Chunks::default(),
            charged: Mutex::default(),
            released: AtomicU64::new(0),
            filled: AtomicU64::new(0),
            spooled: AtomicU64::new(0),
            folder,
        })))
    }

    /// Waits for a place for the undo data of one upload: in memory, or else in a spool.
    ///
    /// # Errors
    /// A spool is needed and its file can't be made.
    pub async fn place(&self, upload_bytes: u64) -> io::Result<Undo> {
        // The chunk that is filling and the chunks that are kept: one upload and no more.
        if let Some(hold) = self.room(upload_bytes).await {
            return Ok(Undo::in_memory(&self.0.chunks, hold));
        }
        self.0.spooled.fetch_add(1, Ordering::Relaxed);
        Ok(Undo::in_spool(self.spool()?, &self.0.chunks))
    }

    /// Waits in line for so much memory; none where the line stands still, or where that is more
    /// than all there is.
    pub async fn room(&self, bytes: u64) -> Option<Hold> {
        let wanted = units(bytes);
        if wanted > self.0.memory_units {
            return None;
        }
        let permit = self.wait_in_line(wanted).await?;
        Some(Hold { shared: Arc::clone(&self.0), permit: Some(permit) })
    }

    /// Counts memory that is taken in any case. It leaves less to all who ask, and what uploads have
    /// let go of is given back for it.
    pub fn charge(&self, bytes: u64) -> Charge {
        self.0.chunks.give_back(bytes);
        let units = units(bytes);
        let mut charged = self.0.charged();
        charged.units += u64::from(units);
        let owed = self.0.owed(&charged);
        let paid = self.0.memory.forget_permits(owed as usize);
        charged.paid += u32::try_from(paid).unwrap_or(owed);
        drop(charged);
        Charge { shared: Arc::clone(&self.0), units }
    }

    /// The same bytes, charged as long as anybody has them.
    #[must_use]
    pub fn charged(&self, bytes: Bytes) -> Bytes {
        let charge = self.charge(bytes.len() as u64);
        Bytes::from_owner(Paid { bytes, _charge: charge })
    }

    /// Bytes came for an upload that has room in memory.
    pub fn fill(&self, bytes: usize) {
        self.0.filled.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Waits until a spooled upload may add what it was sent: a chunk of it is in memory then.
    pub async fn turn(&self, chunk_bytes_max: usize) -> Turn {
        let wanted = units(chunk_bytes_max as u64).min(self.0.turn_units);
        Turn(acquire(&self.0.turns, wanted).await)
    }

    /// Gives memory back that no upload has used since the last call.
    pub fn trim(&self) {
        self.0.chunks.trim();
    }

    /// Uploads that went to a spool so far.
    #[must_use]
    pub fn spooled(&self) -> u64 {
        self.0.spooled.load(Ordering::Relaxed)
    }

    /// The most bytes that anybody is ever given.
    #[must_use]
    pub fn most(&self) -> u64 {
        u64::from(self.0.memory_units) * UNIT_BYTES
    }

    /// Bytes of memory that are free now, but for turns.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.0.memory.available_permits() as u64 * UNIT_BYTES
    }

    async fn wait_in_line(&self, wanted: u32) -> Option<OwnedSemaphorePermit> {
        let waiting = acquire(&self.0.memory, wanted);
        tokio::pin!(waiting);
        let moved =
            || (self.0.released.load(Ordering::Relaxed), self.0.filled.load(Ordering::Relaxed));
        let pace = u64::from(self.0.memory_units) * UNIT_BYTES / PACE_PART;
        loop {
            let (released, filled) = moved();
            match tokio::time::timeout(PATIENCE, &mut waiting).await {
                Ok(permit) => return permit,
                Err(_) if moved().0 == released && moved().1 - filled < pace => return None,
                Err(_) => {}
            }
        }
    }

    /// A file that has no name as soon as it is open: nothing is left of it after a crash.
    fn spool(&self) -> io::Result<SpoolFile> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = self.0.folder.join(format!("{}-{number}.spool", std::process::id()));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let opened = options.open(&path).and_then(|file| fs::remove_file(&path).map(|()| file));
        let folder = self.0.folder.clone();
        let file = opened.map_err(|error| named(&folder, &error))?;
        Ok(SpoolFile { file, folder })
    }
}

/// A spool whose errors name its folder.
#[derive(Debug)]
struct SpoolFile {
    file: File,
    folder: PathBuf,
}

fn named(folder: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", folder.display()))
}

impl Read for SpoolFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer).map_err(|error| named(&self.folder, &error))
    }
}

impl Write for SpoolFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.file.write(buffer).map_err(|error| named(&self.folder, &error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for SpoolFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// The semaphores are never closed, so this is always `Some`.
async fn acquire(semaphore: &Arc<Semaphore>, units: u32) -> Option<OwnedSemaphorePermit> {
    Arc::clone(semaphore).acquire_many_owned(units).await.ok()
}

fn units(bytes: u64) -> u32 {
    let most = u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX);
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).map_or(most, |units| units.min(most))
}

#[cfg(test)]
mod tests;
