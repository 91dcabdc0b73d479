use std::collections::BTreeMap;

use super::*;
use crate::children::{child, folder_of_child, on_small_disk};
use crate::failpoint;
use crate::keys::FileKms;

const CHUNK: usize = format::CHUNK_BYTES;

fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

async fn blobs(folder: &Path) -> Blobs {
    let kms = FileKms::open(&folder.join("keys")).unwrap();
    for name in ["acme", "bank"] {
        kms.create(&Scope::Tenant(tenant(name))).await.unwrap();
    }
    Blobs::in_folder(&folder.join("blobs"), Arc::new(kms)).unwrap()
}

/// Bytes whose period is no divisor of a chunk: no two chunks are equal.
fn content(length: usize) -> Bytes {
    const PERIOD: usize = 65_521;
    let period: Vec<u8> = (0..PERIOD).map(|at| ((at * at) >> 7) as u8).collect();
    let mut bytes = period.repeat(length / PERIOD + 1);
    bytes.truncate(length);
    bytes.into()
}

fn file(folder: &Path, name: &str, digest: Digest) -> PathBuf {
    folder.join("blobs").join(name).join(digest.to_string())
}

#[tokio::test]
async fn every_length_comes_back_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let lengths = [
        0,
        1,
        CHUNK - 1,
        CHUNK,
        CHUNK + 1,
        PART_BYTES - 1,
        PART_BYTES,
        PART_BYTES + 1,
        2 * PART_BYTES + 5,
    ];
    let mut digests = BTreeMap::new();
    for length in lengths {
        let written = blobs(folder.path()).await;
        let digest = written.put(&tenant("acme"), content(length)).await.unwrap();
        assert_eq!(digest, Blobs::digest(&content(length)));
        digests.insert(digest, length);
    }
    assert_eq!(digests.len(), lengths.len());
    let opened = blobs(folder.path()).await;
    for (digest, length) in digests {
        assert_eq!(opened.get(&tenant("acme"), digest).await.unwrap().bytes(), length as u64);
        let read = opened.read(&tenant("acme"), digest).await.unwrap();
        assert!(read == content(length), "{length} bytes");
    }
}

#[tokio::test]
async fn a_blob_is_of_one_tenant_alone() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = blobs(folder.path()).await;
    let digest = blobs.put(&tenant("acme"), content(100)).await.unwrap();
    let missing = StoreError::NoSuchBlob { tenant: tenant("bank"), digest };
    assert_eq!(blobs.read(&tenant("bank"), digest).await, Err(missing));
    // Not even when its file is copied, or both have a blob of that name.
    let (from, to) = (file(folder.path(), "acme", digest), file(folder.path(), "bank", digest));
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(&from, &to).unwrap();
    assert!(blobs.read(&tenant("bank"), digest).await.is_err());
    blobs.put(&tenant("bank"), content(100)).await.unwrap();
    assert!(blobs.read(&tenant("bank"), digest).await.is_ok());
    fs::copy(&from, &to).unwrap();
    assert!(blobs.read(&tenant("bank"), digest).await.is_err());
}

#[tokio::test]
async fn altered_shortened_or_exchanged_bytes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = blobs(folder.path()).await;
    let acme = tenant("acme");
    let empty = blobs.put(&acme, Bytes::new()).await.unwrap();
    let digest = blobs.put(&acme, content(3 * CHUNK)).await.unwrap();
    let other = blobs.put(&acme, content(3 * CHUNK + 1)).await.unwrap();
    let path = file(folder.path(), "acme", digest);
    let whole = fs::read(&path).unwrap();
    let refused = async |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).unwrap();
        let read = blobs.read(&acme, digest).await;
        assert!(read.is_err(), "{what}");
    };
    let (_, header) = Header::parse(&whole).unwrap();
    let positions = (0..header).chain([header + 5, whole.len() / 2, whole.len() - 1]);
    for at in positions {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        refused(&altered, &format!("byte {at}")).await;
    }
    let chunk = CHUNK + 28;
    refused(&whole[..whole.len() - 1], "last byte cut").await;
    refused(&whole[..whole.len() - chunk], "last chunk cut").await;
    refused(&[], "empty").await;
    let mut swapped = whole.clone();
    let (first, second) = swapped[header..].split_at_mut(chunk);
    first.swap_with_slice(&mut second[..chunk]);
    refused(&swapped, "two chunks exchanged").await;
    refused(&fs::read(file(folder.path(), "acme", other)).unwrap(), "another blob").await;
    refused(&fs::read(file(folder.path(), "acme", empty)).unwrap(), "an empty blob").await;
    let mut no_bytes = whole.clone();
    no_bytes[header - 8..header].fill(0);
    refused(&no_bytes, "length 0").await;
    fs::write(&path, &whole).unwrap();
    assert!(blobs.read(&acme, digest).await.unwrap() == content(3 * CHUNK));
}

