//! Masked vectors on their way into one sum.
//!
//! Chunks are added as soon as they are whole, so the sum is all that grows with the model and
//! nothing grows with the cohort. What was added stays in an [`Undo`] until its client is certain
//! to be in the sum: a client is in for all of its chunks or for none.
//!
//! ```text
//! begin ──▶ write, write, … ──▶ finish ──▶ complete ──▶ settle: the undo data is let go
//!   │            │                │            │
//!   └────────────┴── dropped, discarded, wrong length: taken back exactly ◀─┘
//! seal(U3): everyone else is taken back, and the sum leaves
//! withdraw: the round was given up, and everything is let go
//! ```
//! Only whole chunks touch the sum; a chunk that is still filling is the client's own buffer.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use roundelay_crypto::chunks::ChunkRoot;
use roundelay_crypto::digest::Digest;
use roundelay_protocol::error::Fault;
use roundelay_protocol::ids::ClientId;

#[cfg(feature = "server")]
pub mod budget;
pub mod chunks;
mod opened;
pub mod sum;
pub mod undo;

pub use chunks::Chunks;
pub use opened::open;
pub use sum::{Shape, Sum, unmask};
pub use undo::{Spool, Undo};

/// Why bytes of an upload were not taken. Whatever the upload had added is taken back.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The client did something wrong.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The client is not in the active roster of this round.
    #[error("this client is not in the active roster of the round")]
    NotActive,
    /// The whole vector of this client is here already.
    #[error("the masked vector of this client is complete already")]
    AlreadyComplete,
    /// The round went on without this upload, or a newer one of the same client replaced it.
    #[error("the round went on without this upload")]
    Withdrawn,
    /// The spool could not be written or read: the coordinator's fault.
    #[error("the spool for undo data failed: {0}; free disk space or raise the memory budget")]
    Spool(#[from] io::Error),
}

/// Why a sum did not come to be. Both are the coordinator's fault: the round is aborted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// A named survivor has not completed its upload.
    #[error("survivor {0} has no complete upload in the sum")]
    Incomplete(ClientId),
    /// What somebody added could not be taken back.
    #[error("undo data was lost: the sum can't be made exact")]
    Inexact,
}

/// Takes the uploads of one round. Shared by the connections and the round's driver.
#[derive(Debug)]
pub struct Accumulator {
    sum: Sum,
    active: BTreeSet<ClientId>,
    uploads: Mutex<Uploads>,
    /// Undo data was lost: what it stood for can't be taken back.
    inexact: AtomicBool,
}

/// Locked before any contribution, never after one.
#[derive(Debug, Default)]
struct Uploads {
    of: BTreeMap<ClientId, Arc<Mutex<Contribution>>>,
    sealed: bool,
}

/// What one client has added so far.
#[derive(Debug)]
struct Contribution {
    state: State,
    /// Bytes that the chunk has which is filling.
    filled: usize,
    /// Chunks added to the sum.
    added: usize,
    root: ChunkRoot,
    undo: Option<Undo>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Filling,
    Complete,
    /// Taken back.
    Over,
}

/// One upload that is under way. Dropped before [`Upload::finish`], it is taken back.
#[derive(Debug)]
pub struct Upload {
    accumulator: Arc<Accumulator>,
    contribution: Arc<Mutex<Contribution>>,
    spooled: bool,
}

impl Accumulator {
    /// Ready for the uploads of `active`, in chunks of these shapes.
    #[must_use]
    pub fn new(shapes: Vec<Shape>, active: impl IntoIterator<Item = ClientId>) -> Arc<Self> {
        Arc::new(Self {
            sum: Sum::zero(shapes),
            active: active.into_iter().collect(),
            uploads: Mutex::default(),
            inexact: AtomicBool::new(false),
        })
    }

