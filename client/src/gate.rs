//! The one way out: everything that leaves this machine passes a [`Gate`], which writes a line into
//! the [`ledger`] before the bytes go. A message that can't be recorded is not sent.
//!
//! A gate outlives connections: the session attaches each new one and detaches it when it is lost.
//! Control messages keep their order; vectors and rosters travel on streams of their own.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use roundelay_crypto::digest::Digest;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use crate::checkpoint::{CheckpointError, at, durable};
use crate::outbound::Outbound;
use crate::outbound::sealed::Packed;
use crate::session::connection::{Connection, Lost, Sending};

pub mod ledger;

use ledger::{Leaving, Ledger, Unsynced};

/// Bytes of a vector that are read and sent at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// Control frames that may wait for the coordinator's window.
const CONTROL_FRAMES_MAX: usize = 64;

/// Why something was not sent.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// There is no connection now.
    #[error("there is no connection to the coordinator")]
    NotConnected,
    /// The connection or stream broke.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// The ledger or the file with the vector can't be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The message is larger than its frame may be.
    #[error("internal error: a {0} does not fit into a frame")]
    TooLarge(&'static str),
}

/// Sends and records.
pub struct Gate {
    ledger: Mutex<Ledger>,
    line: Mutex<Option<Line>>,
    /// Held over a sync: whoever comes second waits for lines that the first makes durable.
    syncing: tokio::sync::Mutex<()>,
}

/// A connection with its control stream.
#[derive(Clone)]
pub(crate) struct Line {
    connection: Arc<dyn Connection>,
    control: mpsc::Sender<Bytes>,
}

impl Line {
    /// A line over a connection; `control` is its control stream.
    pub(crate) fn new(connection: Arc<dyn Connection>, control: Box<dyn Sending>) -> Self {
        let (frames, waiting) = mpsc::channel(CONTROL_FRAMES_MAX);
        tokio::spawn(write_control(control, waiting));
        Self { connection, control: frames }
    }
}

impl Gate {
    /// A gate without a connection that records in the ledger at `path`.
    ///
    /// # Errors
    /// The ledger can't be opened.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let ledger = Mutex::new(Ledger::open(path)?);
        Ok(Self { ledger, line: Mutex::new(None), syncing: tokio::sync::Mutex::default() })
    }

    /// Sends over this line from now on: its peer has been welcomed.
    pub(crate) fn attach(&self, line: Line) {
        *lock(&self.line) = Some(line);
    }

    /// Sends nothing until a connection is attached again. What waits on the control stream of the
    /// old one is still written.
    pub(crate) fn detach(&self) {
        *lock(&self.line) = None;
    }

    /// Records and sends one message.
    ///
    /// # Errors
    /// Nothing was sent, or the connection broke on the way.
    pub async fn send<T: Outbound + ?Sized>(&self, message: &T) -> Result<(), GateError> {
        let line = lock(&self.line).clone().ok_or(GateError::NotConnected)?;
        self.send_on(&line, message).await
    }

    /// As [`send`](Self::send), on a line that is not attached yet: a hello, an enrolment.
    pub(crate) async fn send_on<T: Outbound + ?Sized>(
        &self,
        line: &Line,
        message: &T,
    ) -> Result<(), GateError> {
        match message.pack().map_err(|_| GateError::TooLarge(message.kind()))? {
            Packed::Control(frame) => {
                self.record(message, frame.len() as u64, digest(&frame))?;
                let sent = line.control.send(Bytes::from(frame)).await;
                sent.map_err(|_| GateError::NotConnected)
            }
            Packed::Stream(frames) => {
                self.record(message, frames.len() as u64, digest(&frames))?;
                let mut stream = line.connection.open().await?;
                stream.send(Bytes::from(frames)).await?;
                Ok(stream.finish()?)
            }
            Packed::Vector { header, path, bytes, root } => {
                self.record(message, header.len() as u64 + bytes, root)?;
                self.sync().await?;
                let stream = line.connection.open().await?;
                send_file(stream, Bytes::from(header), path, bytes).await
            }
        }
    }

    fn record<T: Outbound + ?Sized>(
        &self,
        message: &T,
        bytes: u64,
        hash: Digest,
    ) -> Result<(), CheckpointError> {
        let (federation, round) = message.about();
        let (kind, why) = (message.kind(), message.why());
        lock(&self.ledger).record(&Leaving { federation, round, kind, bytes, hash, why })
    }

    /// Makes every line of the ledger durable.
    ///
    /// # Errors
    /// The disk refuses, now or before: nothing is recorded any more, so nothing is sent.
    pub async fn sync(&self) -> Result<(), CheckpointError> {
        let _turn = self.syncing.lock().await;
        let unsynced = lock(&self.ledger).unsynced()?;
        let Some(Unsynced { file, path, lines }) = unsynced else { return Ok(()) };
        let done = tokio::task::spawn_blocking(move || durable::sync(&file, &path)).await;
        let done = done.unwrap_or_else(|error| Err(io::Error::other(error)));
        lock(&self.ledger).synced(lines, done)
    }
}

/// What was left by a thread that panicked is still a whole ledger or line.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn digest(bytes: &[u8]) -> Digest {
    Digest::of("roundelay/client/ledger/sent", &[bytes])
}

/// Writes control frames in order until the gate lets go of them or the stream breaks. A task of
/// its own, so that a sender that is cancelled never leaves half a frame behind.
async fn write_control(mut stream: Box<dyn Sending>, mut waiting: mpsc::Receiver<Bytes>) {
    while let Some(frame) = waiting.recv().await {
        if stream.send(frame).await.is_err() {
            return;
        }
    }
    // The connection is going: whether the peer hears of it no longer matters.
    let _ = stream.finish();
}

/// So much is read on the thread at hand: it was written a moment ago, and another thread would take
/// longer to be woken.
const AT_HAND_BYTES_MAX: u64 = 64 << 10;

fn read_whole(path: &Path, bytes: u64) -> io::Result<Bytes> {
    let mut vector = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
    File::open(path)?.read_exact(&mut vector)?;
    Ok(vector.into())
}

async fn send_file(
    mut stream: Box<dyn Sending>,
    header: Bytes,
    path: PathBuf,
    mut left: u64,
) -> Result<(), GateError> {
    let fail = |error| at(&path, error);
    if left <= AT_HAND_BYTES_MAX {
        let vector = read_whole(&path, left).map_err(fail)?;
        stream.send(header).await?;
        stream.send(vector).await?;
        return Ok(stream.finish()?);
    }
    let mut file = tokio::fs::File::open(&path).await.map_err(fail)?;
    stream.send(header).await?;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        let mut chunk = BytesMut::zeroed(length);
        file.read_exact(&mut chunk).await.map_err(fail)?;
        stream.send(chunk.freeze()).await?;
        left -= length as u64;
    }
    Ok(stream.finish()?)
}

#[cfg(test)]
mod tests;
