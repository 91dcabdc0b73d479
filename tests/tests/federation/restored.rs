//! A coordinator that is restored from an older backup: its clients are ahead of it, give the newest
//! model back, and the federation goes on from there.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use roundelay_client::checkpoint::StateDir;
use roundelay_protocol::ids::FederationId;
use roundelay_protocol::lineage::State;
use roundelay_tests::harness::{Site, wait_until};
use serde_json::Value;

use crate::plain::exported;
use crate::small::{Small, copy};

/// One of five may collude: a state is taken back that two have signed.
const CLIENTS: usize = 5;

/// Before the third sum is stored, with a first state and each round's sum, state and aggregate
/// before it.
const BACKED_UP: &str = "blob.put.before:8";
/// The same two rounds later: all have uploaded, and nobody has seen the survivor set.
const UPLOADED: &str = "blob.put.before:7";
/// Three rounds later: clients have signed a survivor set and its result is not there.
const SIGNED: &str = "round.consistency_check.after:4";

#[test]
fn a_coordinator_restored_from_an_older_backup_gets_the_newest_model_back_and_finishes() {
    let mut small = Small::found(CLIENTS, 16, false);
    let backup = backed_up(&mut small);
    let (old, kept) = (small.version(), rounds(&small));
    goes_on_until(&mut small, UPLOADED);
    let mut lost = rounds(&small);
    lost.retain(|round| !kept.contains(round));
    restore(&mut small, &backup);
    let given = wait_until(Duration::from_secs(30), || given_back(&small, old));
    let given = given.unwrap_or_else(|| panic!("{:?}\n{}", models(&small), small.logs()));
    assert!(given >= old + 2, "{given} is the newest that clients have derived");

    small.federation.watch(&mut |_| {}).expect("it finishes");
    small.all_models_agree();
    let after = rounds(&small);
    assert!(!lost.is_empty() && lost.iter().all(|round| !after.contains(round)), "{after:?}");
    let model = exported(&small);
    for at in 0..CLIENTS {
        let site = &mut small.federation.sites[at];
        assert!(site.terminate(Duration::from_secs(20)), "{}", site.log_tail());
        assert_eq!(held(&small, &small.federation.sites[at]), model, "the same bits");
    }
}

#[test]
fn a_signed_set_whose_result_is_lost_with_the_backup_is_signed_again_by_all_who_were_in_it() {
    let mut small = Small::found(CLIENTS, 16, false);
    let backup = backed_up(&mut small);
    goes_on_until(&mut small, SIGNED);
    restore(&mut small, &backup);
    small.federation.watch(&mut |_| {}).expect("it finishes");
    small.all_models_agree();
}

/// Runs until the coordinator dies in the third round, and copies its data.
fn backed_up(small: &mut Small) -> PathBuf {
    let coordinator = &mut small.federation.coordinator;
    assert!(coordinator.terminate(Duration::from_secs(20)), "it ends");
    coordinator.start_again_with(&[("ROUNDELAY_FAILPOINT", BACKED_UP)]).expect("it starts");
    small.federation.start().expect("the rounds begin");
    dies(small);
    let backup = small.folder.path().join("backup");
    copy(small.federation.coordinator.folder(), &backup);
    backup
}

/// Has the coordinator go on until it dies there.
fn goes_on_until(small: &mut Small, place: &str) {
    let coordinator = &mut small.federation.coordinator;
    // It may die before it says that it is ready.
    let _ = coordinator.start_again_with(&[("ROUNDELAY_FAILPOINT", place)]);
    dies(small);
}

fn dies(small: &mut Small) {
    let coordinator = &mut small.federation.coordinator;
    let died = wait_until(Duration::from_secs(60), || coordinator.ended().then_some(()));
    assert!(died.is_some(), "{}", small.logs());
}

/// Puts the backup in the place of the coordinator's data, and starts it from there.
fn restore(small: &mut Small, backup: &Path) {
    let coordinator = &mut small.federation.coordinator;
    coordinator.kill();
    fs::remove_dir_all(coordinator.folder()).expect("it is removed");
    copy(backup, coordinator.folder());
    coordinator.start_again().expect("it starts from the backup");
}

/// The newest version that a client gave back: its aggregate and where it came from are lost here.
fn given_back(small: &Small, old: u64) -> Option<u64> {
    let models = models(small);
    let rootless = |model: &&Value| model["parent"].is_null() && model["survivors"] == 0;
    let versions = models.as_array()?.iter().filter(rootless);
    versions.filter_map(|model| model["version"].as_u64()).find(|version| *version > old)
}

fn models(small: &Small) -> Value {
    let verb = ["model", "list", &small.federation.id];
    small.federation.coordinator.verb(&verb).expect("models")
}

/// The numbers of the published rounds that the coordinator knows.
fn rounds(small: &Small) -> Vec<u64> {
    let verb = ["rounds", &small.federation.id];
    let rounds = small.federation.coordinator.verb(&verb).expect("rounds");
    let rounds = rounds.as_array().expect("a list");
    let published = rounds.iter().filter(|round| round["state"] == "published");
    published.filter_map(|round| round["round"].as_u64()).collect()
}

/// The model in a site's own files.
fn held(small: &Small, site: &Site) -> Vec<f32> {
    let id: FederationId = small.federation.id.parse().expect("an id");
    let dir = StateDir::open(site.folder()).and_then(|dir| dir.federation(id)).expect("a folder");
    let bytes_max = State::bytes_max(&small.task).expect("a length");
    let bytes = dir.state(bytes_max).expect("it is whole").expect("it is there");
    State::from_bytes(&small.task, &bytes).expect("a state").model().to_vec()
}
