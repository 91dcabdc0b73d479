//! The trainer's side of [`super::job`]: `roundelay-trainer work`. It does one job after the other
//! on the main thread while a second thread listens for cancellation and for the daemon's end.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FileType, fstat};

use super::job::{self, RELEASE, Receiver, Reply, Request, Vectors};
use super::{Control, LocalTrainer, TrainError, Trainer};

/// How often progress is reported.
const REPORT: Duration = Duration::from_millis(100);
/// How long a job may go on when the daemon is gone.
const ORPHANED: Duration = Duration::from_secs(2);
/// Stands for every job in `Cancelled`, once the daemon is gone.
const ALL_JOBS: u64 = u64::MAX;

/// Serves the daemon that started this process, until it is gone.
///
/// # Errors
/// This process was not started by a daemon, or its socket fails.
pub fn serve() -> io::Result<()> {
    let (socket, vectors) = inherited()?;
    let cancelled = Arc::new(AtomicU64::new(0));
    let (sender, requests) = mpsc::channel();
    let receiver = Receiver::new(socket.try_clone()?);
    let flag = Arc::clone(&cancelled);
    thread::spawn(move || listen(receiver, sender, &flag));

    let mut worker = Worker { vectors, trainer: None, values: Vec::new() };
    for (job, request) in requests {
        let control = JobControl::new(&socket, job, &cancelled);
        let reply = worker.work(request, &control).unwrap_or_else(Reply::Failed);
        job::send(&socket, job, &reply)?;
    }
    Ok(())
}

/// The socket and the file that the daemon left as standard input and output. Afterwards standard
/// output is standard error, so that a library that prints does not write into the shared memory.
fn inherited() -> io::Result<(UnixStream, Vectors)> {
    let (stdin, stdout) = (io::stdin(), io::stdout());
    let is = |fd: &dyn AsFd, kind| {
        fstat(fd.as_fd()).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == kind)
    };
    if !is(&stdin, FileType::Socket) || !is(&stdout, FileType::RegularFile) {
        return Err(io::Error::other("roundelay-client starts this command, people do not"));
    }
    let socket: OwnedFd = stdin.as_fd().try_clone_to_owned()?;
    let file: OwnedFd = stdout.as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdout(io::stderr())?;
    Ok((UnixStream::from(socket), Vectors(File::from(file))))
}

/// Passes requests on; notes cancellations; ends the process when the daemon is gone.
fn listen(mut receiver: Receiver, requests: Sender<(u64, Request)>, cancelled: &AtomicU64) {
    while let Ok(Some((job, request))) = receiver.receive() {
        if matches!(request, Request::Cancel) {
            cancelled.store(job, Ordering::Relaxed);
        } else if requests.send((job, request)).is_err() {
            return;
        }
    }
    cancelled.store(ALL_JOBS, Ordering::Relaxed);
    // Between two jobs the main thread ends here.
    drop(requests);
    thread::sleep(ORPHANED);
    // Still here: native code that does not look. Nobody is left who would want its result.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
}

/// The state of a worker between two jobs.
struct Worker {
    vectors: Vectors,
    trainer: Option<LocalTrainer>,
    values: Vec<f32>,
}

impl Worker {
    fn work(&mut self, request: Request, control: &dyn Control) -> Result<Reply, TrainError> {
        if let Request::Open(options) = request {
            self.trainer = Some(LocalTrainer::new(*options));
            return Ok(Reply::Opened { release: RELEASE.to_owned() });
        }
        let trainer = self.trainer.as_mut();
        let trainer = trainer.ok_or_else(|| TrainError::NotPrepared("open comes first".into()))?;
        match request {
            Request::Prepare(task) => trainer.prepare(&task).map(Reply::Prepared),
            Request::Statistics => trainer.statistics().map(Reply::Statistics),
            Request::Standardise(by) => trainer.standardise(&by).map(|()| Reply::Standardised),
            Request::Initial => {
                let parameters = self.vectors.write(&trainer.initial()?).map_err(shared)?;
                Ok(Reply::Initial { parameters })
            }
            Request::Train { parameters, hyperparameters, version } => {
                self.vectors.read(parameters, &mut self.values).map_err(shared)?;
                let update = trainer.train(&self.values, &hyperparameters, version, control)?;
                let parameters = self.vectors.write(&update.delta).map_err(shared)?;
                Ok(Reply::Trained { parameters, rows: update.rows, loss: update.loss })
            }
            Request::Evaluate { parameters } => {
                self.vectors.read(parameters, &mut self.values).map_err(shared)?;
                trainer.evaluate(&self.values).map(Reply::Evaluated)
            }
            Request::Open(_) | Request::Cancel => {
                Err(TrainError::Internal("a request that is no job".to_owned()))
            }
        }
    }
}

fn shared(error: io::Error) -> TrainError {
    TrainError::Internal(format!("the memory shared with the daemon: {error}"))
}

/// The daemon's wishes and the job's progress over the socket.
struct JobControl<'a> {
    socket: &'a UnixStream,
    job: u64,
    cancelled: &'a AtomicU64,
    reported: Cell<Instant>,
}

impl<'a> JobControl<'a> {
    fn new(socket: &'a UnixStream, job: u64, cancelled: &'a AtomicU64) -> Self {
        Self { socket, job, cancelled, reported: Cell::new(Instant::now()) }
    }
}

impl Control for JobControl<'_> {
    fn cancelled(&self) -> bool {
        let cancelled = self.cancelled.load(Ordering::Relaxed);
        cancelled == self.job || cancelled == ALL_JOBS
    }

    fn progress(&self, done: u64, total: u64) {
        if done == total || self.reported.get().elapsed() >= REPORT {
            self.reported.set(Instant::now());
            // If the daemon is gone, the listener stops the job.
            let _ = job::send(self.socket, self.job, &Reply::Progress { done, total });
        }
    }
}
