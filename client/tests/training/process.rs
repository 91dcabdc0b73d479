//! The trainer as a child process: the built binary, its socket, its shared memory and its ends.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use roundelay_client::data::Source;
use roundelay_client::train::process::TrainerProcess;
use roundelay_client::train::{Control, LocalTrainer, Options, TrainError, Trainer, Uninterrupted};
use roundelay_protocol::ids::ModelVersion;
use roundelay_protocol::manifest::{Hyperparameters, Task};
use roundelay_protocol::model::ModelSpec;
use roundelay_protocol::schema::{Column, ColumnKind, Schema};

use crate::support::{hyperparameters, task};

const TRAINER: &str = env!("CARGO_BIN_EXE_roundelay-trainer");

/// A table of two numeric columns whose sum's sign is the label.
struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn new(rows: u32) -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap() };
        site.write(rows);
        site
    }

    fn write(&self, rows: u32) {
        let row = |n: u32| {
            let (a, b) = (f64::from(n * 7 % 19) - 9.0, f64::from(n * 5 % 13) - 6.0);
            format!("{a},{b},{}\n", if a + b > 0.0 { "up" } else { "down" })
        };
        let csv = format!("a,b,y\n{}", (0..rows).map(row).collect::<String>());
        std::fs::write(self.csv(), csv).unwrap();
    }

    fn csv(&self) -> PathBuf {
        self.folder.path().join("rows.csv")
    }

    fn options(&self) -> Options {
        Options { seed: 3, ..Options::new(Source::new(self.csv())) }
    }

    fn trainer(&self) -> TrainerProcess {
        TrainerProcess::new(TRAINER, self.options())
    }
}

fn table(model: ModelSpec) -> Task {
    let number = |name: &str| Column {
        name: name.to_owned(),
        kind: ColumnKind::Number { min: -10.0, max: 10.0 },
    };
    let schema = Schema::Table {
        columns: vec![number("a"), number("b")],
        label: "y".to_owned(),
        labels: vec!["down".to_owned(), "up".to_owned()],
        standardise: false,
    };
    task(schema, model)
}

fn softmax() -> Task {
    table(ModelSpec::Softmax { seed: 1 })
}

/// So many epochs that a job takes long.
fn endless() -> Hyperparameters {
    Hyperparameters { local_epochs: 1_000_000, ..hyperparameters() }
}

/// Cancels after a while.
struct CancelAt(Instant);

impl CancelAt {
    fn after(milliseconds: u64) -> Self {
        Self(Instant::now() + Duration::from_millis(milliseconds))
    }
}

impl Control for CancelAt {
    fn cancelled(&self) -> bool {
        Instant::now() >= self.0
    }

    fn progress(&self, _done: u64, _total: u64) {}
}

fn kill(process: u32) {
    let killed = Command::new("kill").args(["-KILL", &process.to_string()]).status().unwrap();
    assert!(killed.success());
}

/// Whether a process has more of it than a zombie: its main thread ended, its others too.
fn is_running(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next());
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).map_or(0, Iterator::count);
    state.is_some_and(|state| state != 'Z') || threads > 1
}

