//! Many seeds on all cores. Each run is on one thread and knows nothing of the others, so the
//! number of threads changes nothing but the time.

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use crate::population::PopulationError;
use crate::report::{Report, Summary};
use crate::scenario::{Choices, Scenario};
use crate::watch::OnLine;
use crate::world::World;

/// Why seeds can't be run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The choices leave no federation.
    #[error("no such federation can be simulated: {0}")]
    Population(#[from] PopulationError),
    /// There are no threads.
    #[error("no threads to run on: {0}")]
    Threads(#[from] ThreadPoolBuildError),
}

/// Runs one seed; `on_line` reads its log while it is written. A panic is a violation.
///
/// # Errors
/// The choices leave no federation.
pub fn run(seed: u64, choices: &Choices, on_line: Option<OnLine>) -> Result<Report, RunError> {
    let scenario = Scenario::draw(seed, choices);
    let world = World::new(scenario.clone(), on_line)?;
    // Nothing of a world that panicked is looked at again.
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    Ok(ended.unwrap_or_else(|panic| Report::panicked(&scenario, words(&*panic))))
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words")
}

/// Runs all seeds of a range on so many threads and adds them up; `each` hears of every report, in
/// no order.
///
/// # Errors
/// The choices leave no federation, or there are no threads.
pub fn run_all(
    seeds: Range<u64>,
    choices: &Choices,
    threads: usize,
    each: impl Fn(&Report) + Sync,
) -> Result<Summary, RunError> {
    let next = AtomicU64::new(seeds.start);
    let summary = Mutex::new(Ok(Summary::default()));
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= seeds.end {
            return;
        }
        let report = run(seed, choices, None);
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
    let pools = pools(threads)?;
    std::thread::scope(|scope| {
        for pool in &pools {
            scope.spawn(|| pool.install(work));
        }
    });
    summary.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Pools of one thread: the engines' own parallel work stays on the thread of its run.
fn pools(threads: usize) -> Result<Vec<ThreadPool>, ThreadPoolBuildError> {
    (0..threads.max(1)).map(|_| ThreadPoolBuilder::new().num_threads(1).build()).collect()
}

/// The command that tells what happens in a seed.
#[must_use]
pub fn replay_command(seed: u64, choices: &Choices) -> String {
    let mut command = format!("cargo run -p roundelay-simulations -- replay {seed}");
    let mut option = |name: &str, value: Option<String>| {
        command.extend(value.map(|value| format!(" --{name}{value}")));
    };
    option("clients", choices.clients.map(|clients| format!(" {clients}")));
    option("rounds", choices.rounds.map(|rounds| format!(" {rounds}")));
    option("restores", choices.restores.then(String::new));
    option("bug", choices.bug.map(|bug| format!(" {bug}")));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_in_its_own_words() {
        let panic = |work: fn()| catch_unwind(work).unwrap_err();
        assert_eq!(words(&*panic(|| panic!("of a kind"))), "of a kind");
        assert_eq!(words(&*panic(|| panic!("of {}", 3))), "of 3");
        assert_eq!(words(&*panic(|| std::panic::panic_any(7))), "a panic without words");
    }

    #[test]
    fn the_command_that_replays_a_seed_has_every_choice() {
        let bug = Some(crate::bug::Bug::LostHistory);
        let choices = Choices { clients: Some(9), rounds: None, restores: true, bug };
        let command = replay_command(12, &choices);
        let end = "-- replay 12 --clients 9 --restores --bug lost-history";
        assert!(command.ends_with(end), "{command}");
    }
}