    /// Length of an upload in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.sum.bytes()
    }

    /// The longest chunk of an upload, in bytes.
    #[must_use]
    pub fn chunk_bytes_max(&self) -> usize {
        self.sum.chunk_bytes_max()
    }

    /// Whether an upload of this client and length can begin now.
    ///
    /// # Errors
    /// The client is not expected or complete already, its length is wrong, or the sum is sealed.
    pub fn admits(&self, client: ClientId, bytes: u64) -> Result<(), UploadError> {
        self.admits_within(&lock(&self.uploads), client, bytes)
    }

    fn admits_within(
        &self,
        uploads: &Uploads,
        client: ClientId,
        bytes: u64,
    ) -> Result<(), UploadError> {
        let expected = self.bytes();
        let complete = |upload: &Arc<Mutex<Contribution>>| lock(upload).state == State::Complete;
        if !self.active.contains(&client) {
            Err(UploadError::NotActive)
        } else if uploads.sealed {
            Err(UploadError::Withdrawn)
        } else if uploads.of.get(&client).is_some_and(complete) {
            // Whatever comes behind a whole vector changes nothing any more.
            Err(UploadError::AlreadyComplete)
        } else if bytes != expected {
            Err(Fault::WrongLength { sent: bytes, expected }.into())
        } else {
            Ok(())
        }
    }

    /// Begins an upload from its first byte. An unfinished one of the same client is taken back.
    ///
    /// # Errors
    /// As [`Accumulator::admits`].
    pub fn begin(
        self: &Arc<Self>,
        client: ClientId,
        bytes: u64,
        undo: Undo,
    ) -> Result<Upload, UploadError> {
        let mut uploads = lock(&self.uploads);
        self.admits_within(&uploads, client, bytes)?;
        let spooled = undo.is_spooled();
        let contribution = Arc::new(Mutex::new(Contribution::new(undo)));
        if let Some(earlier) = uploads.of.insert(client, Arc::clone(&contribution)) {
            self.take_back(&mut lock(&earlier));
        }
        Ok(Upload { accumulator: Arc::clone(self), contribution, spooled })
    }

    /// Takes back whatever this client added. It may begin again.
    pub fn discard(&self, client: ClientId) {
        // The lock is held until everything is taken back: `seal` must not see half of it.
        let mut uploads = lock(&self.uploads);
        if let Some(contribution) = uploads.of.remove(&client) {
            self.take_back(&mut lock(&contribution));
        }
    }

    /// The client is certain to be in the sum: its undo data is let go.
    pub fn settle(&self, client: ClientId) {
        let found = lock(&self.uploads).of.get(&client).cloned();
        if let Some(contribution) = found {
            let mut contribution = lock(&contribution);
            if contribution.state == State::Complete {
                contribution.undo = None;
            }
        }
    }

    /// Takes everyone but `survivors` back and hands the sum over. No upload is taken any more.
    ///
    /// # Errors
    /// The sum would not be exactly that of the survivors.
    pub fn seal(&self, survivors: &[ClientId]) -> Result<BytesMut, SealError> {
        let uploads = {
            let mut uploads = lock(&self.uploads);
            uploads.sealed = true;
            std::mem::take(&mut uploads.of)
        };
        let survivors: BTreeSet<_> = survivors.iter().copied().collect();
        let mut complete = BTreeSet::new();
        for (client, contribution) in uploads {
            let mut contribution = lock(&contribution);
            if survivors.contains(&client) && contribution.state == State::Complete {
                contribution.undo = None;
                complete.insert(client);
            } else {
                self.take_back(&mut contribution);
            }
        }
        match survivors.difference(&complete).next() {
            Some(absent) => Err(SealError::Incomplete(*absent)),
            None if self.inexact.load(Ordering::Acquire) => Err(SealError::Inexact),
            None => Ok(self.sum.take()),
        }
    }

    /// Lets everything go: nobody has a use for this sum any more. Uploads under way see it with
    /// their next bytes.
    pub fn withdraw(&self) {
        // The sum will never be handed over, so nothing has to be taken off it first.
        self.inexact.store(true, Ordering::Release);
        let uploads = {
            let mut uploads = lock(&self.uploads);
            uploads.sealed = true;
            std::mem::take(&mut uploads.of)
        };
        for contribution in uploads.into_values() {
            lock(&contribution).let_go();
        }
        drop(self.sum.take());
    }

    /// Takes the next bytes of the chunk that is filling, and adds it once none are missing.
    fn take(
        &self,
        contribution: &mut Contribution,
        bytes: &[u8],
        missing: usize,
    ) -> Result<(), UploadError> {
        let undo = contribution.undo.as_mut().ok_or(UploadError::Withdrawn)?;
        undo.fill(bytes, missing)?;
        contribution.filled += bytes.len();
        if bytes.len() == missing { self.add(contribution) } else { Ok(()) }
    }

    /// Adds the chunk that has just filled.
    fn add(&self, contribution: &mut Contribution) -> Result<(), UploadError> {
        let Contribution { filled, added, root, undo, .. } = contribution;
        let undo = undo.as_mut().ok_or(UploadError::Withdrawn)?;
        undo.keep(*filled, |chunk| {
            root.push(chunk);
            self.sum.add(*added, chunk);
        })?;
        (*added, *filled) = (*added + 1, 0);
        Ok(())
    }

    /// Takes back all that was added and ends the upload. Where that is impossible the whole sum
    /// is marked: it will never be sealed.
    fn take_back(&self, contribution: &mut Contribution) {
        let (added, undo) = contribution.let_go();
        let sizes = (0..added).map(|index| self.sum.shape(index).map_or(0, |shape| shape.bytes));
        let undone = match undo {
            _ if added == 0 => true,
            Some(undo) => undo.replay(sizes, |at, chunk| self.sum.subtract(at, chunk)).is_ok(),
            None => false,
        };
        if !undone {
            self.inexact.store(true, Ordering::Release);
        }
    }
}

