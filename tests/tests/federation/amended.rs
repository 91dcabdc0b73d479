//! Amendments through both command lines: a member leaves, and a lost identity key is replaced.

use std::time::Duration;

use roundelay_tests::harness::wait_until;
use serde_json::{Value, json};

use crate::small::Small;

#[test]
fn a_member_leaves_and_a_lost_key_is_replaced_while_rounds_go_on() {
    let mut small = Small::found(5, 100_000, false);
    small.federation.start().expect("it starts");
    small.goes_on(2);
    leave(&mut small);
    replace_a_lost_key(&mut small);
}

/// The fifth tenant leaves. It agrees to that as the others do.
fn leave(small: &mut Small) {
    let id = small.federation.id.clone();
    amend(small, &["--members", "tenant-0,tenant-1,tenant-2,tenant-3"]);
    for (place, site) in small.federation.sites.iter().enumerate() {
        let shown = site.verb(&["manifest", "show", &id]).expect("it is shown")[0].take();
        assert_eq!(shown["changes"]["leaves"], json!(["tenant-4"]), "{shown}");
        assert_eq!(shown["changes"]["joins"], json!([]), "{shown}");
        assert_eq!((&shown["version"], &shown["fault"]), (&json!(1), &Value::Null), "{shown}");
        let signed = site.sign(&id).expect("it signs");
        assert_eq!(signed["signatures"], place + 1, "{signed}");
        for earlier in &small.federation.sites[..place] {
            let told = earlier.told();
            assert!(!told.contains("disconnected"), "it signed beside its daemon:\n{told}");
        }
    }
    in_force(small, 4);
    small.goes_on(2);
    let leaver = &small.federation.sites[4];
    let shown = leaver.verb(&["manifest", "show"]).expect("an answer");
    assert_eq!(shown, json!([]), "the federation is none of its business any more");
    small.federation.sites[4].kill();
    let ended = small.federation.sites[4].verb(&["run", "--once", "--deadline", "20"]);
    let ended = ended.expect("nothing is left for it to do");
    let over = ended["federations"][0]["over"].as_str().unwrap_or_default();
    let words = ["tenant-4 has left", "version 1 of its manifest"];
    assert!(words.iter().all(|word| over.contains(word)), "{ended}");
}

/// The third tenant loses its client's identity key, enrols a new one, and the others agree to it.
fn replace_a_lost_key(small: &mut Small) {
    let id = small.federation.id.clone();
    let lost = small.federation.sites[2].verb(&["status"]).expect("a status");
    let lost = lost["client"].as_str().expect("a client").to_owned();
    assert!(small.federation.sites[2].terminate(Duration::from_secs(20)), "{}", small.logs());
    let key = small.federation.sites[2].folder().join("identity.key");
    std::fs::remove_file(&key).expect("the key is lost");
    let (coordinator, site) = (&small.federation.coordinator, &small.federation.sites[2]);
    coordinator
        .verb(&["client", "revoke", "--tenant", "tenant-2", &lost])
        .expect("the lost one is revoked");
    let token = coordinator.verb(&["enrol-token", "--tenant", "tenant-2"]).expect("a token");
    let token = token["token"].as_str().expect("a token").to_owned();
    let enrolled = site.verb(&["enrol", "--token", &token]).expect("it enrols");
    let new = enrolled["client"].as_str().expect("a client").to_owned();
    let line = site.verb(&["run", "--once", "--deadline", "20"]).expect_err("not named yet");
    assert!(line.contains("identity key") && line.contains("operator"), "{line}");

    amend(small, &[]);
    for site in &small.federation.sites[..4] {
        let shown = site.verb(&["manifest", "show", &id]).expect("it is shown")[0].take();
        let keys = &shown["changes"]["keys"];
        assert_eq!(keys[0]["tenant"], "tenant-2", "{shown}");
        let count = |which: &str| keys[0][which].as_array().map(Vec::len);
        assert_eq!((count("clients_removed"), count("clients_added")), (Some(1), Some(1)));
        assert_eq!(keys[0]["tenant_key"], Value::Null, "{shown}");
        site.sign(&id).expect("it signs");
    }
    small.federation.sites[2].start().expect("it starts");
    in_force(small, 4);
    small.goes_on(3);
    let status = small.federation.sites[2].verb(&["status"]).expect("a status");
    assert_eq!(status["client"], new);
    let derived = wait_until(Duration::from_secs(30), || {
        let status = small.federation.sites[2].verb(&["status"]).ok()?;
        (status["last"]["federations"][0]["rounds"].as_u64()? >= 1).then_some(())
    });
    assert!(derived.is_some(), "the new key takes part\n{}", small.logs());
}

fn amend(small: &Small, changes: &[&str]) {
    let verb = [&["federation", "amend", &small.federation.id], changes].concat();
    small.federation.coordinator.verb(&verb).expect("an amendment is drafted");
}

/// Waits until every member of the newest manifest has joined under it.
fn in_force(small: &Small, members: u64) {
    let joined = wait_until(Duration::from_secs(90), || {
        let engine = &small.federation.status().ok()?["engine"];
        (engine["members"] == members && engine["ready"] == members).then_some(())
    });
    assert!(joined.is_some(), "{:?}\n{}", small.federation.status(), small.logs());
}
