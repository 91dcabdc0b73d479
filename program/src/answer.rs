//! Answers: lines for people, or one JSON object a line, under a key that names the answer.

use std::collections::BTreeMap;

use clap::ValueEnum;
pub use roundelay_protocol::plain::shown;
use serde::Serialize;

use crate::line::out;

/// How answers, errors and logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[value(alias = "text")]
    Human,
    /// One JSON object a line, under a key that names the answer.
    Json,
}

/// Writes a line for people, given as to `format!`. Words from outside can't act on the terminal.
#[macro_export]
macro_rules! tell {
    () => { $crate::out!("") };
    ($($words:tt)+) => { $crate::out!("{}", $crate::answer::shown(&format!($($words)+))) };
}

/// Writes a value as one line of JSON.
pub fn say(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(line) => out(format_args!("{line}")),
        // Only a map with other keys than texts could do this: no answer has one.
        Err(error) => debug_assert!(false, "{error}"),
    }
}

/// Writes an answer: one object whose one key says what it is.
pub fn answer(name: &str, body: impl Serialize) {
    say(&BTreeMap::from([(name, body)]));
}
