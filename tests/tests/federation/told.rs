//! What a client hears that is needed no more: it was expelled, its federation has finished, or its
//! tenant has left. It says so in one line and ends.

use std::path::Path;
use std::time::Duration;

use roundelay_tests::harness::wait_until;

use crate::small::Small;

/// The tenant whose disk fails.
const FAILING: usize = 3;

#[test]
fn a_client_whose_disk_changed_what_it_sends_is_expelled_told_why_and_ends_and_the_others_go_on() {
    let mut small = Small::found(4, 6, false);
    // Round 1 got its training plan, and its masked vectors; none of them is in a durable sum.
    let place = "round.masked_input.before:2";
    let coordinator = &mut small.federation.coordinator;
    coordinator.kill();
    coordinator.start_again_with(&[("ROUNDELAY_FAILPOINT", place)]).expect("it starts again");
    small.federation.start().expect("it starts");
    let coordinator = &mut small.federation.coordinator;
    let died = wait_until(Duration::from_secs(30), || coordinator.ended().then_some(()));
    assert!(died.is_some(), "{place} was not reached: {}", coordinator.log_tail());
    let site = &small.federation.sites[FAILING];
    let folder = site.folder().join("federations").join(&small.federation.id);
    assert!(flip_masked(&folder) > 0, "a masked vector waits in {}", folder.display());
    small.federation.coordinator.kill();
    small.federation.coordinator.start_again().expect("it starts again");

    let site = &mut small.federation.sites[FAILING];
    let status = wait_until(Duration::from_secs(60), || site.exit_status());
    let error = site.log_tail();
    assert_eq!(status, Some(6), "{error}\n{}", small.logs());
    let last = error.lines().last().unwrap_or_default();
    let words = ["expelled", "does not match its signed root", "start this client again"];
    assert!(words.iter().all(|word| last.contains(word)), "{last}");
    small.federation.watch(&mut |_| {}).expect("the others finish");
}

/// Changes one bit of every masked vector in the folder of a federation; how many there are.
fn flip_masked(folder: &Path) -> usize {
    let files = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    let masked = files.filter(|path| path.extension().is_some_and(|it| it == "masked"));
    masked
        .map(|path| {
            let mut bytes = std::fs::read(&path).expect("a masked vector");
            bytes[0] ^= 1;
            std::fs::write(&path, bytes).expect("it is written");
        })
        .count()
}

#[test]
fn a_client_of_a_federation_that_has_finished_says_so_and_needs_no_data_for_it() {
    let mut small = Small::found(3, 1, false);
    small.run_to_the_end();
    small.all_models_agree();
    let finished = "the federation has finished: it has no further rounds";
    let site = &mut small.federation.sites[0];
    let over = wait_until(Duration::from_secs(20), || {
        let status = site.verb(&["status"]).ok()?;
        (status["last"]["federations"][0]["over"] == finished).then_some(())
    });
    assert!(over.is_some(), "{:?}", site.verb(&["status"]));
    assert!(site.terminate(Duration::from_secs(20)), "it ends");
    let over = |site: &roundelay_tests::harness::Site| {
        let ended = site.verb(&["run", "--once", "--deadline", "20"]).expect("nothing is left");
        assert_eq!(ended["federations"][0]["over"], finished, "{ended}");
    };
    let site = &small.federation.sites[0];
    over(site);
    std::fs::remove_file(small.rows[0].join("data.csv")).expect("the data goes");
    over(site);
    std::fs::remove_file(site.folder().join("client.toml")).expect("its place is forgotten");
    over(site);
    // Without a coordinator, too.
    small.federation.coordinator.kill();
    over(&small.federation.sites[0]);
}
