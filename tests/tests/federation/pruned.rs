//! What a federation leaves on the coordinator's disk: no more after many rounds than after a few,
//! also where the coordinator dies while it prunes.

use std::path::PathBuf;
use std::time::Duration;

use roundelay_tests::harness::wait_until;
use serde_json::Value;

use crate::plain::{exported, fedavg, trained};
use crate::small::Small;

/// Where a blob is stored and no row names it yet, or no row names it any more and it is there still;
/// and behind the transaction that lies between.
const PLACES: [&str; 4] = [
    "blob.put.after:2",
    "blob.delete.before:3",
    "blob.delete.after:5",
    "store.federation.batch.after:14",
];

#[test]
fn a_coordinator_killed_while_it_prunes_loses_nothing_and_leaves_nothing_behind() {
    // Nobody may be missing in a sum, so that the sum can be told from outside.
    let mut small = Small::found_whole_with(3, 12, "[rounds]\nversions_kept = 2\n");
    small.federation.sites.iter_mut().for_each(|site| site.start().expect("a client starts"));
    let id = small.federation.id.clone();
    small.federation.coordinator.verb(&["federation", "start", &id]).expect("it starts");
    for place in PLACES {
        let coordinator = &mut small.federation.coordinator;
        coordinator.kill();
        // It may die before it says that it is ready.
        let _ = coordinator.start_again_with(&[("ROUNDELAY_FAILPOINT", place)]);
        let died = wait_until(Duration::from_secs(30), || coordinator.ended().then_some(()));
        assert!(died.is_some(), "{place} was not reached\n{}", small.logs());
    }
    small.federation.coordinator.kill();
    small.federation.coordinator.start_again().expect("it starts again");
    small.federation.watch(&mut |_| {}).expect("it finishes");

    // The states of version 0 and of the newest two, and the newest two aggregates.
    let left = wait_until(Duration::from_secs(20), || (blobs(&small).len() == 5).then_some(()));
    assert!(left.is_some(), "{:?}", blobs(&small));
    assert_eq!(exported(&small), fedavg(&small, &trained(&small, None)), "the same bits");
    pruned_versions_are_listed_and_say_why_they_cannot_be_exported(&small);
    states_that_are_empty_or_gone_are_damage(&small);
}

fn pruned_versions_are_listed_and_say_why_they_cannot_be_exported(small: &Small) {
    let (coordinator, id) = (&small.federation.coordinator, &small.federation.id);
    let listed = coordinator.verb(&["model", "list", id]).expect("models");
    let listed = listed.as_array().expect("a list");
    let kept = |model: &&Value| model["kept"] == true;
    let kept: Vec<_> = listed.iter().filter(kept).map(|model| model["version"].clone()).collect();
    assert_eq!((listed.len(), kept), (13, vec![0.into(), 11.into(), 12.into()]));
    assert!(listed.iter().all(|model| model["accuracy"].is_number()), "what was measured stays");

    let file = small.folder.path().join("one.safetensors").display().to_string();
    let export = |version: &str| {
        coordinator.verb(&["model", "export", id, "--version", version, "--to", &file])
    };
    let refused = export("10").expect_err("it was pruned");
    let line = "was pruned; the coordinator keeps version 0 and the newest 2";
    assert!(refused.contains("version 10") && refused.contains(line), "{refused}");
    let bytes = || std::fs::read(&file).expect("the exported file");
    export("11").expect("the older of the newest two");
    let first = bytes();
    export("11").expect("again");
    assert_eq!(bytes(), first, "the same version is the same file");
    export("0").expect("where it began");
}

fn states_that_are_empty_or_gone_are_damage(small: &Small) {
    let (coordinator, id) = (&small.federation.coordinator, &small.federation.id);
    let file = small.folder.path().join("lost.safetensors").display().to_string();
    for blob in blobs(small) {
        std::fs::write(blob, "").expect("emptied");
    }
    let export = || coordinator.verb(&["model", "export", id, "--to", &file]);
    let empty = export().expect_err("nothing is in it");
    for blob in blobs(small) {
        std::fs::remove_file(blob).expect("removed");
    }
    let gone = export().expect_err("it is not there");
    for refused in [empty, gone] {
        assert!(refused.contains("restore") && refused.contains("from a backup"), "{refused}");
    }
}

/// The files on the federation's shelf.
fn blobs(small: &Small) -> Vec<PathBuf> {
    let blobs = small.federation.coordinator.folder().join("blobs");
    let shelf = blobs.join("tenant-0").join(&small.federation.id);
    let files = std::fs::read_dir(&shelf).expect("a shelf").flatten();
    files.map(|file| file.path()).collect()
}
