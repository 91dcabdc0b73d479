//! A coordinator that moves: its clients follow a signed redirect to its successor.

use std::net::UdpSocket;
use std::time::Duration;

use roundelay_tests::harness::{Coordinator, Programs, wait_until};

use crate::small::{Small, copy};

#[test]
fn clients_follow_a_coordinator_that_stops_to_its_successor_and_rounds_go_on_there() {
    let free = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let successor = free.local_addr().expect("an address").to_string();
    drop(free);
    let config = format!("successor = \"{successor}\"\n");
    let mut small = Small::found_with(3, 100_000, false, &config);
    small.federation.start().expect("it starts");
    small.goes_on(2);
    let before = small.version();
    let coordinator = &mut small.federation.coordinator;
    assert!(coordinator.terminate(Duration::from_secs(30)), "it ends by itself, and in time");
    let (old, new) = (coordinator.folder().to_owned(), small.folder.path().join("successor"));
    copy(&old, &new);
    let programs = Programs::find().expect("programs");
    let next = Coordinator::start_at(&programs, &new, &successor).expect("it serves");
    small.federation.coordinator = next;
    assert!(small.version() >= before, "what was published is there");
    small.goes_on(3);
    for site in &small.federation.sites {
        let there = wait_until(Duration::from_secs(20), || {
            let status = site.verb(&["status"]).ok()?;
            (status["coordinator"] == successor.as_str()).then_some(())
        });
        assert!(there.is_some(), "{}", site.log_tail());
    }
}
