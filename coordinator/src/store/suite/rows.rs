//! What is put comes back: rows, manifests, records, and batches whole or not at all.

use super::*;

pub(crate) async fn rows_come_back_as_they_were_put_after_reopening(fixture: &dyn Fixture) {
    let (store, fence) = with_lease(fixture).await;
    let (federation, round) = (federation(1), RoundNumber(3));
    let clients = [some_client(1), some_client(2)];
    let mut aborted = some_round(3);
    aborted.state = RoundState::Aborted(AbortReason::Stopped);
    let mut writes: Vec<_> =
        clients.iter().map(|client| Write::PutClient(Box::new(client.clone()))).collect();
    writes.extend([
        Write::PutMembers { federation, members: vec![tenant("acme")] },
        Write::PutProgress { federation, progress: b"progress".to_vec() },
        Write::PutRound { federation, round: Box::new(some_round(10)) },
        Write::PutRound { federation, round: Box::new(aborted.clone()) },
        Write::PutModel { federation, model: Box::new(some_model(0)) },
        Write::PutModel { federation, model: Box::new(some_model(1)) },
        append(3, vec![some_record(3, 4), Record::AdvertsClosed]),
    ]);
    store.tenant(&tenant("acme")).transact("test", Some(&fence), writes).await.unwrap();
    drop(store);

    let acme = fixture.open().await.tenant(&tenant("acme"));
    let mut sorted = clients.to_vec();
    sorted.sort_by_key(|client| client.client);
    assert_eq!(acme.clients().await.unwrap(), sorted);
    assert_eq!(acme.client(clients[1].client).await.unwrap().as_ref(), Some(&clients[1]));
    assert_eq!(acme.client(ClientId(Digest([0; 32]))).await.unwrap(), None);
    let found = acme.federations().await.unwrap();
    assert_eq!(found, [acme.federation(federation).await.unwrap().unwrap()]);
    assert_eq!(found[0].name, "federation 1");
    let owner = tenant("acme");
    assert_eq!(acme.memberships().await.unwrap(), [Membership { federation, owner }]);
    assert_eq!(acme.members(federation).await.unwrap(), [tenant("acme")]);
    assert_eq!(acme.progress(federation).await.unwrap().unwrap(), b"progress");
    assert_eq!(acme.rounds(federation).await.unwrap(), [aborted, some_round(10)]);
    assert_eq!(acme.models(federation).await.unwrap(), [some_model(0), some_model(1)]);
    assert_eq!(acme.model(federation, ModelVersion(1)).await.unwrap(), Some(some_model(1)));
    let records = acme.round_records(federation, round).await.unwrap();
    assert_eq!(records, [some_record(3, 4), Record::AdvertsClosed]);
}

pub(crate) async fn a_put_replaces_and_keeps_the_others(fixture: &dyn Fixture) {
    let (store, fence) = with_lease(fixture).await;
    let acme = store.tenant(&tenant("acme"));
    let federation = federation(1);
    let put = |round: &Round| Write::PutRound { federation, round: Box::new(round.clone()) };
    let mut last = some_round(1);
    acme.transact("test", Some(&fence), vec![put(&last), put(&some_round(2))]).await.unwrap();
    for survivors in 1..=3 {
        last.survivors = survivors;
        acme.transact("test", Some(&fence), vec![put(&last)]).await.unwrap();
    }
    assert_eq!(acme.rounds(federation).await.unwrap(), [last, some_round(2)]);
}

