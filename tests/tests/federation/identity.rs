//! Certificates over their lives, with real processes: renewed, revoked, expired; and tokens that
//! are no good.

use std::time::{Duration, Instant};

use roundelay_tests::harness::{Coordinator, Programs, Site, wait_until};

use crate::small::Small;

#[test]
fn certificates_are_renewed_while_rounds_go_on_and_a_revoked_or_expired_one_is_named() {
    let mut small = Small::found_with(3, 100_000, false, "certificate_seconds = 6\n");
    small.federation.start().expect("it starts");
    small.goes_on(1);
    let until = |small: &Small| {
        let status = small.federation.sites[0].verb(&["status"]).expect("a status");
        status["certificate_until_unix_ms"].as_u64().expect("a time")
    };
    // Past the end of the first certificate, and then some.
    let first = until(&small);
    let twice = Duration::from_secs(20);
    let renewed = wait_until(twice, || (until(&small) >= first + 7_000).then_some(()));
    assert!(renewed.is_some(), "{}", small.logs());
    small.goes_on(2);
    let told = small.federation.sites[0].told();
    assert!(told.contains("certificate_renewed") && !told.contains("disconnected"), "{told}");
    revoked(&mut small);
    expired(&mut small);
}

fn revoked(small: &mut Small) {
    let status = small.federation.sites[1].verb(&["status"]).expect("a status");
    let client = status["client"].as_str().expect("a client").to_owned();
    let began = Instant::now();
    let verb = ["client", "revoke", "--tenant", "tenant-1", &client];
    small.federation.coordinator.verb(&verb).expect("it is revoked");
    let site = &mut small.federation.sites[1];
    let ended = wait_until(Duration::from_secs(10), || site.ended().then_some(()));
    let took = began.elapsed();
    assert!(ended.is_some() && took < Duration::from_secs(5), "{took:?}\n{}", site.log_tail());
    let log = site.log_tail();
    assert!(log.contains("revoked") && log.contains("enrol again"), "{log}");
}

fn expired(small: &mut Small) {
    let site = &mut small.federation.sites[2];
    assert!(site.terminate(Duration::from_secs(20)), "{}", site.log_tail());
    std::thread::sleep(Duration::from_millis(7_000));
    let line = site.verb(&["run", "--once", "--deadline", "20"]).expect_err("it has expired");
    assert!(line.contains("expired") && line.contains("enrol again"), "{line}");
}

#[test]
fn tokens_of_another_coordinator_tenant_or_secret_are_refused_with_what_to_do() {
    let programs = Programs::find().expect("programs");
    let folder = tempfile::tempdir().expect("a folder");
    let ours = Coordinator::start(&programs, &folder.path().join("ours")).expect("it serves");
    let theirs = Coordinator::start(&programs, &folder.path().join("theirs")).expect("it serves");
    let line = |site: &str, token: &str| {
        let refused = Site::enrol(&programs, &folder.path().join(site), "acme", token);
        refused.err().expect("it is refused")
    };
    let good = ours.token_for("acme").expect("a token");
    let unknown = format!("{}{}", &good[..good.len() - 8], "00000000");
    let text = line("a", &unknown);
    assert!(text.contains("not one that this coordinator issued"), "{text}");
    let moved = good.replace(ours.address(), theirs.address());
    let text = line("a", &moved);
    assert!(text.contains("another authority"), "{text}");
    assert!(
        text.contains("belongs to another coordinator") && text.contains("new token"),
        "{text}"
    );
    assert!(!text.contains("enrolled with"), "it never enrolled: {text}");
    let site = Site::enrol(&programs, &folder.path().join("a"), "acme", &good).expect("it enrols");

    // A directory that is enrolled takes no token of another coordinator or tenant.
    let foreign = theirs.token_for("acme").expect("a token");
    let text = site.verb(&["enrol", "--token", &foreign]).expect_err("another coordinator");
    assert!(text.contains("another coordinator") && text.contains("--dir"), "{text}");
    let other = ours.token_for("bank").expect("a token");
    let text = site.verb(&["enrol", "--token", &other]).expect_err("another tenant");
    assert!(text.contains("another tenant") && text.contains("enrolled for acme"), "{text}");
    site.verb(&["manifest", "show"]).expect("the certificate from before is still good");
    Site::enrol(&programs, &folder.path().join("b"), "bank", &other).expect("it stayed unused");
}
