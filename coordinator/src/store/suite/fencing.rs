//! One process drives a federation: leases, and the fence in every write.

use super::*;

pub(crate) async fn writes_of_a_federation_need_its_fence(fixture: &dyn Fixture) {
    let (store, _) = with_lease(fixture).await;
    let acme = store.tenant(&tenant("acme"));
    let other = store.acquire(&lease("acme", 2), "here", 0, 5).await.unwrap();
    let federation = federation(1);
    let digest = Digest([3; 32]);
    let signature = Signature([4; 64]);
    let (members, signer) = (vec![tenant("acme")], tenant("acme"));
    let writes = [
        put_federation(1),
        Write::PutMembers { federation, members },
        Write::PutManifest { digest, manifest: Box::new(some_manifest(0, "other")) },
        Write::PutSignature { federation, manifest: digest, signer, signature },
        Write::PutProgress { federation, progress: Vec::new() },
        Write::PutRound { federation, round: Box::new(some_round(1)) },
        append(1, vec![Record::AdvertsClosed]),
        Write::DeleteRecords { federation, round: RoundNumber(1) },
        Write::PutModel { federation, model: Box::new(some_model(0)) },
        Write::DeleteRounds { federation, below: RoundNumber(1) },
        Write::DeleteModels { federation, below: ModelVersion(1) },
    ];
    for write in writes {
        for fence in [None, Some(&other)] {
            let refused = acme.transact("test", fence, vec![write.clone()]).await;
            let missing = StoreError::FenceMissing { write: write.name(), federation };
            assert_eq!(refused, Err(missing));
        }
    }
    assert_eq!(acme.members(federation).await.unwrap(), []);
    assert_eq!(acme.manifests(federation).await.unwrap(), []);
    assert_eq!(acme.progress(federation).await.unwrap(), None);
    assert_eq!(acme.rounds(federation).await.unwrap(), []);
    assert_eq!(acme.models(federation).await.unwrap(), []);
}

pub(crate) async fn a_stale_fence_writes_nothing(fixture: &dyn Fixture) {
    let (store, stale) = with_lease(fixture).await;
    let acme = store.tenant(&tenant("acme"));
    let fresh = store.acquire(&lease("acme", 1), "elsewhere", 1_500, 500).await.unwrap();
    assert!(fresh.token > stale.token);
    let fenced = Err(StoreError::Fenced(lease("acme", 1)));
    let writes = || vec![append(1, vec![some_record(1, 1)])];
    assert_eq!(acme.transact("test", Some(&stale), writes()).await, fenced);
    let members = Write::PutMembers { federation: federation(1), members: vec![tenant("acme")] };
    assert_eq!(acme.transact("test", Some(&stale), vec![members]).await, fenced);
    assert_eq!(store.renew(&stale, 1_600, 500).await, fenced);
    assert_eq!(store.release(&stale).await, fenced);
    acme.transact("test", Some(&fresh), writes()).await.unwrap();
    let records = acme.round_records(federation(1), RoundNumber(1)).await.unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(acme.members(federation(1)).await.unwrap(), []);
}

pub(crate) async fn a_lease_is_held_by_one_until_it_runs_out(fixture: &dyn Fixture) {
    let (store, fence) = with_lease(fixture).await;
    let held = StoreError::LeaseHeld {
        lease: lease("acme", 1),
        holder: "here".to_owned(),
        until_unix_ms: 1_500,
    };
    assert_eq!(store.acquire(&lease("acme", 1), "there", 1_499, 500).await, Err(held));
    store.acquire(&lease("acme", 2), "there", 1_000, 500).await.unwrap();
    store.renew(&fence, 1_400, 500).await.unwrap();
    let held = store.acquire(&lease("acme", 1), "there", 1_899, 500).await;
    assert!(matches!(held, Err(StoreError::LeaseHeld { until_unix_ms: 1_900, .. })), "{held:?}");
    let taken = store.acquire(&lease("acme", 1), "there", 1_900, 500).await.unwrap();
    assert!(taken.token > fence.token);
}

pub(crate) async fn a_restarted_holder_takes_its_own_lease_over(fixture: &dyn Fixture) {
    let (store, before) = with_lease(fixture).await;
    drop(store);
    let store = fixture.open().await;
    let after = store.acquire(&lease("acme", 1), "here", 1_001, 500).await.unwrap();
    assert!(after.token > before.token);
    assert!(store.renew(&before, 1_002, 500).await.is_err());
}

pub(crate) async fn a_released_lease_is_free_and_its_fence_is_stale(fixture: &dyn Fixture) {
    let (store, fence) = with_lease(fixture).await;
    let acme = store.tenant(&tenant("acme"));
    store.release(&fence).await.unwrap();
    let refused = acme.transact("test", Some(&fence), vec![append(1, Vec::new())]).await;
    assert_eq!(refused, Err(StoreError::Fenced(lease("acme", 1))));
    let next = store.acquire(&lease("acme", 1), "there", 1_001, 500).await.unwrap();
    assert!(next.token > fence.token);
}

pub(crate) async fn a_lease_that_ran_out_is_renewed_unless_it_was_taken(fixture: &dyn Fixture) {
    let (store, fence) = with_lease(fixture).await;
    store.renew(&fence, 9_000, 500).await.unwrap();
    let held = store.acquire(&lease("acme", 1), "there", 9_499, 500).await;
    assert!(matches!(held, Err(StoreError::LeaseHeld { .. })), "{held:?}");
    store.acquire(&lease("acme", 1), "there", 9_500, 500).await.unwrap();
    let fenced = store.renew(&fence, 9_501, 500).await;
    assert_eq!(fenced, Err(StoreError::Fenced(lease("acme", 1))));
}
