//! What `test` prints at its end.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::execute::Counts;
use crate::run::Outcome;

/// Steps and crates in the order in which they ran.
#[derive(Default)]
pub(super) struct Report {
    rows: Vec<(String, Counts)>,
}

impl Report {
    /// Runs a step that is no test and notes its time.
    pub(super) fn timed<T>(
        &mut self,
        name: &str,
        step: impl FnOnce() -> Result<T, String>,
    ) -> Result<T, String> {
        let began = Instant::now();
        let result = step()?;
        self.add(name, Counts { took: began.elapsed(), ..Counts::default() });
        Ok(result)
    }

    /// Adds a run to the row of its crate.
    pub(super) fn add(&mut self, name: &str, counts: Counts) {
        match self.rows.iter_mut().find(|(row, _)| row == name) {
            Some((_, row)) => row.add(counts),
            None => self.rows.push((name.to_owned(), counts)),
        }
    }

    /// Prints the table, the skips and the counts; fails where a test did.
    pub(super) fn close(&self, skips: &Path, took: Duration) -> Outcome {
        let mut all = Counts::default();
        out!("\n{:<14} {:>7} {:>7} {:>9}", "crate", "passed", "failed", "seconds");
        for (name, row) in &self.rows {
            let seconds = row.took.as_secs_f64();
            out!("{name:<14} {:>7} {:>7} {seconds:>9.1}", row.passed, row.failed);
            all.add(*row);
        }
        out!("{:<14} {:>7} {:>7} {:>9.1}", "all", all.passed, all.failed, took.as_secs_f64());
        // No file: nothing skipped.
        let skipped = fs::read_to_string(skips).unwrap_or_default();
        skipped.lines().for_each(|line| out!("skipped: {line}"));
        if all.ignored > 0 {
            out!("ignored: {}", all.ignored);
        }
        let skipped = skipped.lines().count();
        out!("\n{} passed, {} failed, {skipped} skipped", all.passed, all.failed);
        match (all.failed, all.broken) {
            (0, false) if all.passed == 0 => Err("no test has a name that holds this".to_owned()),
            (0, false) => Ok(()),
            (0, true) => Err("a test program ended without its closing line".to_owned()),
            (failed, _) => Err(format!("{failed} tests failed")),
        }
    }
}
