//! What a client's daemon and its child `roundelay-trainer` say to each other.
//!
//! ```text
//! daemon                                   trainer
//!   │  stdin: a socket, frames both ways      │
//!   │────────── (job, Request) ──────────────▶│
//!   │◀───────── (job, Reply) ─────────────────│   Progress any number of times, then the end
//!   │  stdout: an unnamed file in memory      │
//!   │◀═════════ the job's flat vector ═══════▶│   a model in, an update out
//!   │  stderr: lines for the log              │
//!   │◀────────────────────────────────────────│
//! ```
//! The file is passed by inheritance and has no name: nobody else can open it. Vectors are copied
//! in and out of it by positioned reads and writes rather than mapped: it costs one copy at memory
//! speed, needs no unsafe code, and a trainer that cuts the file short gives an error where a
//! mapping would kill the daemon (SIGBUS). One job runs at a time; only [`Request::Cancel`] comes
//! during another job. The end of the socket tells either side that the other one is gone.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;

use roundelay_protocol::codec::{self, FrameReader};
use roundelay_protocol::ids::ModelVersion;
use roundelay_protocol::limits::PARAMETERS_MAX;
use roundelay_protocol::manifest::{Hyperparameters, Task};
use roundelay_protocol::statistics::{ColumnStatistics, Standardisation};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zerocopy::IntoBytes;

use super::{DataSummary, Metrics, Options, TrainError};

/// Largest frame in bytes: a task with all its columns and vocabularies.
const FRAME_BYTES_MAX: usize = 4 << 20;

/// The argument with which a daemon starts its trainer.
pub const WORK: &str = "work";

/// Both sides come from one release: the interface between them is not versioned otherwise.
pub(crate) const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// What the daemon asks for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// First of all: how to train.
    Open(Box<Options>),
    Prepare(Box<Task>),
    Statistics,
    Standardise(Standardisation),
    Initial,
    /// The model is in the file, the update comes back there.
    Train {
        parameters: u64,
        hyperparameters: Hyperparameters,
        version: ModelVersion,
    },
    /// The model is in the file.
    Evaluate {
        parameters: u64,
    },
    /// Stop the job of this number.
    Cancel,
}

/// What the trainer answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// To `Open`: the trainer's release.
    Opened {
        release: String,
    },
    Prepared(DataSummary),
    Statistics(Vec<ColumnStatistics>),
    Standardised,
    /// The model is in the file.
    Initial {
        parameters: u64,
    },
    /// The job goes on.
    Progress {
        done: u64,
        total: u64,
    },
    /// The update is in the file.
    Trained {
        parameters: u64,
        rows: u64,
        loss: f64,
    },
    Evaluated(Metrics),
    Failed(TrainError),
}

/// Sends a message of a job.
pub(crate) fn send<T: Serialize>(mut socket: &UnixStream, job: u64, body: &T) -> io::Result<()> {
    let bytes = codec::encode(&(job, body));
    let frame = codec::frame(&bytes, FRAME_BYTES_MAX).map_err(io::Error::other)?;
    socket.write_all(&frame)
}

/// Receives messages until the other side is gone.
pub(crate) struct Receiver {
    socket: UnixStream,
    frames: FrameReader,
    buffer: Vec<u8>,
    unread: usize,
    held: usize,
}

impl Receiver {
    pub(crate) fn new(socket: UnixStream) -> Self {
        let buffer = vec![0; 16 << 10];
        Self { socket, frames: FrameReader::new(FRAME_BYTES_MAX), buffer, unread: 0, held: 0 }
    }

    /// The next message and its job; `None` at the end.
    pub(crate) fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<(u64, T)>> {
        loop {
            let mut bytes = &self.buffer[self.unread..self.held];
            let frame = self.frames.read(&mut bytes).map_err(io::Error::other)?;
            self.unread = self.held - bytes.len();
            if let Some(frame) = frame {
                let message = codec::decode(&frame, FRAME_BYTES_MAX).map_err(io::Error::other)?;
                return Ok(Some(message));
            }
            self.unread = 0;
            self.held = self.socket.read(&mut self.buffer)?;
            if self.held == 0 {
                return Ok(None);
            }
        }
    }
}

/// The unnamed file through which flat vectors go.
pub(crate) struct Vectors(pub(crate) File);

impl Vectors {
    pub(crate) fn write(&self, values: &[f32]) -> io::Result<u64> {
        self.0.write_all_at(values.as_bytes(), 0)?;
        Ok(values.len() as u64)
    }

    /// Reads so many values into `values`.
    pub(crate) fn read(&self, parameters: u64, values: &mut Vec<f32>) -> io::Result<()> {
        let announced = usize::try_from(parameters.min(PARAMETERS_MAX)).unwrap_or(usize::MAX);
        let there = self.0.metadata()?.len() / 4;
        if parameters > PARAMETERS_MAX || parameters > there {
            let what = format!("{parameters} values announced, {there} are there");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
        }
        values.resize(announced, 0.0);
        self.0.read_exact_at(values.as_mut_bytes(), 0)
    }
}