pub(crate) async fn manifests_come_with_their_own_signatures_only(fixture: &dyn Fixture) {
    let store = with_tenants(fixture, &["acme", "bank"]).await;
    let acme = store.tenant(&tenant("acme"));
    let (first, second) = (some_manifest(0, "first"), some_manifest(0, "second"));
    let next = some_manifest(1, "next");
    let digest = |number| Digest([number; 32]);
    let sign = |number: u8, signer: &str| Write::PutSignature {
        federation: federation(1),
        manifest: digest(number),
        signer: tenant(signer),
        signature: Signature([number; 64]),
    };
    let put = |number: u8, manifest: &Manifest| Write::PutManifest {
        digest: digest(number),
        manifest: Box::new(manifest.clone()),
    };
    let writes = vec![put(1, &first), sign(1, "bank"), sign(1, "acme"), put(3, &next)];
    leased(&*store, "acme", writes).await.unwrap();
    let signatures = |number, names: &[&str]| -> Vec<_> {
        names.iter().map(|name| (tenant(name), Signature([number; 64]))).collect()
    };
    let found = acme.manifests(federation(1)).await.unwrap();
    let expected = [
        SignedManifest { manifest: first, signatures: signatures(1, &["acme", "bank"]) },
        SignedManifest { manifest: next.clone(), signatures: Vec::new() },
    ];
    assert_eq!(found, expected);

    // A new draft of version 0: old signatures do not count for it, not even late ones.
    let writes = vec![put(2, &second), sign(2, "acme"), sign(1, "bank")];
    leased(&*store, "acme", writes).await.unwrap();
    let found = acme.manifests(federation(1)).await.unwrap();
    assert_eq!(found[0], SignedManifest { manifest: second, signatures: signatures(2, &["acme"]) });
    assert_eq!(found[1].manifest, next);
}
pub(crate) async fn records_come_back_in_order_until_they_are_deleted(fixture: &dyn Fixture) {
    let (store, fence) = with_lease(fixture).await;
    let acme = store.tenant(&tenant("acme"));
    // The cohort's size tells the records apart.
    for at in 0..20 {
        let writes = vec![
            append(1, vec![some_record(1, 2 * at), some_record(1, 2 * at + 1)]),
            append(2, vec![some_record(2, at)]),
        ];
        acme.transact("test", Some(&fence), writes).await.unwrap();
    }
    let first: Vec<_> = (0..40).map(|at| some_record(1, at)).collect();
    let second: Vec<_> = (0..20).map(|at| some_record(2, at)).collect();
    let records = async |round| acme.round_records(federation(1), RoundNumber(round)).await;
    assert_eq!(records(1).await.unwrap(), first);
    assert_eq!(records(2).await.unwrap(), second);
    assert_eq!(bit_by_bit(&*acme, 1).await, first);
    assert_eq!(bit_by_bit(&*acme, 2).await, second);
    assert_eq!(bit_by_bit(&*acme, 3).await, []);

    let delete = Write::DeleteRecords { federation: federation(1), round: RoundNumber(1) };
    acme.transact("test", Some(&fence), vec![delete]).await.unwrap();
    assert_eq!(records(1).await.unwrap(), []);
    assert_eq!(records(2).await.unwrap(), second);
    let other = Write::DeleteRecords { federation: federation(1), round: RoundNumber(3) };
    acme.transact("test", Some(&fence), vec![other, append(1, vec![])]).await.unwrap();
    assert_eq!(records(2).await.unwrap(), second);
}

async fn bit_by_bit(rows: &dyn TenantStore, round: u64) -> Vec<Record> {
    let (mut all, mut after) = (Vec::new(), None);
    while let Some((at, mut records)) =
        rows.next_records(federation(1), RoundNumber(round), after).await.unwrap()
    {
        all.append(&mut records);
        after = Some(at);
    }
    all
}

pub(crate) async fn large_batches_of_records_come_back_in_order(fixture: &dyn Fixture) {
    let (store, fence) = with_lease(fixture).await;
    let acme = store.tenant(&tenant("acme"));
    // More than one row can hold: 255 clients of 32 bytes in each of 400 records.
    let records: Vec<_> =
        (0..400).map(|at| some_record(at, if at % 2 == 0 { 255 } else { 1 })).collect();
    acme.transact("test", Some(&fence), vec![append(1, records.clone())]).await.unwrap();
    acme.transact("test", Some(&fence), vec![append(1, vec![some_record(0, 0)])]).await.unwrap();
    let found = acme.round_records(federation(1), RoundNumber(1)).await.unwrap();
    assert!(bit_by_bit(&*acme, 1).await == found);
    assert_eq!(found.len(), 401);
    assert_eq!(found[..400], records);
    assert_eq!(found[400], some_record(0, 0));
}