#[tokio::test]
async fn a_deleted_blob_is_gone_and_can_be_deleted_again() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = blobs(folder.path()).await;
    let digest = blobs.put(&tenant("acme"), content(10)).await.unwrap();
    blobs.delete(&tenant("acme"), digest).await.unwrap();
    blobs.delete(&tenant("acme"), digest).await.unwrap();
    assert!(!file(folder.path(), "acme", digest).exists());
    assert!(blobs.read(&tenant("acme"), digest).await.is_err());
}

#[tokio::test]
async fn no_plaintext_is_in_the_file_of_a_blob() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = blobs(folder.path()).await;
    let canary = b"canary-77aa-plaintext".repeat(1000);
    let digest = blobs.put(&tenant("acme"), canary.clone().into()).await.unwrap();
    let stored = fs::read(file(folder.path(), "acme", digest)).unwrap();
    assert!(!stored.windows(21).any(|window| window == &canary[..21]));
}

#[tokio::test]
async fn an_unknown_tenant_has_no_blobs() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = blobs(folder.path()).await;
    let refused = blobs.put(&tenant("nobody"), content(10)).await.unwrap_err();
    assert!(matches!(refused, StoreError::Key(_)), "{refused}");
}

/// What the children of the next tests do.
async fn write_a_large_blob(folder: &Path) {
    let written = blobs(folder).await.put(&tenant("acme"), content(3 * PART_BYTES)).await;
    if let Err(error) = written {
        println!("refused: {error}");
        println!("left behind: {}", fs::read_dir(folder.join("blobs/acme")).unwrap().count());
    }
}

#[tokio::test]
async fn a_killed_writer_leaves_a_whole_blob_or_none() {
    if let Some(folder) = folder_of_child() {
        return write_a_large_blob(&folder).await;
    }
    let this = concat!(module_path!(), "::a_killed_writer_leaves_a_whole_blob_or_none");
    let digest = Blobs::digest(&content(3 * PART_BYTES));
    for (point, there) in
        [("blob.put.before", false), ("blob.part.after:2", false), ("blob.put.after", true)]
    {
        let folder = tempfile::tempdir().unwrap();
        let died = child(this, folder.path()).env(failpoint::VARIABLE, point).output().unwrap();
        assert!(!died.status.success(), "{point} was not reached");
        let opened = blobs(folder.path()).await;
        let read = opened.read(&tenant("acme"), digest).await;
        assert_eq!(read.is_ok(), there, "{point}");
        let again = opened.put(&tenant("acme"), content(3 * PART_BYTES)).await.unwrap();
        assert!(opened.read(&tenant("acme"), again).await.unwrap() == content(3 * PART_BYTES));
    }
}

#[tokio::test]
async fn drafts_of_dead_writers_are_removed_when_they_are_old() {
    let folder = tempfile::tempdir().unwrap();
    blobs(folder.path()).await.put(&tenant("acme"), content(1)).await.unwrap();
    let draft = |name: &str| folder.path().join("blobs/acme").join(name);
    for (name, age) in [("aa#1", 7200), ("bb#1", 60)] {
        let file = fs::File::create(draft(name)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
    }
    blobs(folder.path()).await;
    assert!(!draft("aa#1").exists());
    assert!(draft("bb#1").exists());
}

#[tokio::test]
async fn a_full_disk_is_named_and_leaves_nothing_behind() {
    if let Some(folder) = folder_of_child() {
        return write_a_large_blob(&folder).await;
    }
    let this = concat!(module_path!(), "::a_full_disk_is_named_and_leaves_nothing_behind");
    let Some(output) = on_small_disk("20m", this) else { return };
    assert!(output.contains("refused: no space left at"), "{output}");
    assert!(output.contains("while writing a blob; nothing was lost"), "{output}");
    assert!(output.contains("left behind: 0"), "{output}");
}
