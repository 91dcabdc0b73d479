//! A tenant joins a federation that runs, by an amendment: it has pinned nothing before, and goes back
//! by the predecessors of the newest manifest to the one that all its members have signed.

use std::path::Path;
use std::time::Duration;

use roundelay_coordinator::installation::{DataLock, HOLDER, Installation};
use roundelay_coordinator::store::{LeaseName, Write, transact_leased};
use roundelay_crypto::identity::{IdentityKey, Signature};
use roundelay_crypto::secret::Secret;
use roundelay_tests::harness::{Programs, Site, SiteSettings, wait_until};
use serde_json::{Value, json};

use crate::small::{Small, write_rows};

#[test]
fn a_tenant_joins_a_federation_that_runs_and_one_that_the_coordinator_lies_about_is_refused() {
    let mut small = Small::found(3, 100_000, false);
    small.federation.start().expect("it starts");
    small.goes_on(2);
    // The one who joins last has two versions behind it.
    let site = enrolled(&small, "tenant-4", 4);
    amend(&small, "tenant-0,tenant-1,tenant-2,tenant-4");
    small.federation.sites.push(site);
    let id = small.federation.id.clone();
    small.federation.sites.iter().for_each(|site| drop(site.sign(&id).expect("it signs")));
    small.federation.sites[3].start().expect("it starts");
    takes_part(&small, 4);

    let joiner = enrolled(&small, "tenant-3", 3);
    amend(&small, "tenant-0,tenant-1,tenant-2,tenant-3,tenant-4");
    a_forged_first_version_is_refused(&mut small, &joiner);
    let shown = joiner.verb(&["manifest", "show", &id]).expect("it is shown")[0].take();
    assert_eq!((&shown["version"], &shown["fault"]), (&json!(2), &Value::Null), "{shown}");
    assert_eq!((&shown["signatures"], &shown["required"]), (&json!(0), &json!(5)), "{shown}");
    small.federation.sites.push(joiner);
    small.federation.sites.iter().for_each(|site| drop(site.sign(&id).expect("it signs")));
    small.federation.sites[4].start().expect("it starts");
    takes_part(&small, 5);
}

fn enrolled(small: &Small, name: &str, place: usize) -> Site {
    let programs = Programs::find().expect("the programs are built");
    let rows = small.folder.path().join("rows").join(name);
    write_rows(&rows, place, 60);
    let token = small.federation.coordinator.token_for(name).expect("a token");
    let site = Site::enrol(&programs, &small.folder.path().join(name), name, &token);
    let site = site.expect("it enrols");
    site.configure(&SiteSettings { data: &rows, held_out_percent: 5, seed: 9 }).expect("a file");
    site
}

fn amend(small: &Small, members: &str) {
    let verb = ["federation", "amend", &small.federation.id, "--members", members];
    small.federation.coordinator.verb(&verb).expect("an amendment is drafted");
}

/// Waits for a published sum over so many tenants, and for the last site to have derived a model.
fn takes_part(small: &Small, tenants: u64) {
    let (coordinator, id) = (&small.federation.coordinator, &small.federation.id);
    let last = small.federation.sites.last().expect("a site");
    let found = wait_until(Duration::from_secs(40), || {
        let rounds = coordinator.verb(&["rounds", id]).expect("rounds");
        let full = |round: &Value| round["survivors"] == tenants && round["state"] == "published";
        let status = last.verb(&["status"]).ok()?;
        let own = status["last"]["federations"][0]["rounds"].as_u64().unwrap_or(0);
        (rounds.as_array()?.iter().any(full) && own >= 1).then_some(())
    });
    let told = last.told();
    assert!(found.is_some(), "{:?}\n{}\n{told}", small.federation.status(), small.logs());
}

/// A coordinator that puts a tenant in that never signed is found out by whoever joins.
fn a_forged_first_version_is_refused(small: &mut Small, joiner: &Site) {
    let id = small.federation.id.clone();
    let before = put_signature(small, None);
    let sign = ["manifest", "sign", &id, "--yes", "--compared", "all"];
    let (status, line) = joiner.fails(&sign);
    assert_eq!(status, 8, "{line}");
    for words in ["version 0 of the manifest", "tenant `tenant-1` does not verify"] {
        assert!(line.contains(words), "{line}");
    }
    assert_eq!(line.lines().count(), 1, "{line}");
    let shown = joiner.verb(&["manifest", "show", &id]).expect("it is shown")[0].take();
    assert!(shown["fault"].as_str().is_some_and(|fault| fault.contains("version 0")), "{shown}");
    put_signature(small, Some(before));
    // Everyone is back.
    small.goes_on(2);
}

/// Replaces the second tenant's signature under version 0 in the store of a coordinator that has
/// been stopped, by a stranger's where none is given, and starts it again. Returns the one before.
fn put_signature(small: &mut Small, signature: Option<Signature>) -> Signature {
    let coordinator = &mut small.federation.coordinator;
    assert!(coordinator.terminate(Duration::from_secs(20)), "it ends");
    let (data, id) = (coordinator.folder().to_path_buf(), &small.federation.id);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let before = runtime.block_on(replaced(&data, id, signature));
    drop(runtime);
    coordinator.start_again().expect("it starts again");
    before
}

async fn replaced(data: &Path, id: &str, signature: Option<Signature>) -> Signature {
    let lock = DataLock::take(data).expect("nobody has it");
    let installation = Installation::open(lock, Duration::from_secs(60)).await.expect("it opens");
    let located = installation.federations.find(id).await.expect("the federation");
    let federation = located.federation.federation;
    let rows = installation.federations.rows(&located);
    let first = rows.manifests(federation).await.expect("manifests").remove(0);
    let (signer, before) = first.signatures[1].clone();
    assert_eq!(signer.as_str(), "tenant-1");
    let stranger = IdentityKey::from_seed(Secret::new([7; 32]));
    let signature = signature.unwrap_or_else(|| first.manifest.sign(&stranger));
    let manifest = first.manifest.hash();
    let write = Write::PutSignature { federation, manifest, signer, signature };
    let lease = LeaseName { owner: located.owner.clone(), federation };
    let now = roundelay_coordinator::clock::now_unix_ms();
    transact_leased(&*installation.store, &lease, HOLDER, now, "test", vec![write])
        .await
        .expect("it is written");
    before
}
