//! A federation without rounds, because its operator stopped it or because too many have failed: no
//! client has to be restarted once it is started again.

use std::time::Duration;

use roundelay_tests::harness::wait_until;

use crate::small::Small;

#[test]
fn clients_take_part_again_in_a_federation_that_was_stopped_and_started() {
    // A sum lacks nobody: a single client that stays away would be seen.
    let mut small = Small::found_whole(3, 100_000);
    small.federation.start().expect("it starts");
    small.goes_on(1);
    stop(&small);
    small.federation.coordinator.verb(&["federation", "start", &small.federation.id]).expect("on");
    small.goes_on(2);

    // A coordinator that dies meanwhile does not change that.
    stop(&small);
    small.federation.coordinator.kill();
    small.federation.coordinator.start_again().expect("it starts again");
    tell(&small, "stopped");
    small.federation.coordinator.verb(&["federation", "start", &small.federation.id]).expect("on");
    small.goes_on(2);
}

#[test]
fn a_federation_that_stalls_is_told_to_its_operator_and_its_members_and_may_be_started_again() {
    let config = "[rounds]\nfailures_max = 2\nretry_ms = 100\n";
    let mut small = Small::found_whole_with(3, 100_000, config);
    small.federation.start().expect("it starts");
    small.goes_on(1);
    // It dies in every round that it takes part in.
    small.federation.sites[2].kill();
    let is_stalled = |small: &Small| {
        let status = small.federation.status().expect("a status");
        status["federation"]["state"] == "stalled"
    };
    let stalled = wait_until(Duration::from_secs(60), || {
        let site = &mut small.federation.sites[2];
        if site.ended() {
            let dies = ("ROUNDELAY_FAILPOINT", "history.uploading.after");
            site.start_with(&[dies]).expect("a client starts");
        }
        is_stalled(&small).then_some(())
    });
    assert!(stalled.is_some(), "{:#?}", small.federation.status());
    small.federation.sites[2].kill();
    let (status, line) = small.federation.sites[2].fails(&["run", "--once", "--deadline", "20"]);
    assert!(status == 6 && line.contains("has stalled"), "{status}: {line}");
    small.federation.sites[2].start().expect("a client starts");
    tell(&small, "stalled");
    small.federation.coordinator.verb(&["federation", "start", &small.federation.id]).expect("on");
    small.goes_on(2);
}

/// Stops the federation, and waits until every client says so.
fn stop(small: &Small) {
    small.federation.coordinator.verb(&["federation", "stop", &small.federation.id]).expect("off");
    tell(small, "stopped");
}

fn tell(small: &Small, stage: &str) {
    for site in &small.federation.sites {
        let told = wait_until(Duration::from_secs(30), || {
            let status = site.verb(&["status"]).ok()?;
            let is_connected = status["last"]["connected"] == true;
            let is_told = status["last"]["federations"][0]["stage"] == stage;
            (is_connected && is_told).then_some(())
        });
        assert!(told.is_some(), "{}: {:?}\n{}", site.name(), site.verb(&["status"]), small.logs());
    }
}
