//! What the demo is asked to do.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use roundelay_program::Output;

/// Tenants' processes train one model together through a coordinator that only ever holds masked
/// vectors. Everything runs on this machine, over loopback, in a folder of its own.
#[derive(Debug, Clone, Parser)]
#[command(name = "cargo xtask demo")]
pub struct Options {
    /// Folder of IDX files as MNIST has them (train-…, t10k-…, gzip or not) instead of the digits
    /// table.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Number of tenants, each with one client process.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(3..=100))]
    pub clients: u16,
    /// Training rounds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Dirichlet concentration of the split by label: small is uneven.
    #[arg(long, default_value_t = 0.5, value_parser = concentration, allow_negative_numbers = true)]
    pub alpha: f64,
    /// Architecture.
    #[arg(long, value_enum, default_value_t = Model::Mlp)]
    pub model: Model,
    /// Seed of the split and of the training.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where to write the report page.
    #[arg(long, value_name = "FILE", default_value = "demo-report.html")]
    pub report: PathBuf,
    /// Keep the folder of the run (certificates, stores, logs) instead of deleting it.
    #[arg(long)]
    pub keep: bool,
    /// How result and errors are written; `json` ends with one JSON line.
    #[arg(long, value_enum, default_value_t = Output::Human)]
    pub output: Output,
    /// Read the options, look for the data, and end.
    #[arg(long, hide = true)]
    pub check: bool,
}

/// Architectures of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Model {
    /// Softmax regression.
    Softmax,
    /// One hidden layer of 200.
    Mlp,
    /// Two convolutions; for pictures.
    Cnn,
}

impl Model {
    /// As the page and the table name it.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Softmax => "softmax regression",
            Self::Mlp => "an MLP",
            Self::Cnn => "a CNN",
        }
    }

    /// Whether it can be trained on the digits table.
    ///
    /// # Errors
    /// For the CNN, which wants pictures.
    pub fn check_digits(self) -> Result<(), String> {
        match self {
            Self::Softmax | Self::Mlp => Ok(()),
            Self::Cnn => {
                Err("the CNN is for pictures; give a folder of IDX files with --data".into())
            }
        }
    }
}

fn concentration(text: &str) -> Result<f64, &'static str> {
    let wrong = "the concentration is a finite number above 0, such as 0.5";
    text.parse().ok().filter(|alpha: &f64| alpha.is_finite() && *alpha > 0.0).ok_or(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_concentration_that_is_no_finite_number_above_0_is_refused() {
        let parse = |alpha| Options::try_parse_from(["demo", "--alpha", alpha]);
        for alpha in ["0", "-1", "-0.5", "nan", "inf", "x"] {
            let error = parse(alpha).unwrap_err().to_string();
            assert!(error.contains("above 0"), "{alpha}: {error}");
        }
        assert_eq!(parse("0.5").unwrap().alpha, 0.5);
    }
}
