//! One child process from its start to its end: the socket, the shared memory, the threads that
//! read what it says.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::memory;
use crate::train::TrainError;
use crate::train::job::{self, Receiver, Reply, Request, Vectors, WORK};

/// How often a waiting daemon looks whether the job was cancelled.
const LOOK: Duration = Duration::from_millis(20);
/// Longest line of a child's log, in bytes.
const LINE_BYTES_MAX: u64 = 4096;
/// Lines kept to say why a child ended.
const LAST_LINES: usize = 8;

/// A running child. Dropping it kills the process.
pub(super) struct Child {
    program: PathBuf,
    process: std::process::Child,
    socket: UnixStream,
    replies: mpsc::Receiver<(u64, Reply)>,
    vectors: Vectors,
    log: Arc<Mutex<VecDeque<String>>>,
    reader: Option<thread::JoinHandle<()>>,
    jobs: u64,
    ended: bool,
}

impl Child {
    pub(super) fn start(program: &Path) -> Result<Self, TrainError> {
        let setting_up = |error: io::Error| {
            TrainError::Internal(format!("setting up the trainer process: {error}"))
        };
        let (socket, childs) = UnixStream::pair().map_err(setting_up)?;
        let vectors = memory::unnamed().map_err(setting_up)?;
        let shared: File = vectors.0.try_clone().map_err(setting_up)?;
        let mut process = Command::new(program)
            .arg(WORK)
            .stdin(Stdio::from(OwnedFd::from(childs)))
            .stdout(Stdio::from(shared))
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| not_started(program, &error))?;
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let reader = process.stderr.take().map(|stderr| {
            let log = Arc::clone(&log);
            thread::spawn(move || forward(stderr, &log))
        });
        let (sender, replies) = mpsc::channel();
        let mut receiver = Receiver::new(socket.try_clone().map_err(setting_up)?);
        thread::spawn(move || {
            while let Ok(Some(message)) = receiver.receive() {
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let program = program.to_owned();
        let (jobs, ended) = (0, false);
        Ok(Self { program, process, socket, replies, vectors, log, reader, jobs, ended })
    }

    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn vectors(&self) -> &Vectors {
        &self.vectors
    }

    /// Whether the process is there, as far as is known without asking it.
    pub(super) fn is_alive(&mut self) -> bool {
        !self.ended && matches!(self.process.try_wait(), Ok(None))
    }

    /// Whether a job found that the process has ended, or ended it.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// Runs one job to its end.
    pub(super) fn run(
        &mut self,
        request: &Request,
        stopped: &dyn Fn() -> bool,
        progress: &dyn Fn(u64, u64),
        cancel_timeout: Duration,
    ) -> Result<Reply, TrainError> {
        self.jobs += 1;
        if job::send(&self.socket, self.jobs, request).is_err() {
            return Err(self.crashed());
        }
        let mut deadline: Option<Instant> = None;
        loop {
            match self.replies.recv_timeout(LOOK) {
                Ok((job, _)) if job != self.jobs => {}
                Ok((_, Reply::Progress { done, total })) => progress(done, total),
                Ok((_, Reply::Failed(error))) => return Err(error),
                Ok((_, reply)) => return Ok(reply),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(self.crashed()),
            }
            match deadline {
                None if stopped() => {
                    // If this fails the process is gone, which the next look finds.
                    let _ = job::send(&self.socket, self.jobs, &Request::Cancel);
                    deadline = Some(Instant::now() + cancel_timeout);
                }
                Some(deadline) if Instant::now() >= deadline => {
                    self.kill();
                    return Err(TrainError::Cancelled);
                }
                _ => {}
            }
        }
    }

    fn kill(&mut self) {
        self.ended = true;
        // Both fail only where the process has ended and was waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Why the process ended, in its own last words where it had some.
    fn crashed(&mut self) -> TrainError {
        self.kill();
        let status = self.process.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let how = status.map_or_else(|error| error.to_string(), |status| describe(&status));
        let program = self.program.display();
        TrainError::Crashed(match log.back() {
            Some(line) => format!("{program} ended: {how}, its last line was {line:?}"),
            None => format!("{program} ended: {how}"),
        })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

fn not_started(program: &Path, error: &io::Error) -> TrainError {
    TrainError::Installation(format!(
        "{}: {error}; install roundelay-trainer there, or name it as `trainer` in the configuration",
        program.display()
    ))
}

fn describe(status: &ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(9)) => "killed by signal 9 (out of memory, or by hand)".to_owned(),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "for no known reason".to_owned(),
    }
}

/// Copies a child's lines to the log and keeps the last few.
fn forward(stderr: impl Read, log: &Mutex<VecDeque<String>>) {
    let mut stderr = BufReader::new(stderr);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match stderr.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        if line.is_empty() {
            continue;
        }
        tracing::info!(target: "roundelay::trainer", "{line}");
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() == LAST_LINES {
            log.pop_front();
        }
        log.push_back(line);
    }
}
