use std::collections::{BTreeMap, BTreeSet};

use super::format::Header;
use super::*;
use crate::children::{child, folder_of_child, on_small_disk};
use crate::keys::{FileKms, Scope};
use roundelay_program::failpoint;

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

const FEDERATION: FederationId = FederationId([7; 16]);

fn file(folder: &Path, tenant: &str, name: Digest) -> PathBuf {
    shelf_folder(folder, tenant).join(name.to_string())
}

fn shelf_folder(folder: &Path, tenant: &str) -> PathBuf {
    folder.join("blobs").join(tenant).join(FEDERATION.to_string())
}

async fn shelf(folder: &Path, name: &str) -> Shelf {
    blobs(folder).await.shelf(&tenant(name), FEDERATION)
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
    let mut names = BTreeMap::new();
    for length in lengths {
        let written = shelf(folder.path(), "acme").await;
        names.insert(written.put(content(length)).await.unwrap(), length);
    }
    assert_eq!(names.len(), lengths.len());
    let opened = shelf(folder.path(), "acme").await;
    for (name, length) in names {
        assert_eq!(opened.get(name).await.unwrap().bytes(), length as u64);
        let read = opened.read(name).await.unwrap();
        assert!(read == content(length), "{length} bytes");
    }
}

#[tokio::test]
async fn pieces_of_any_length_make_the_same_blob_and_any_part_of_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let acme = shelf(folder.path(), "acme").await;
    let whole = content(2 * PART_BYTES + 5);
    for piece in [70_001, PART_BYTES, PART_BYTES + CHUNK / 2, whole.len()] {
        let mut writer = acme.create(whole.len() as u64).await.unwrap();
        for start in (0..whole.len()).step_by(piece) {
            writer.push(whole.slice(start..whole.len().min(start + piece))).await.unwrap();
        }
        let name = writer.finish().await.unwrap();
        assert!(acme.read(name).await.unwrap() == whole, "in pieces of {piece}");
    }
    let name = acme.put(whole.clone()).await.unwrap();
    let reader = acme.get(name).await.unwrap();
    for (start, lengths) in [
        (0, [1, CHUNK - 1, 9]),
        (7, [CHUNK, 0, 2 * CHUNK]),
        (CHUNK, [3, 3, 3]),
        (3 * CHUNK - 1, [2; 3]),
    ] {
        let (mut reader, mut at) = (reader.from(start as u64), start);
        for length in lengths {
            assert!(reader.exactly(length).await.unwrap() == whole[at..at + length]);
            at += length;
        }
    }
    let mut end = reader.from(whole.len() as u64 - 4);
    assert!(end.exactly(5).await.is_err());
}

#[tokio::test]
async fn a_blob_that_is_shorter_or_longer_than_announced_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let acme = shelf(folder.path(), "acme").await;
    for bytes in [10, PART_BYTES + 10] {
        let mut short = acme.create(bytes as u64).await.unwrap();
        short.push(content(bytes - 1)).await.unwrap();
        short.finish().await.unwrap_err();
        let mut long = acme.create(bytes as u64).await.unwrap();
        long.push(content(bytes)).await.unwrap();
        long.push(content(1)).await.unwrap_err();
        let mut given_up = acme.create(bytes as u64).await.unwrap();
        given_up.push(content(bytes - 1)).await.unwrap();
        given_up.discard().await;
    }
    let left = fs::read_dir(shelf_folder(folder.path(), "acme")).unwrap().count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_blob_is_of_one_tenant_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (acme, bank) = (shelf(folder.path(), "acme").await, shelf(folder.path(), "bank").await);
    let name = acme.put(content(100)).await.unwrap();
    let missing = StoreError::NoSuchBlob { tenant: tenant("bank"), name };
    assert_eq!(bank.read(name).await, Err(missing));
    // Not even when its file is copied, or takes the place of another one.
    let from = file(folder.path(), "acme", name);
    let own = bank.put(content(100)).await.unwrap();
    for to in [name, own] {
        fs::copy(&from, file(folder.path(), "bank", to)).unwrap();
        assert!(bank.read(to).await.is_err());
    }
}

#[tokio::test]
async fn no_two_blobs_have_one_name_and_a_shelf_lists_its_own_alone() {
    let folder = tempfile::tempdir().unwrap();
    let acme = shelf(folder.path(), "acme").await;
    assert_eq!(acme.names().await.unwrap(), []);
    let names = [acme.put(content(9)).await.unwrap(), acme.put(content(9)).await.unwrap()];
    let other = acme.blobs.shelf(&tenant("acme"), FederationId([8; 16]));
    let of_another = other.put(content(9)).await.unwrap();
    // A draft of somebody who still writes is none of them.
    fs::write(shelf_folder(folder.path(), "acme").join(format!("{}#1", names[0])), b"x").unwrap();
    let listed = acme.names().await.unwrap();
    assert_eq!(BTreeSet::from_iter(listed), BTreeSet::from(names));
    assert_eq!(other.names().await.unwrap(), [of_another]);
    acme.delete(names[0]).await.unwrap();
    assert_eq!(acme.names().await.unwrap(), [names[1]], "the same content is there under its own");
    assert!(acme.read(names[1]).await.unwrap() == content(9));
    assert!(acme.read(of_another).await.is_err());
}

