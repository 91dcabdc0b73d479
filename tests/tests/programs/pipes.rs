//! Readers that are gone, as behind `| head -1`, and disks that are full.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use roundelay_tests::harness::Programs;

/// A verb of each program that answers at once, and one that fails with this status.
fn verbs(folder: &Path) -> (Vec<Command>, Vec<(Command, i32)>) {
    let programs = Programs::find().expect("the programs are built");
    let data = folder.display();
    let with = |program: &Path, line: &str| {
        let mut command = Command::new(program);
        command.args(line.split_whitespace()).env_remove("ROUNDELAY_LOG");
        command
    };
    let simulate = programs.coordinator.with_file_name("roundelay-simulate");
    let xtask = programs.coordinator.with_file_name("xtask");
    let answer = vec![
        with(&programs.coordinator, &format!("tenant add acme --data {data}")),
        with(&programs.coordinator, &format!("tenant list --output json --data {data}")),
        with(&programs.coordinator, "--help"),
        with(&programs.coordinator, "federation create --help"),
        with(&programs.coordinator, "--version"),
        with(&programs.client, "--help"),
        with(&programs.client, "manifest --help"),
        with(&programs.trainer, "--help"),
        with(&simulate, "--help"),
        with(&xtask, "--help"),
        with(&xtask, "bench --list"),
        with(&programs.trainer, "about"),
        with(&programs.trainer, "about --output json"),
        with(&simulate, "replay 1"),
        with(&simulate, "run --seeds 0..1 --output json"),
    ];
    let fail = vec![
        (with(&programs.coordinator, "tennant"), 2),
        (with(&programs.client, "status --dir /nonexistent --output json"), 3),
        (with(&programs.trainer, "check --task /nonexistent --data x"), 3),
        (with(&simulate, "run --seeds 0"), 2),
    ];
    (answer, fail)
}

fn run(command: &mut Command) -> Output {
    command.output().expect("it runs")
}

/// A pipe that nobody reads any more.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

#[test]
fn a_reader_that_is_gone_changes_nothing_about_how_a_program_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let (answer, fail) = verbs(folder.path());
    for mut command in answer {
        let output = run(command.stdout(closed()));
        assert_eq!(output.status.code(), Some(0), "{command:?}: {output:?}");
        assert!(output.stderr.is_empty(), "{command:?}: {output:?}");
    }
    for (mut command, status) in fail {
        let ended = run(command.stderr(closed())).status;
        assert_eq!(ended.code(), Some(status), "{command:?}");
    }
}

#[test]
fn an_answer_that_does_not_fit_on_the_disk_is_an_error() {
    let Ok(full) = OpenOptions::new().write(true).open("/dev/full") else {
        return roundelay_tests::harness::skip("an answer on a full disk", "there is no /dev/full");
    };
    let folder = tempfile::tempdir().expect("a folder");
    for mut command in verbs(folder.path()).0 {
        let output = run(command.stdout(full.try_clone().expect("a file")));
        let line = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{command:?}: {line}");
        assert!(line.starts_with("error: standard output: No space left"), "{command:?}: {line}");
    }
}
