//! What every benchmark prints: a line for people, and one JSON object on the last line.

use std::process::ExitCode;

use roundelay_program::line::finished;
use roundelay_program::out;
use serde_json::{Value, json};

#[cfg(feature = "whole")]
pub mod disk;
#[cfg(all(feature = "kernels", feature = "whole"))]
pub mod in_process;
#[cfg(feature = "whole")]
pub mod long_model;
#[cfg(feature = "whole")]
pub mod loopback;
pub mod processes;
pub mod python;
#[cfg(feature = "whole")]
pub mod small;
#[cfg(feature = "whole")]
pub mod still;
#[cfg(feature = "whole")]
pub mod turns;

/// One figure with what it is held against.
pub struct Figure {
    /// The name of the benchmark.
    pub bench: &'static str,
    /// Which of several figures of it; none where there is one.
    pub part: Option<String>,
    /// What was measured of ours, the median.
    pub ours: f64,
    /// What it is compared with; none where the reference program is missing.
    pub reference: Option<f64>,
    /// Unit of both.
    pub unit: &'static str,
    /// The ratio of the two, or to what has a target.
    pub ratio: Option<f64>,
    /// What the ratio should be; none where the figure is only told.
    pub target: Option<f64>,
    /// Whether it is; true without a target.
    pub pass: bool,
    /// Measurements behind the median.
    pub runs: usize,
    /// On what.
    pub machine: String,
    /// Further figures in the same unit, for people.
    pub notes: Vec<(&'static str, f64)>,
}

impl Figure {
    /// Prints it; the exit code says whether it passes.
    #[must_use]
    pub fn tell(&self, as_json: bool) -> ExitCode {
        let reference = self.reference.map_or_else(|| "none".to_owned(), |one| one.to_string());
        let (bench, ours, unit) = (self.bench, self.ours, self.unit);
        let part = self.part.as_deref().map_or(String::new(), |part| format!(" ({part})"));
        let ratio = self.ratio.map_or_else(|| "none".to_owned(), |ratio| format!("{ratio:.3}"));
        out!("{bench}{part}: {ours:.3} {unit} (reference {reference}), ratio {ratio}");
        for (name, value) in &self.notes {
            out!("  {name}: {value:.2} {unit}");
        }
        out!("  {} runs on {}", self.runs, self.machine);
        if as_json {
            out!("{}", self.json());
        }
        ended(self.pass)
    }

    fn json(&self) -> Value {
        let mut figure = json!({
            "bench": self.bench, "ours": self.ours, "reference": self.reference,
            "unit": self.unit, "ratio": self.ratio, "target": self.target, "pass": self.pass,
            "runs": self.runs, "machine": self.machine,
        });
        if let Some(part) = &self.part {
            figure["part"] = json!(part);
        }
        figure
    }
}

fn ended(pass: bool) -> ExitCode {
    finished(if pass { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints the figures of a benchmark with several targets: in JSON one object, that of the first
/// figure with all of them as `parts`. It passes when all do.
#[must_use]
pub fn tell_parts(parts: &[Figure], as_json: bool) -> ExitCode {
    let pass = !parts.is_empty() && parts.iter().all(|part| part.pass);
    if as_json {
        let mut whole = parts.first().map_or(Value::Null, Figure::json);
        if let Value::Object(whole) = &mut whole {
            whole.insert("pass".to_owned(), json!(pass));
            whole.insert("parts".to_owned(), parts.iter().map(Figure::json).collect());
        }
        out!("{whole}");
    } else {
        for part in parts {
            let _ = part.tell(false);
        }
    }
    ended(pass)
}

/// Whether `--json` or `--output json` was asked for.
#[must_use]
pub fn wants_json() -> bool {
    let arguments: Vec<String> = std::env::args().collect();
    arguments.iter().any(|one| one == "--json" || one == "--output=json")
        || arguments.windows(2).any(|two| two == ["--output", "json"])
}

/// The processor and the number of cores.
#[must_use]
pub fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name"));
    let name = model.and_then(|rest| rest.split_once(": ")).map_or("unknown", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{cores} cores of {name}")
}

/// The figure that has this share of all below it: 0.5 is the median.
///
/// # Errors
/// There are no figures.
pub fn quantile(figures: &[f64], share: f64) -> Result<f64, String> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1).ok_or("nothing was measured")?;
    Ok(sorted[(last as f64 * share).round() as usize])
}