fn kill_and_wait(process: u32) {
    kill(process);
    while is_running(process) {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_child_gives_the_same_bits_as_a_trainer_in_this_process() {
    let site = Site::new(300);
    let (mut child, mut local) = (site.trainer(), LocalTrainer::new(site.options()));
    assert_eq!(child.prepare(&softmax()).unwrap(), local.prepare(&softmax()).unwrap());
    let mut model = child.initial().unwrap();
    assert_eq!(model, local.initial().unwrap());
    for round in 1..=3 {
        let round = ModelVersion(round);
        let ours = child.train(&model, &hyperparameters(), round, &Uninterrupted).unwrap();
        let theirs = local.train(&model, &hyperparameters(), round, &Uninterrupted).unwrap();
        assert_eq!(ours, theirs);
        model.iter_mut().zip(&ours.delta).for_each(|(value, change)| *value += change);
        assert_eq!(child.evaluate(&model).unwrap(), local.evaluate(&model).unwrap());
    }
    let metrics = child.evaluate(&model).unwrap();
    assert!(metrics.correct * 10 > metrics.rows * 9, "{metrics:?}");
}

#[test]
fn progress_reaches_the_caller_and_ends_at_the_total() {
    struct Last(std::cell::Cell<(u64, u64)>);
    impl Control for Last {
        fn cancelled(&self) -> bool {
            false
        }
        fn progress(&self, done: u64, total: u64) {
            self.0.set((done, total));
        }
    }
    let site = Site::new(300);
    let mut trainer = site.trainer();
    let rows = trainer.prepare(&softmax()).unwrap().rows;
    let model = trainer.initial().unwrap();
    let last = Last((0, 0).into());
    trainer.train(&model, &hyperparameters(), ModelVersion(1), &last).unwrap();
    assert_eq!(last.0.get(), (rows, rows));
}

#[test]
fn a_fault_of_the_data_crosses_the_process_border_with_its_place() {
    let site = Site::new(3);
    std::fs::write(site.csv(), "a,b,y\n1,two,up\n").unwrap();
    let mut trainer = site.trainer();
    let error = trainer.prepare(&softmax()).unwrap_err();
    assert!(matches!(error, TrainError::Data(_)));
    let line = error.to_string();
    assert!(
        line.ends_with(
            "rows.csv, line 2, column \"b\": \"two\" is not a number; correct it or leave the row out"
        ),
        "{line}"
    );
    // The same child goes on when the file is repaired.
    let process = trainer.process_id();
    site.write(50);
    trainer.prepare(&softmax()).unwrap();
    assert_eq!(trainer.process_id(), process);
}

#[test]
fn a_cancelled_job_ends_soon_and_leaves_the_child_alive() {
    let site = Site::new(300);
    let mut trainer = site.trainer();
    trainer.prepare(&softmax()).unwrap();
    let model = trainer.initial().unwrap();
    let process = trainer.process_id();
    let start = Instant::now();
    let cancel = CancelAt::after(100);
    let error = trainer.train(&model, &endless(), ModelVersion(1), &cancel).unwrap_err();
    assert_eq!(error, TrainError::Cancelled);
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert_eq!(trainer.process_id(), process);
    trainer.train(&model, &hyperparameters(), ModelVersion(2), &Uninterrupted).unwrap();
}

#[test]
fn another_thread_can_stop_whatever_job_runs() {
    let site = Site::new(300);
    let mut trainer = site.trainer();
    trainer.prepare(&softmax()).unwrap();
    let model = trainer.initial().unwrap();
    let stopper = trainer.stopper();
    let stopping = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        stopper.stop();
    });
    let error = trainer.train(&model, &endless(), ModelVersion(1), &Uninterrupted).unwrap_err();
    stopping.join().unwrap();
    assert_eq!(error, TrainError::Cancelled);
}

#[test]
fn a_killed_child_fails_its_job_and_the_next_job_starts_another_one_prepared_as_before() {
    let site = Site::new(300);
    let mut trainer = site.trainer();
    trainer.prepare(&softmax()).unwrap();
    let model = trainer.initial().unwrap();
    let undisturbed = trainer.train(&model, &hyperparameters(), ModelVersion(1), &Uninterrupted);
    let process = trainer.process_id().unwrap();
    let killing = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        kill(process);
    });
    let error = trainer.train(&model, &endless(), ModelVersion(1), &Uninterrupted).unwrap_err();
    killing.join().unwrap();
    let line = error.to_string();
    let ended =
        " ended: killed by signal 9 (out of memory, or by hand); the next job starts another one";
    assert!(line.starts_with("the trainer process /") && line.ends_with(ended), "{line}");
    let again = trainer.train(&model, &hyperparameters(), ModelVersion(1), &Uninterrupted);
    assert_eq!(again.unwrap(), undisturbed.unwrap());
    assert_ne!(trainer.process_id(), Some(process));
}

#[test]
fn a_child_that_dies_between_two_jobs_is_replaced_without_an_error() {
    let site = Site::new(50);
    let mut trainer = site.trainer();
    trainer.prepare(&softmax()).unwrap();
    let model = trainer.initial().unwrap();
    let process = trainer.process_id().unwrap();
    kill_and_wait(process);
    trainer.evaluate(&model).unwrap();
    assert_ne!(trainer.process_id(), Some(process));
}