impl Contribution {
    fn new(undo: Undo) -> Self {
        let root = ChunkRoot::new();
        Self { state: State::Filling, filled: 0, added: 0, root, undo: Some(undo) }
    }

    /// Ends the upload and hands out what it takes to take it back: how many chunks it has added,
    /// and those.
    fn let_go(&mut self) -> (usize, Option<Undo>) {
        self.state = State::Over;
        (std::mem::take(&mut self.added), self.undo.take())
    }
}

impl Upload {
    /// Whether [`Upload::write`] may wait for a disk.
    #[must_use]
    pub fn is_spooled(&self) -> bool {
        self.spooled
    }

    /// Takes the next bytes, in pieces of any size.
    ///
    /// # Errors
    /// More bytes than the layout has, a failing spool, or the round went on without this upload.
    /// In each case the upload is over.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), UploadError> {
        let accumulator = &self.accumulator;
        let mut contribution = lock(&self.contribution);
        if contribution.state != State::Filling {
            return Err(UploadError::Withdrawn);
        }
        while !bytes.is_empty() {
            let Some(shape) = accumulator.sum.shape(contribution.added) else {
                let expected = accumulator.bytes();
                let sent = expected + bytes.len() as u64;
                accumulator.take_back(&mut contribution);
                return Err(Fault::WrongLength { sent, expected }.into());
            };
            let missing = shape.bytes - contribution.filled;
            let (now, later) = bytes.split_at(missing.min(bytes.len()));
            bytes = later;
            if let Err(error) = accumulator.take(&mut contribution, now, missing) {
                accumulator.take_back(&mut contribution);
                return Err(error);
            }
        }
        Ok(())
    }

    /// The client says that this was all. Returns the root over the chunks.
    ///
    /// # Errors
    /// Bytes are missing, or the round went on without this upload.
    pub fn finish(self) -> Result<Digest, UploadError> {
        let mut contribution = lock(&self.contribution);
        if contribution.state != State::Filling {
            return Err(UploadError::Withdrawn);
        }
        let next = self.accumulator.sum.shape(contribution.added);
        if let Some(next) = next {
            let sent = next.offset + contribution.filled as u64;
            self.accumulator.take_back(&mut contribution);
            return Err(Fault::WrongLength { sent, expected: self.accumulator.bytes() }.into());
        }
        contribution.state = State::Complete;
        Ok(std::mem::take(&mut contribution.root).finish())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let mut contribution = lock(&self.contribution);
        if contribution.state == State::Filling {
            self.accumulator.take_back(&mut contribution);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic within a lock aborts the round; the lock carries no meaning of its own.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
