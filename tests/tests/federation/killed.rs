//! Processes that die at any moment and start again from their files: the federation finishes, and
//! its model is exact.

use std::time::Duration;

use roundelay_tests::harness::wait_until;

use crate::plain::{exported, fedavg, trained};
use crate::small::Small;

/// Before or after the commit of what the coordinator learns in each stage.
const STAGES: [&str; 5] = [
    "round.advertise_keys.after",
    "round.share_keys.before",
    "round.masked_input.after",
    "round.consistency_check.before",
    "round.unmasking.after",
];

#[test]
fn a_coordinator_killed_in_every_stage_starts_again_and_its_model_is_exact() {
    // Nobody may be missing in a sum, so that the sum can be told from outside.
    let mut small = Small::found_whole(3, 10);
    small.federation.sites.iter_mut().for_each(|site| site.start().expect("a client starts"));
    let id = small.federation.id.clone();
    small.federation.coordinator.verb(&["federation", "start", &id]).expect("it starts");
    for stage in STAGES {
        let coordinator = &mut small.federation.coordinator;
        coordinator.kill();
        // It may die before it says that it is ready.
        let started = coordinator.start_again_with(&[("ROUNDELAY_FAILPOINT", stage)]);
        let died = wait_until(Duration::from_secs(30), || coordinator.ended().then_some(()));
        let told = format!("{started:?} {}", coordinator.log_tail());
        let rounds = small.federation.coordinator.verb(&["rounds", &id]);
        let status = small.federation.coordinator.verb(&["federation", "status", &id]);
        assert!(died.is_some(), "{stage} was not reached\n{rounds:#?} {status:#?}\n{told}");
        assert!(told.contains(&format!("failpoint {stage} reached")), "{stage}: {told}");
    }
    small.federation.coordinator.kill();
    small.federation.coordinator.start_again().expect("it starts again");
    small.federation.watch(&mut |_| {}).expect("it finishes");
    small.all_models_agree();
    assert_eq!(exported(&small), fedavg(&small, &trained(&small, None)), "the same bits");
}

#[test]
fn a_coordinator_killed_by_sigkill_again_and_again_still_finishes_every_round() {
    let mut small = Small::found(3, 12, false);
    small.federation.start().expect("it starts");
    for pause in [150, 350, 80, 500, 220] {
        std::thread::sleep(Duration::from_millis(pause));
        small.federation.coordinator.kill();
        small.federation.coordinator.start_again().expect("it starts again");
    }
    small.federation.watch(&mut |_| {}).expect("it finishes");
    small.all_models_agree();
}

/// Before and after the records that a client makes durable ahead of what it sends in each stage,
/// around its masked vector, and where it has derived the result.
const PLACES: [&str; 10] = [
    "history.advertised.after",
    "history.shared.before",
    "history.shared.after",
    "masked.after",
    "history.uploading.before",
    "history.uploading.after",
    "history.signed.before",
    "history.signed.after",
    "history.revealed.after",
    "history.stands.after",
];

/// The tenant whose client is killed.
const KILLED: usize = 1;

/// Kills the client in each of these places, after so many more rounds each time, and lets the
/// federation finish.
fn kill_in_each_place(small: &mut Small, rounds_between: u64) {
    small.federation.start().expect("it starts");
    for place in PLACES {
        small.goes_on(rounds_between);
        let site = &mut small.federation.sites[KILLED];
        site.kill();
        site.start_with(&[("ROUNDELAY_FAILPOINT", place)]).expect("a client starts");
        let died = wait_until(Duration::from_secs(30), || site.ended().then_some(()));
        let told = site.log_tail();
        assert!(died.is_some(), "{place} was not reached\n{told}");
        assert!(told.contains(&format!("failpoint {place} reached")), "{place}: {told}");
        site.start().expect("a client starts");
    }
    small.federation.watch(&mut |_| {}).expect("it finishes");
    small.all_models_agree();
}

#[test]
fn a_client_killed_in_every_stage_comes_back_and_the_sums_are_exact_with_it_and_without() {
    let mut small = Small::found(4, 60, false);
    kill_in_each_place(&mut small, 0);
    let rounds = trained(&small, Some(KILLED));
    assert!(rounds.iter().any(|round| round.tenants.len() == 4), "{rounds:?}");
    assert_eq!(exported(&small), fedavg(&small, &rounds), "the same bits");
}

#[test]
fn a_client_killed_in_every_stage_costs_three_members_rounds_and_nothing_else() {
    // Three members bear no dropout: each death ends the round, which is tried again, and where
    // its survivor set was shown, over that very set.
    let mut small = Small::found(3, 100, false);
    kill_in_each_place(&mut small, 1);
    assert_eq!(exported(&small), fedavg(&small, &trained(&small, None)), "the same bits");
}

#[test]
fn a_client_that_is_stopped_finishes_what_others_count_on_so_that_three_members_go_on() {
    // With three members nobody may be missing once a survivor set was shown.
    let mut small = Small::found(3, 80, false);
    small.federation.start().expect("it starts");
    for stop in 0..6 {
        std::thread::sleep(Duration::from_millis(300 + 37 * stop));
        let site = &mut small.federation.sites[KILLED];
        assert!(site.terminate(Duration::from_secs(20)), "{}", site.log_tail());
        site.start().expect("a client starts");
    }
    let state = small.federation.status().expect("a status");
    assert_eq!(state["engine"]["reason"], serde_json::Value::Null, "{state:#}");
    small.federation.watch(&mut |_| {}).expect("it finishes");
    small.all_models_agree();
}
