use roundelay_protocol::ids::FederationId;

use super::*;
use crate::blobs::Blobs;
use crate::keys::{FileKms, Kms, Scope};

async fn shelf(folder: &std::path::Path) -> Shelf {
    let kms = FileKms::open(&folder.join("keys")).unwrap();
    let owner = "acme".parse().unwrap();
    kms.create(&Scope::Tenant(owner)).await.unwrap();
    let blobs = Blobs::in_folder(&folder.join("blobs"), Arc::new(kms)).unwrap();
    blobs.shelf(&"acme".parse().unwrap(), FederationId([7; 16]))
}

async fn first(source: &mut VectorSource) -> Bytes {
    source.next().await.unwrap().unwrap()
}

#[tokio::test]
async fn a_hundred_clients_are_sent_the_same_bytes_and_another_vector_part_by_part() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = shelf(folder.path()).await;
    let [newest, older] = [vec![1; 3 << 20], vec![2; 3 << 20]];
    let newest = shelf.put(Bytes::from(newest)).await.unwrap();
    let older = shelf.put(Bytes::from(older)).await.unwrap();
    let sharing = Sharing::default();
    let budget = Budget::new(8 << 20, folder.path().join("spool")).unwrap();
    let mut pieces = Vec::new();
    for _ in 0..100 {
        pieces.push(first(&mut sharing.source(&shelf, newest, &budget).await.unwrap()).await);
    }
    assert!(pieces.iter().all(|piece| piece.as_ptr() == pieces[0].as_ptr()), "nothing is copied");
    let mut alone = sharing.source(&shelf, older, &budget).await.unwrap();
    let piece = first(&mut alone).await;
    assert!(piece.iter().all(|byte| *byte == 2) && piece.len() <= 1 << 20);
    pieces.clear();
    let mut shared = sharing.source(&shelf, older, &budget).await.unwrap();
    assert_ne!(first(&mut shared).await.as_ptr(), piece.as_ptr(), "the newest was let go");
    let again = first(&mut sharing.source(&shelf, older, &budget).await.unwrap()).await;
    let same = first(&mut sharing.source(&shelf, older, &budget).await.unwrap()).await;
    assert_eq!(again.as_ptr(), same.as_ptr());
}

#[tokio::test(start_paused = true)]
async fn a_vector_takes_its_room_from_the_budget_and_is_read_part_by_part_where_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let shelf = shelf(folder.path()).await;
    let blob = shelf.put(Bytes::from(vec![1; 3 << 20])).await.unwrap();
    let budget = Budget::new(8 << 20, folder.path().join("spool")).unwrap();
    let free = budget.free_bytes();
    let sharing = Sharing::default();
    let shared = sharing.source(&shelf, blob, &budget).await.unwrap();
    assert_eq!(budget.free_bytes(), free - (3 << 20));
    drop(shared);
    assert_eq!(budget.free_bytes(), free);
    let _uploads = budget.room(6 << 20).await.unwrap();
    let mut alone = sharing.source(&shelf, blob, &budget).await.unwrap();
    assert_eq!(budget.free_bytes(), free - (6 << 20));
    assert!(first(&mut alone).await.len() <= 1 << 20);
}
