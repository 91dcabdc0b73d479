//! A file over 600 lines without its tests, or a function over 70, is a room that wants splitting.

use crate::sources::{CRATES, before_tests, rust_files};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

#[test]
fn no_file_is_longer_than_a_room() {
    for (name, text) in all().into_iter().filter(|(name, _)| !is_test(name)) {
        let lines = before_tests(&text).count();
        assert!(lines <= FILE_LINES_MAX, "{name} has {lines} lines before its tests");
    }
}

#[test]
fn no_function_is_longer_than_a_room() {
    for (name, text) in all() {
        for (function, lines) in functions(&text) {
            assert!(lines <= FUNCTION_LINES_MAX, "{name}: {function} has {lines} lines");
        }
    }
}

#[test]
fn no_module_lives_in_a_file_called_mod() {
    let named = all().into_iter().find(|(name, _)| name.ends_with("/mod.rs"));
    assert!(named.is_none(), "a module is foo.rs beside foo/: {named:?}");
}

#[test]
fn every_test_is_named_by_a_sentence() {
    for (name, text) in all() {
        let mut lines = text.lines().map(str::trim);
        while let Some(line) = lines.next() {
            if !(line.starts_with("#[test]") || line.starts_with("#[tokio::test")) {
                continue;
            }
            let Some(function) = lines.by_ref().find(|line| line.contains("fn ")) else { break };
            let (_, rest) = function.split_once("fn ").expect("a function");
            let title = rest.split('(').next().expect("a name");
            // A macro's test takes its name from the sentences that it is given.
            let words = title.split('_').count();
            assert!(words >= 4 || title.starts_with('$'), "{name}: `{title}` is no sentence");
        }
    }
}

#[test]
fn nothing_unfinished_is_left_in_the_code() {
    let marks = ["todo", "unimplemented", "dbg"].map(|word| format!("{word}!("));
    let notes =
        ["FIX", "XX"].map(|start| format!("{start}{}", if start == "FIX" { "ME" } else { "X" }));
    for (name, text) in all() {
        for mark in marks.iter().chain(&notes) {
            assert!(!text.contains(mark.as_str()), "{name} holds {mark}");
        }
    }
}

/// A file that holds tests alone; `suite.rs` is a conformance suite.
fn is_test(name: &str) -> bool {
    name.contains("/tests/") || name.ends_with("/tests.rs") || name.ends_with("/suite.rs")
}

fn all() -> Vec<(String, String)> {
    CRATES.iter().flat_map(|crate_| rust_files(crate_)).collect()
}

/// Functions with their number of lines. rustfmt ends a function with a brace at its own indent.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        if !starts_function(line.trim_start()) {
            continue;
        }
        let ends = |line: &&str| line.trim_end() == format!("{}}}", " ".repeat(indent));
        if line.trim_end().ends_with('}') || line.trim_end().ends_with(';') {
            continue;
        }
        if let Some(length) = lines[start..].iter().position(ends) {
            found.push((line.trim().to_owned(), length + 1));
        }
    }
    found
}

fn starts_function(line: &str) -> bool {
    let words: Vec<&str> = line.split(' ').take(5).collect();
    let at = words.iter().position(|word| *word == "fn");
    let modifier = |word: &&str| {
        matches!(*word, "pub" | "async" | "const" | "unsafe" | "extern") || word.starts_with("pub(")
    };
    at.is_some_and(|at| words[..at].iter().all(modifier))
}

#[test]
fn a_long_function_is_seen_by_this_test() {
    let body = "    let _ = 1;\n".repeat(80);
    let text = format!("impl A {{\n}}\n\npub(crate) async fn long(\n) {{\n{body}}}\n");
    let [(name, lines)] = functions(&text).try_into().expect("one function");
    assert!(name.contains("long") && lines == 83, "{name} {lines}");
}
