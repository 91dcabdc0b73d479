//! An error is one line for people, and one object of one shape for programs.

use std::process::{Command, Output};

use roundelay_tests::harness::Programs;
use serde_json::Value;

/// What is wrong, for each program, with its exit status and a word that must be in the line.
fn cases(programs: &Programs) -> Vec<(Command, i32, &'static str)> {
    let nowhere = "/nonexistent/roundelay";
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/samples/task-table.toml");
    let with = |program: &std::path::Path, line: &str| {
        let mut command = Command::new(program);
        command.args(line.split_whitespace()).env_remove("ROUNDELAY_LOG");
        command
    };
    let coordinator = |line: &str| with(&programs.coordinator, line);
    let client = |line: &str| with(&programs.client, line);
    let trainer = |line: &str| with(&programs.trainer, line);
    let simulate =
        |line: &str| with(&programs.coordinator.with_file_name("roundelay-simulate"), line);
    vec![
        (coordinator("tennant list"), 2, "'tenant'"),
        (coordinator("federation start"), 2, "<FEDERATION>"),
        (coordinator("serve --listen nowhere"), 2, "--listen"),
        (coordinator(&format!("tenant list --config {nowhere}")), 3, nowhere),
        (coordinator(&format!("tenant list --data {nowhere}")), 3, nowhere),
        (client("singn"), 2, "singn"),
        (client("manifest sign"), 2, "<FEDERATION>"),
        (client("run --deadline soon"), 2, "--deadline"),
        (client("enrol --token rubbish --dir x"), 2, "token"),
        (client(&format!("status --dir {nowhere}")), 3, nowhere),
        (trainer("chek"), 2, "'check'"),
        (trainer("alone --task x"), 2, "--data"),
        (trainer(&format!("check --task {nowhere} --data x")), 3, nowhere),
        (trainer(&format!("check --task {sample} --data {nowhere}")), 4, nowhere),
        (simulate("rum"), 2, "'run'"),
        (simulate("run --seeds 9"), 2, "A..B"),
        (simulate("run --seeds 0..1 --clients 1"), 2, "clients"),
    ]
}

#[test]
fn nonsense_gets_one_line_that_names_it_and_a_documented_exit_status() {
    let programs = Programs::find().expect("the programs are built");
    for (mut command, status, word) in cases(&programs) {
        let output = command.output().expect("it runs");
        let line = errors(&output);
        assert_eq!(output.status.code(), Some(status), "{command:?}: {line}");
        assert_eq!(line.lines().count(), 1, "{command:?}: {line}");
        assert!(line.starts_with("error: "), "{command:?}: {line}");
        assert!(line.contains(word), "{command:?}: {line}");
        assert!(output.stdout.is_empty(), "{command:?}");
    }
}

#[test]
fn with_output_json_every_program_ends_with_an_error_of_the_same_shape() {
    let programs = Programs::find().expect("the programs are built");
    for (mut command, status, word) in cases(&programs) {
        let output = command.args(["--output", "json"]).output().expect("it runs");
        assert_eq!(output.status.code(), Some(status), "{command:?}");
        let error: Value = serde_json::from_str(&errors(&output)).expect("one JSON object");
        let outer: Vec<&String> = error.as_object().expect("an object").keys().collect();
        assert_eq!(outer, ["error"], "{command:?}");
        let inner = error["error"].as_object().expect("an object");
        assert_eq!(inner.keys().collect::<Vec<_>>(), ["code", "kind", "message"], "{command:?}");
        let message = inner["message"].as_str().expect("words");
        assert!(message.contains(word), "{command:?}: {message}");
    }
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}
