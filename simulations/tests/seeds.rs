//! A thousand fixed seeds, the same ones on every run, and mistakes that they have to find.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use roundelay_simulations::bug::Bug;
use roundelay_simulations::report::Summary;
use roundelay_simulations::scenario::Choices;
use roundelay_simulations::seeds::{self, replay_command};
use roundelay_simulations::watch::Tally;

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn run_all(seeds: Range<u64>, choices: &Choices, threads: usize) -> Summary {
    seeds::run_all(seeds, choices, threads, |_| {}).unwrap()
}

#[test]
fn a_thousand_seeds_end_in_exact_sums_or_clean_aborts() {
    let choices = Choices::default();
    let summary = run_all(0..1000, &choices, threads());
    let told: Vec<String> = summary
        .violations
        .iter()
        .map(|(seed, what)| {
            format!("seed {seed} violates {what}\n  {}", replay_command(*seed, &choices))
        })
        .collect();
    assert!(told.is_empty(), "{}", told.join("\n"));

    // Seeds in which nothing happens would prove nothing.
    let tally = &summary.tally;
    assert_eq!((summary.seeds, summary.finished + summary.stalled), (1000, 1000));
    assert!(summary.finished > 990, "{summary:?}");
    assert!(tally.published > 2_000 && tally.dropouts > 500, "{tally:?}");
    assert!(tally.coordinator_crashes > 300 && tally.client_crashes > 300, "{tally:?}");
    assert!(tally.connections_lost > 1_000, "{tally:?}");
    for stage in
        ["AdvertiseKeys", "ShareKeys", "Prepared", "MaskedInput", "ConsistencyCheck", "Unmasking"]
    {
        let aborted = tally.aborted.get(&format!("too few clients in {stage}"));
        assert!(aborted.is_some_and(|count| *count > 0), "no round failed in {stage}: {tally:?}");
    }
}

#[test]
fn a_seed_has_one_story_whoever_tells_it_and_on_however_many_threads() {
    let choices = Choices::default();
    for seed in 0..5 {
        let (one, other) =
            (seeds::run(seed, &choices, None).unwrap(), seeds::run(seed, &choices, None).unwrap());
        assert_eq!(one, other);
    }
    assert_ne!(
        seeds::run(0, &choices, None).unwrap().log,
        seeds::run(1, &choices, None).unwrap().log
    );
    let alone = run_all(0..8, &choices, 1);
    assert_eq!(run_all(0..8, &choices, 5), alone);
    assert_ne!(run_all(1..9, &choices, 1).log, alone.log);
}

/// The first seed below `seeds_max` in which something does not hold.
fn found(bug: Bug, seeds_max: u64) -> Option<(u64, &'static str)> {
    let choices = Choices { bug: Some(bug), ..Choices::default() };
    let (next, first) = (AtomicU64::new(0), AtomicU64::new(seeds_max));
    let search = || {
        let mut found = None;
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first.load(Ordering::Relaxed) {
                return found;
            }
            if let Some(violation) = seeds::run(seed, &choices, None).unwrap().violation {
                first.fetch_min(seed, Ordering::Relaxed);
                found = Some((seed, violation.invariant));
            }
        }
    };
    std::thread::scope(|scope| {
        let searches: Vec<_> = (0..threads()).map(|_| scope.spawn(search)).collect();
        searches.into_iter().filter_map(|one| one.join().unwrap()).min()
    })
}

#[test]
fn every_planted_mistake_is_found_within_some_hundred_seeds() {
    for bug in Bug::ALL {
        let found = found(bug, 400);
        println!("{bug}: {found:?}");
        assert!(found.is_some(), "{bug} was not found");
    }
}

#[test]
fn larger_cohorts_and_more_rounds_come_to_their_end_too() {
    let choices = Choices { clients: Some(9), rounds: Some(4), ..Choices::default() };
    let summary = run_all(0..3, &choices, threads());
    assert!(summary.violations.is_empty(), "{:?}", summary.violations);
}

#[test]
fn a_coordinator_restored_from_an_older_backup_goes_on_where_its_clients_are() {
    let choices = Choices { restores: true, rounds: Some(5), ..Choices::default() };
    let summary = run_all(20..40, &choices, threads());
    assert!(summary.violations.is_empty(), "{:?}", summary.violations);
    // Each is restored once, is given one model back, and comes to its end with all five, though in
    // some the clients had uploaded over it in a cohort that the coordinator has forgotten.
    assert_eq!(summary.finished, 20, "{summary:?}");
    let Tally { restored, recovered, .. } = summary.tally;
    assert_eq!((restored, recovered), (20, 20), "{:?}", summary.tally);
}

#[test]
fn a_federation_that_can_not_be_is_refused_in_words() {
    let choices = Choices { clients: Some(2), ..Choices::default() };
    let error = seeds::run(0, &choices, None).unwrap_err().to_string();
    assert!(error.contains("3 to 512 clients, not 2"), "{error}");
}
