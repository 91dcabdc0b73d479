//! A federation that its operator stops and starts again: no client has to be restarted for it.

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
