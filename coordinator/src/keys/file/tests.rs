use std::fs::Permissions;

use super::*;
use crate::children::{child, folder_of_child};
use roundelay_program::failpoint;

fn scope(name: &str) -> Scope {
    Scope::Tenant(name.parse().unwrap())
}

const VALUE: Place<'static> =
    Place { tenant: b"acme", table: "t", row: b"r", column: "c", version: 1 };

/// A data key, what it seals, and its wrapping.
async fn sealed_by(kms: &FileKms, scope: &Scope) -> (Vec<u8>, Vec<u8>) {
    let key = DataKey::random(&mut rand::rng());
    let wrapped = kms.wrap(scope, &key).await.unwrap();
    (wrapped, key.seal(&VALUE, b"value", &mut rand::rng()))
}

async fn opens(kms: &FileKms, scope: &Scope, wrapped: &[u8], sealed: &[u8]) -> bool {
    let Ok(key) = kms.unwrap(scope, wrapped).await else { return false };
    key.open(&VALUE, sealed).is_ok_and(|value| value.expose() == b"value")
}

#[tokio::test]
async fn a_key_is_made_once_and_found_again_by_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let kms = FileKms::open(folder.path()).unwrap();
    kms.create(&scope("acme")).await.unwrap();
    let (wrapped, sealed) = sealed_by(&kms, &scope("acme")).await;
    let next = FileKms::open(folder.path()).unwrap();
    next.create(&scope("acme")).await.unwrap();
    assert!(opens(&next, &scope("acme"), &wrapped, &sealed).await);
    let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().path()).collect();
    assert_eq!(files, [folder.path().join("acme.kek")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_who_make_a_key_at_once_get_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let makers: Vec<_> = (0..16)
        .map(|_| FileKms::open(folder.path()).unwrap())
        .map(|kms| {
            tokio::spawn(async move {
                kms.create(&scope("acme")).await.unwrap();
                sealed_by(&kms, &scope("acme")).await
            })
        })
        .collect();
    let kms = FileKms::open(folder.path()).unwrap();
    for maker in makers {
        let (wrapped, sealed) = maker.await.unwrap();
        assert!(opens(&kms, &scope("acme"), &wrapped, &sealed).await);
    }
}

#[tokio::test]
async fn a_wrapped_key_opens_for_its_own_scope_alone() {
    let folder = tempfile::tempdir().unwrap();
    let kms = FileKms::open(folder.path()).unwrap();
    let scopes = [scope("acme"), scope("bank"), Scope::Installation];
    for scope in &scopes {
        kms.create(scope).await.unwrap();
    }
    for own in &scopes {
        let (wrapped, sealed) = sealed_by(&kms, own).await;
        for other in &scopes {
            let opened = opens(&kms, other, &wrapped, &sealed).await;
            assert_eq!(opened, own == other, "{own} by {other}");
        }
    }
    // Not even when one key file stands in for another: the scope itself is authenticated.
    let (wrapped, sealed) = sealed_by(&kms, &scope("acme")).await;
    fs::copy(folder.path().join("acme.kek"), folder.path().join("bank.kek")).unwrap();
    let fresh = FileKms::open(folder.path()).unwrap();
    assert!(!opens(&fresh, &scope("bank"), &wrapped, &sealed).await);
}

#[tokio::test]
async fn a_destroyed_key_opens_nothing_again_and_a_new_one_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let kms = FileKms::open(folder.path()).unwrap();
    kms.create(&scope("acme")).await.unwrap();
    let (wrapped, sealed) = sealed_by(&kms, &scope("acme")).await;
    kms.destroy(&scope("acme")).await.unwrap();
    kms.destroy(&scope("acme")).await.unwrap();
    assert!(!folder.path().join("acme.kek").exists());
    let missing = kms.unwrap(&scope("acme"), &wrapped).await.err().unwrap();
    assert!(missing.to_string().contains("the key of tenant acme is not at"), "{missing}");
    kms.create(&scope("acme")).await.unwrap();
    assert!(!opens(&kms, &scope("acme"), &wrapped, &sealed).await);
}

#[tokio::test]
async fn a_key_file_that_others_may_read_or_that_is_no_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    FileKms::open(folder.path()).unwrap().create(&scope("acme")).await.unwrap();
    let path = folder.path().join("acme.kek");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let refusal = async || {
        let kms = FileKms::open(folder.path()).unwrap();
        kms.wrap(&scope("acme"), &DataKey::random(&mut rand::rng())).await.err().unwrap()
    };
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    assert!(refusal().await.to_string().ends_with("chmod 600 it"));
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    for bytes in [&[7; 31][..], &[7; 33], &[], &[0; 32]] {
        fs::write(&path, bytes).unwrap();
        assert!(refusal().await.to_string().contains("is not a key of 32 bytes"));
    }
}

/// What the child of the next test does.
async fn make_and_destroy_a_key(folder: &Path) {
    let kms = FileKms::open(folder).unwrap();
    kms.create(&scope("acme")).await.unwrap();
    kms.destroy(&scope("acme")).await.unwrap();
}

#[tokio::test]
async fn a_killed_process_leaves_a_whole_key_or_none() {
    if let Some(folder) = folder_of_child() {
        return make_and_destroy_a_key(&folder).await;
    }
    let this = concat!(module_path!(), "::a_killed_process_leaves_a_whole_key_or_none");
    for (point, there) in [
        ("key.create.before", false),
        ("key.create.after", true),
        ("key.destroy.before", false),
        ("key.destroy.after", false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let died = child(this, folder.path()).env(failpoint::VARIABLE, point).output().unwrap();
        assert!(!died.status.success(), "{point} was not reached");
        let kms = FileKms::open(folder.path()).unwrap();
        assert_eq!(kms.key(&scope("acme")).is_ok(), there, "{point}");
        // What was begun can be done again: a key that was being destroyed is destroyed.
        if point.starts_with("key.destroy") {
            kms.destroy(&scope("acme")).await.unwrap();
        }
        kms.create(&scope("acme")).await.unwrap();
        assert!(kms.key(&scope("acme")).is_ok(), "{point}");
    }
}
