//! What the benches of crypto's kernels share: a clock that stands still while the machine does
//! other things, rivals measured in turn, and how fast the processor runs.

use std::hint::black_box;

use rustix::time::{ClockId, clock_gettime};

/// Seconds that this thread has computed for.
#[must_use]
pub fn seconds() -> f64 {
    read(ClockId::ThreadCPUTime)
}

/// Seconds that all threads of this process have computed for.
#[must_use]
pub fn process_seconds() -> f64 {
    read(ClockId::ProcessCPUTime)
}

fn read(clock: ClockId) -> f64 {
    let now = clock_gettime(clock);
    now.tv_sec as f64 + now.tv_nsec as f64 * 1e-9
}

/// Seconds that `work` computes for.
pub fn timed(work: &mut dyn FnMut()) -> f64 {
    let start = seconds();
    work();
    seconds() - start
}

/// Runs rivals in turn, once to warm up and `runs` times more. Returns each one's seconds.
pub fn in_turn(runs: usize, rivals: &mut [&mut dyn FnMut() -> f64]) -> Vec<Vec<f64>> {
    let mut took = vec![Vec::with_capacity(runs); rivals.len()];
    for run in 0..=runs {
        for (rival, took) in rivals.iter_mut().zip(&mut took) {
            let seconds = rival();
            if run > 0 {
                took.push(seconds);
            }
        }
    }
    took
}

/// The one in the middle.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Cycles per second while this runs, from a chain of multiplications and additions, each of which
/// waits for the one before: 3 + 1 cycles on every x86-64 of the last ten years.
#[must_use]
pub fn hertz() -> f64 {
    const STEPS: u32 = 4_000_000;
    const STEP_CYCLES: f64 = 4.0;
    let mut chain = || {
        let mut value = black_box(1_u64);
        let (factor, term) = (black_box(0x5851_f42d_4c95_7f2d), black_box(1));
        for _ in 0..STEPS {
            value = value.wrapping_mul(factor).wrapping_add(term);
        }
        black_box(value);
    };
    chain();
    let best = (0..5).map(|_| timed(&mut chain)).fold(f64::MAX, f64::min);
    f64::from(STEPS) * STEP_CYCLES / best
}
