//! The verbs of `roundelay-simulate`: `run` tries many seeds, `replay` tells what happened in one.

use std::io::{self, IsTerminal, Write};
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::{Args, Parser, Subcommand};
use roundelay_program::{Failure, Output, note, say, tell};
use roundelay_protocol::exit::Kind;

use crate::bug::Bug;
use crate::scenario::{Choices, Scenario};
use crate::seeds::{self, RunError};

/// Runs federations in virtual time: the real machines, a network and faults from a seed.
#[derive(Debug, Parser)]
#[command(name = "roundelay-simulate", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run every seed of a range; each must end in exact sums or clean aborts.
    Run {
        /// Seeds `A..B`, B left out.
        #[arg(long, default_value = "0..1000", value_parser = parse_seeds)]
        seeds: Range<u64>,
        #[command(flatten)]
        chosen: Chosen,
        /// Threads; all cores if left out. Results do not depend on it.
        #[arg(long)]
        threads: Option<usize>,
    },
    /// Tell, event by event, what happens in one seed.
    Replay {
        /// The seed.
        seed: u64,
        #[command(flatten)]
        chosen: Chosen,
    },
}

#[derive(Debug, Clone, Copy, Args)]
struct Chosen {
    /// Clients of every federation, instead of 3 to 6.
    #[arg(long)]
    clients: Option<usize>,
    /// Train rounds of every federation, instead of 1 to 2.
    #[arg(long)]
    rounds: Option<u32>,
    /// Restore the coordinator once from an older backup; nothing else goes wrong.
    #[arg(long)]
    restores: bool,
    /// Plant a mistake in the simulator's drivers, to see whether it is found.
    #[arg(long, value_enum)]
    bug: Option<Bug>,
    /// How results are printed.
    #[arg(long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

impl Chosen {
    fn choices(&self) -> Choices {
        let Self { clients, rounds, restores, bug, .. } = *self;
        Choices { clients, rounds, restores, bug }
    }
}

fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("seeds are a range A..B")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("`{text}`: {error}"));
    let seeds = number(from)?..number(to)?;
    if seeds.is_empty() { Err("the range holds no seed".into()) } else { Ok(seeds) }
}

/// Runs the command line.
#[must_use]
pub fn main() -> ExitCode {
    roundelay_program::main(|cli: Cli| {
        let (output, done) = match cli.verb {
            Verb::Run { seeds, chosen, threads } => (chosen.output, run(seeds, chosen, threads)),
            Verb::Replay { seed, chosen } => (chosen.output, replay(seed, chosen)),
        };
        match done {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => Failure::new(Kind::Invalid, "scenario", error).tell(output),
        }
    })
}

fn run(seeds: Range<u64>, chosen: Chosen, threads: Option<usize>) -> Result<bool, RunError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (total, done) = (seeds.end - seeds.start, AtomicU64::new(0));
    let shows = io::stderr().is_terminal();
    let summary = seeds::run_all(seeds, &chosen.choices(), threads.unwrap_or(cores), |report| {
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if shows && (done == total || done.is_multiple_of(10)) {
            // Where nobody can see it, it is not missed.
            let _ = write!(io::stderr(), "\r{done} of {total} seeds");
        }
        if let Some(violation) = &report.violation {
            note!("\rseed {}: {violation}", report.seed);
        }
    })?;
    if shows {
        note!("");
    }
    match chosen.output {
        Output::Json => say(&summary),
        Output::Human => {
            lines(&summary.to_string());
            summary.violations.keys().for_each(|seed| {
                tell!("replay: {}", seeds::replay_command(*seed, &chosen.choices()));
            });
        }
    }
    Ok(summary.violations.is_empty())
}

fn replay(seed: u64, chosen: Chosen) -> Result<bool, RunError> {
    let choices = chosen.choices();
    let report = match chosen.output {
        Output::Json => {
            let report = seeds::run(seed, &choices, None)?;
            say(&report);
            report
        }
        Output::Human => {
            say(&Scenario::draw(seed, &choices));
            let report = seeds::run(seed, &choices, Some(Box::new(lines)))?;
            lines(&report.to_string());
            report
        }
    };
    Ok(report.violation.is_none())
}

fn lines(text: &str) {
    text.lines().for_each(|line| tell!("{line}"));
}
