//! What a person sees while a verb takes long: how long it has been at work. The answer of a verb
//! comes whole, so there is no share of it to show.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use roundelay_program::Output;

use crate::admin::Request;

/// A line on a terminal that goes when this is dropped.
pub(super) struct Waiting(Option<ProgressBar>);

impl Waiting {
    /// For the verbs that take long, on a terminal, and for people: elsewhere there is no line.
    pub(super) fn on(request: &Request, output: Output) -> Self {
        let shows = output == Output::Human && std::io::stderr().is_terminal();
        let what = match request {
            Request::ModelExport { .. } if shows => "exporting the model",
            _ => return Self(None),
        };
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
        let line = ProgressBar::new_spinner().with_message(what);
        line.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        line.enable_steady_tick(Duration::from_millis(100));
        Self(Some(line))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(line) = &self.0 {
            line.finish_and_clear();
        }
    }
}