pub(crate) async fn rows_below_a_round_or_a_version_are_deleted_and_version_0_stays(
    fixture: &dyn Fixture,
) {
    let (store, fence) = with_lease(fixture).await;
    let acme = store.tenant(&tenant("acme"));
    let second = store.acquire(&lease("acme", 2), "here", 0, 5).await.unwrap();
    // Numbers whose lowest bytes alone would be in another order.
    let numbers = [0, 1, 2, 255, 256, 70_000];
    for (number, fence) in [(1, &fence), (2, &second)] {
        let federation = federation(number);
        let put = |&number: &u64| {
            let (round, model) = (Box::new(some_round(number)), Box::new(some_model(number)));
            [Write::PutRound { federation, round }, Write::PutModel { federation, model }]
        };
        let writes = numbers.iter().flat_map(put).collect();
        acme.transact("test", Some(fence), writes).await.unwrap();
    }
    let below = |number| {
        let federation = federation(1);
        let rounds = Write::DeleteRounds { federation, below: RoundNumber(number) };
        vec![rounds, Write::DeleteModels { federation, below: ModelVersion(number) }]
    };
    let left = async |number| {
        let rounds = acme.rounds(federation(number)).await.unwrap();
        let models = acme.models(federation(number)).await.unwrap();
        let rounds: Vec<u64> = rounds.iter().map(|round| round.round.0).collect();
        (rounds, models.iter().map(|model| model.version.0).collect::<Vec<_>>())
    };
    acme.transact("test", Some(&fence), below(0)).await.unwrap();
    assert_eq!(left(1).await, (numbers.to_vec(), numbers.to_vec()));
    acme.transact("test", Some(&fence), below(256)).await.unwrap();
    assert_eq!(left(1).await, (vec![256, 70_000], vec![0, 256, 70_000]));
    assert_eq!(left(2).await, (numbers.to_vec(), numbers.to_vec()));
}

pub(crate) async fn a_batch_with_one_refused_write_changes_nothing(fixture: &dyn Fixture) {
    let store = with_tenants(fixture, &["acme", "bank"]).await;
    let acme = store.tenant(&tenant("acme"));
    let writes = vec![
        put_federation(1),
        audit_write(&["acme"], None, 1),
        Write::PutClient(Box::new(some_client(1))),
        audit_write(&["bank"], Some(federation(1)), 1),
    ];
    let refused = leased(&*store, "acme", writes).await;
    let not_a_member = StoreError::NotAMember { tenant: tenant("bank"), federation: federation(1) };
    assert_eq!(refused, Err(not_a_member));
    assert_eq!(acme.federations().await.unwrap(), []);
    assert_eq!(acme.clients().await.unwrap(), []);
    assert_eq!(acme.verify_audit().await.unwrap().entries, 0);
}

pub(crate) async fn concurrent_batches_are_all_applied(fixture: &dyn Fixture) {
    let store = with_tenants(fixture, &["acme", "bank"]).await;
    let tasks: Vec<_> = (0..100_u16)
        .map(|at| {
            let name = if at % 2 == 0 { "acme" } else { "bank" };
            let handle = store.tenant(&tenant(name));
            tokio::spawn(async move {
                // Every tenth batch is refused, and takes none of its neighbours with it.
                let to = if at % 10 == 0 { "nobody-at-all" } else { name };
                handle.transact("test", None, vec![audit_write(&[to], None, at)]).await
            })
        })
        .collect();
    let mut refused = 0;
    for task in tasks {
        refused += u32::from(task.await.unwrap().is_err());
    }
    assert_eq!(refused, 10);
    for (name, expected) in [("acme", 40), ("bank", 50)] {
        let head = store.tenant(&tenant(name)).verify_audit().await.unwrap();
        assert_eq!(head.entries, expected, "{name}");
    }
}
