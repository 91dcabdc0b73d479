//! Processes that die at any moment and start again from their files: the federation finishes, and
//! its model is exact.

use std::time::Duration;

use roundelay_tests::harness::wait_until;

use crate::small::Small;

/// Every batch of persisted facts is one commit; a round makes a handful of them. So these hits
/// fall before and after writes of every stage, of statistics and train rounds.
const COMMITS: [u32; 4] = [1, 4, 7, 12];

#[test]
fn a_coordinator_killed_at_any_commit_starts_again_and_finishes() {
    let mut small = Small::found(3, 20, true);
    small.federation.sites.iter_mut().for_each(|site| site.start().expect("a client starts"));
    let id = small.federation.id.clone();
    small.federation.coordinator.verb(&["federation", "start", &id]).expect("it starts");
    let mut died = 0;
    for (place, hit) in COMMITS.into_iter().enumerate() {
        let name = ["store.commit.before", "store.commit.after"][place % 2];
        small.federation.coordinator.kill();
        let armed = format!("{name}:{hit}");
        // It may die while it starts: that is a commit too.
        let _ = small.federation.coordinator.start_again_with(&[("ROUNDELAY_FAILPOINT", &armed)]);
        let limit = Duration::from_secs(30);
        died += u32::from(
            wait_until(limit, || small.federation.coordinator.ended().then_some(())).is_some(),
        );
    }
    assert!(died >= 3, "only {died} of {} armed commits were reached", COMMITS.len());
    small.federation.coordinator.kill();
    small.federation.coordinator.start_again().expect("it starts again");
    small.federation.watch(&mut |_| {}).expect("it finishes");
    all_models_agree(&small);
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
    all_models_agree(&small);
}

/// Before and after the records that a client makes durable ahead of what it sends in each stage,
/// around its masked vector, and where it has derived the result.
const PLACES: [&str; 9] = [
    "history.advertised.after",
    "history.shared.before",
    "masked.after",
    "history.uploading.before",
    "history.uploading.after",
    "history.signed.before",
    "history.signed.after",
    "history.revealed.after",
    "history.stands.after",
];

#[test]
fn a_client_killed_before_any_step_of_a_round_comes_back_and_the_others_finish() {
    let mut small = Small::found(4, 30, false);
    small.federation.start().expect("it starts");
    let mut died = 0;
    for place in PLACES {
        let site = &mut small.federation.sites[1];
        site.kill();
        site.start_with(&[("ROUNDELAY_FAILPOINT", place)]).expect("a client starts");
        let limit = Duration::from_secs(20);
        died += u32::from(wait_until(limit, || site.ended().then_some(())).is_some());
    }
    assert!(died >= 6, "only {died} of {} armed places were reached", PLACES.len());
    small.federation.sites[1].start().expect("a client starts");
    small.federation.watch(&mut |_| {}).expect("it finishes");
    all_models_agree(&small);
}

/// Every client has derived the last version that the coordinator published. A client that derives
/// another state than the announced one refuses to go on, so an equal version is an equal model.
fn all_models_agree(small: &Small) {
    let id = &small.federation.id;
    let models = small.federation.coordinator.verb(&["model", "list", id]).expect("models");
    let newest = models.as_array().and_then(|all| all.last()).expect("a model").clone();
    assert_eq!(newest["version"], small.task.rounds, "{models}");
    for site in &small.federation.sites {
        let derived = wait_until(Duration::from_secs(20), || {
            let status = site.verb(&["status"]).ok()?;
            (status["last"]["federations"][0]["version"] == newest["version"]).then_some(())
        });
        let status = site.verb(&["status"]);
        assert!(derived.is_some(), "{}: {status:?} against {newest}", site.name());
    }
}