#[test]
fn a_new_child_that_finds_other_data_refuses_to_go_on() {
    let site = Site::new(50);
    let mut trainer = site.trainer();
    trainer.prepare(&softmax()).unwrap();
    let model = trainer.initial().unwrap();
    site.write(51);
    let process = trainer.process_id().unwrap();
    kill_and_wait(process);
    assert_eq!(trainer.evaluate(&model).unwrap_err(), TrainError::DataChanged);
}

#[test]
fn dropping_the_trainer_ends_its_child() {
    let site = Site::new(50);
    let mut trainer = site.trainer();
    trainer.prepare(&softmax()).unwrap();
    let process = trainer.process_id().unwrap();
    assert!(is_running(process));
    drop(trainer);
    assert!(!is_running(process));
}

#[test]
fn a_program_that_is_not_there_or_is_no_trainer_is_named() {
    let site = Site::new(5);
    let mut missing = TrainerProcess::new("/nowhere/roundelay-trainer", site.options());
    let line = missing.prepare(&softmax()).unwrap_err().to_string();
    assert!(line.starts_with("installation: /nowhere/roundelay-trainer: "), "{line}");

    // What a loader says when libtorch is not where it was.
    let script = site.folder.path().join("trainer");
    std::fs::write(&script, "#!/bin/sh\necho 'libtorch_cpu.so: not found' >&2\nexit 127\n")
        .unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let line = TrainerProcess::new(&script, site.options()).prepare(&softmax()).unwrap_err();
    assert_eq!(
        line.to_string(),
        format!(
            "the trainer process {} ended: exit code 127, its last line was \
             \"libtorch_cpu.so: not found\"; the next job starts another one",
            script.display()
        )
    );
}

#[test]
fn a_child_that_does_not_answer_a_cancellation_is_killed() {
    let site = Site::new(5);
    let script = site.folder.path().join("trainer");
    std::fs::write(&script, "#!/bin/sh\nexec sleep 60\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut trainer =
        TrainerProcess::new(script, site.options()).cancel_timeout(Duration::from_millis(200));
    trainer.stopper().stop();
    let start = Instant::now();
    assert_eq!(trainer.prepare(&softmax()).unwrap_err(), TrainError::Cancelled);
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(trainer.process_id(), None);
}

#[test]
fn people_who_start_the_hidden_verb_are_told_so() {
    let output = Command::new(TRAINER).arg("work").output().unwrap();
    assert!(!output.status.success());
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "error: internal: roundelay-client starts this command, people do not\n"
    );
}

/// The trainer must not outlive a daemon that was killed: here a shell plays the daemon.
#[test]
fn the_child_ends_when_its_daemon_is_killed() {
    let (socket, childs) = std::os::unix::net::UnixStream::pair().unwrap();
    let site = Site::new(5);
    let shared = std::fs::File::create(site.folder.path().join("vectors")).unwrap();
    let mut child = Command::new(TRAINER)
        .arg("work")
        .stdin(std::os::fd::OwnedFd::from(childs))
        .stdout(shared)
        .spawn()
        .unwrap();
    assert_eq!(child.try_wait().unwrap(), None);
    // What the system does to the sockets of a killed process.
    drop(socket);
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < Duration::from_secs(10), "the trainer is still there");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(feature = "torch")]
#[test]
fn the_child_trains_by_libtorch_and_gives_the_same_bits() {
    let site = Site::new(300);
    let task = table(ModelSpec::Mlp { hidden: vec![8], seed: 1 });
    let (mut child, mut local) = (site.trainer(), LocalTrainer::new(site.options()));
    child.prepare(&task).unwrap();
    local.prepare(&task).unwrap();
    let model = child.initial().unwrap();
    let ours = child.train(&model, &hyperparameters(), ModelVersion(1), &Uninterrupted).unwrap();
    let theirs = local.train(&model, &hyperparameters(), ModelVersion(1), &Uninterrupted).unwrap();
    assert_eq!(ours, theirs);
}
