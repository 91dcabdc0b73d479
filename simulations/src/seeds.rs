//! Many seeds on all cores. Each run is on one thread and knows nothing of the others, so the
//! number of threads changes nothing but the time.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::population::PopulationError;
use crate::report::{Report, Summary};
use crate::scenario::{Choices, Scenario};
use crate::world::World;

/// Runs one seed. `keeps_lines`: the log's lines come with the report.
///
/// # Errors
/// The choices leave no federation.
pub fn run(seed: u64, choices: &Choices) -> Result<Report, PopulationError> {
    Ok(World::new(Scenario::draw(seed, choices), false)?.run())
}

/// Runs all seeds of a range and adds them up; `each` hears of every report, in no order.
///
/// # Errors
/// The choices leave no federation.
pub fn run_all(
    seeds: std::ops::Range<u64>,
    choices: &Choices,
    threads: usize,
    each: impl Fn(&Report) + Sync,
) -> Result<Summary, PopulationError> {
    let next = AtomicU64::new(seeds.start);
    let summary = Mutex::new(Ok(Summary::default()));
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= seeds.end {
            return;
        }
        let report = run(seed, choices);
        let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
        match (&mut *summary, report) {
            (Ok(summary), Ok(report)) => {
                summary.add(&report);
                each(&report);
            }
            (summary @ Ok(_), Err(error)) => *summary = Err(error),
            (Err(_), _) => return,
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(work);
        }
    });
    summary.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The command that tells what happens in a seed.
#[must_use]
pub fn replay_command(seed: u64, choices: &Choices) -> String {
    let mut command = format!("cargo run -p roundelay-simulations -- replay {seed}");
    let mut option = |name: &str, value: Option<String>| {
        command.extend(value.map(|value| format!(" --{name} {value}")));
    };
    option("clients", choices.clients.map(|clients| clients.to_string()));
    option("rounds", choices.rounds.map(|rounds| rounds.to_string()));
    option("bug", choices.bug.map(|bug| bug.to_string()));
    command
}