#[tokio::test]
async fn altered_shortened_or_exchanged_bytes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let acme = shelf(folder.path(), "acme").await;
    let empty = acme.put(Bytes::new()).await.unwrap();
    let name = acme.put(content(3 * CHUNK)).await.unwrap();
    let other = acme.put(content(3 * CHUNK + 1)).await.unwrap();
    let path = file(folder.path(), "acme", name);
    let whole = fs::read(&path).unwrap();
    let refused = async |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).unwrap();
        let read = acme.read(name).await;
        assert!(matches!(read, Err(StoreError::Corrupt { .. })), "{what}: {read:?}");
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
    refused(&whole[..header], "all after its header cut").await;
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
    assert!(acme.read(name).await.unwrap() == content(3 * CHUNK));
}

#[tokio::test]
async fn a_deleted_blob_is_gone_and_can_be_deleted_again() {
    let folder = tempfile::tempdir().unwrap();
    let acme = shelf(folder.path(), "acme").await;
    let name = acme.put(content(10)).await.unwrap();
    acme.delete(name).await.unwrap();
    acme.delete(name).await.unwrap();
    assert!(!file(folder.path(), "acme", name).exists());
    assert!(acme.read(name).await.is_err());
}

#[tokio::test]
async fn no_plaintext_is_in_the_file_of_a_blob() {
    let folder = tempfile::tempdir().unwrap();
    let acme = shelf(folder.path(), "acme").await;
    let canary = b"canary-77aa-plaintext".repeat(1000);
    let name = acme.put(Bytes::from(canary.clone())).await.unwrap();
    let stored = fs::read(file(folder.path(), "acme", name)).unwrap();
    assert!(!stored.windows(21).any(|window| window == &canary[..21]));
}

#[tokio::test]
async fn an_unknown_tenant_has_no_blobs() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = blobs(folder.path()).await;
    let refused = blobs.shelf(&tenant("nobody"), FEDERATION).put(content(10)).await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused, StoreError::Key(_)), "{refused}");
}

/// What the children of the next tests do.
async fn write_a_large_blob(folder: &Path) {
    let written = shelf(folder, "acme").await.put(content(3 * PART_BYTES)).await;
    if let Err(error) = written {
        println!("refused: {error}");
        println!("left behind: {}", fs::read_dir(shelf_folder(folder, "acme")).unwrap().count());
    }
}

#[tokio::test]
async fn a_killed_writer_leaves_a_whole_blob_or_none() {
    if let Some(folder) = folder_of_child() {
        return write_a_large_blob(&folder).await;
    }
    let this = concat!(module_path!(), "::a_killed_writer_leaves_a_whole_blob_or_none");
    for (point, there) in
        [("blob.put.before", false), ("blob.part.after:2", false), ("blob.put.after", true)]
    {
        let folder = tempfile::tempdir().unwrap();
        let died = child(this, folder.path()).env(failpoint::VARIABLE, point).output().unwrap();
        assert!(!died.status.success(), "{point} was not reached");
        let opened = shelf(folder.path(), "acme").await;
        let names = opened.names().await.unwrap();
        assert_eq!(names.len(), usize::from(there), "{point}");
        for name in names {
            assert!(opened.read(name).await.unwrap() == content(3 * PART_BYTES));
        }
        let again = opened.put(content(3 * PART_BYTES)).await.unwrap();
        assert!(opened.read(again).await.unwrap() == content(3 * PART_BYTES));
    }
}

#[tokio::test]
async fn drafts_of_dead_writers_are_removed_from_one_shelf_and_blobs_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let (acme, bank) = (shelf(folder.path(), "acme").await, shelf(folder.path(), "bank").await);
    acme.remove_drafts().await.unwrap();
    let names = [acme.put(content(1)).await.unwrap(), bank.put(content(1)).await.unwrap()];
    let draft = |name: &str| shelf_folder(folder.path(), name).join(format!("{}#1", names[0]));
    for name in ["acme", "bank"] {
        fs::write(draft(name), b"half").unwrap();
    }
    acme.remove_drafts().await.unwrap();
    assert_eq!((draft("acme").exists(), draft("bank").exists()), (false, true));
    assert!(acme.read(names[0]).await.is_ok() && bank.read(names[1]).await.is_ok());
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
