//! Answers: lines for people, or one JSON object a line, under a key that names the answer.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::IsTerminal;

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

/// Whether lines on standard error are painted: on a terminal whose user has not set `NO_COLOR`
/// (no-color.org).
#[must_use]
pub fn paints() -> bool {
    paints_on(std::io::stderr().is_terminal(), std::env::var_os("NO_COLOR").as_deref())
}

fn paints_on(is_terminal: bool, no_color: Option<&OsStr>) -> bool {
    is_terminal && no_color.is_none_or(OsStr::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_painted_on_a_terminal_alone_and_not_where_no_color_is_set() {
        assert!(paints_on(true, None) && paints_on(true, Some(OsStr::new(""))));
        assert!(!paints_on(true, Some(OsStr::new("1"))) && !paints_on(false, None));
    }
}
