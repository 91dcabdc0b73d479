//! `roundelay-simulate` as its users call it.

use std::process::{Command, Output};

use serde_json::Value;

fn simulate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_roundelay-simulate")).args(arguments).output().unwrap()
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn run_prints_one_line_for_machines() {
    let output = simulate(&["run", "--seeds", "0..6", "--threads", "2", "--output", "json"]);
    assert!(output.status.success());
    let summary = json(&output);
    assert_eq!(summary["seeds"], 6);
    assert_eq!(summary["violations"], serde_json::json!({}));
    assert!(summary["tally"]["published"].as_u64().unwrap() >= 6);
}

#[test]
fn a_replay_tells_every_event_of_the_run_and_comes_to_the_same_hash() {
    let report = json(&simulate(&["replay", "3", "--output", "json"]));
    let story = simulate(&["replay", "3"]);
    let story = String::from_utf8(story.stdout).unwrap();
    assert!(story.contains(report["log"].as_str().unwrap()));
    assert!(story.contains("coordinator starts") && story.contains("Published"));
    let events = story.lines().filter(|line| line.starts_with(' ')).count();
    assert_eq!(report["events"], events);
}

#[test]
fn a_run_that_finds_something_fails_and_prints_the_command_that_replays_it() {
    let arguments = ["--bug", "skipped-persist"];
    let output = simulate(&[&["run", "--seeds", "0..1"], &arguments[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("seed 0 violates durable_first"), "{text}");
    assert!(text.contains("-- replay 0 --bug skipped-persist"), "{text}");
    let replay = simulate(&[&["replay", "0"], &arguments[..]].concat());
    assert_eq!(replay.status.code(), Some(1));
    assert!(String::from_utf8(replay.stdout).unwrap().contains("VIOLATION of durable_first"));
}

#[test]
fn nonsense_is_refused_in_one_line_that_says_what_is_wrong() {
    for (arguments, words) in [
        (&["run", "--seeds", "5..5"][..], "the range holds no seed"),
        (&["run", "--seeds", "five"], "seeds are a range A..B"),
        (&["run", "--seeds", "0..x"], "`x`: invalid digit"),
        (&["replay", "1", "--clients", "2"], "3 to 512 clients, not 2"),
        (&["replay", "1", "--bug", "none"], "invalid value 'none'"),
        (&["replay", "1", "--rounds", "0"], "rounds is 1 to 1000000, not 0"),
    ] {
        let output = simulate(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(words), "{arguments:?}: {error}");
    }
}
