//! What every store must do, whatever keeps its rows. A store passes by listing
//! [`conformance!`] in its tests with a fixture of its own; nothing here knows SQL.

use std::sync::Arc;

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::{IdentityKey, Signature};
use roundelay_crypto::secret::{Secret, Seed};
use roundelay_protocol::error::{AbortReason, Stage};
use roundelay_protocol::ids::{ClientId, FederationId, ModelVersion, RoundNumber, TenantId};
use roundelay_protocol::manifest::{
    AmendmentRule, CoordinatorTrust, Hyperparameters, Manifest, Quantisation, Rules, Task,
};
use roundelay_protocol::model::ModelSpec;
use roundelay_protocol::optimiser::OptimiserSpec;
use roundelay_protocol::plan::RosterPlan;
use roundelay_protocol::round::horizontal::coordinator::{AuditEntry, Record};
use roundelay_protocol::schema::Schema;

use super::*;

/// An empty place for a store's data, for one test.
#[async_trait]
pub(crate) trait Fixture: Send + Sync {
    /// Opens the store on the data that is there. The one opened before is gone by then.
    async fn open(&self) -> Arc<dyn Store>;
}

/// One `#[tokio::test]` per property.
macro_rules! conformance {
    ($fixture:expr => $($property:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $property() {
                $crate::store::suite::$property(&$fixture).await;
            }
        )+
    };
    ($fixture:expr) => {
        $crate::store::suite::conformance! { $fixture =>
            a_tenant_is_added_once,
            a_handle_of_an_unknown_tenant_says_so,
            rows_come_back_as_they_were_put_after_reopening,
            tenants_do_not_see_each_others_rows,
            a_put_replaces_and_keeps_the_others,
            manifests_come_with_their_own_signatures_only,
            records_come_back_in_order_until_they_are_deleted,
            large_batches_of_records_come_back_in_order,
            a_batch_with_one_refused_write_changes_nothing,
            writes_that_drive_rounds_need_the_fence_of_their_federation,
            a_stale_fence_writes_nothing,
            a_lease_is_held_by_one_until_it_runs_out,
            a_restarted_holder_takes_its_own_lease_over,
            a_released_lease_is_free_and_its_fence_is_stale,
            a_lease_that_ran_out_is_renewed_unless_it_was_taken,
            a_token_binds_to_the_first_key_and_to_no_other,
            an_expired_or_unknown_token_is_refused,
            of_many_who_redeem_a_token_at_once_one_wins,
            members_reach_a_federation_by_membership_alone,
            a_federation_has_one_owner,
            an_event_reaches_the_log_of_every_member_and_nobody_elses,
            the_audit_log_is_one_chain_over_reopening,
            concurrent_batches_are_all_applied,
            an_installation_secret_is_kept_by_the_first,
        }
    };
}
pub(crate) use conformance;

pub(crate) fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

pub(crate) fn federation(number: u8) -> FederationId {
    FederationId([number; 16])
}

pub(crate) async fn with_tenants(fixture: &dyn Fixture, names: &[&str]) -> Arc<dyn Store> {
    let store = fixture.open().await;
    for name in names {
        let tenant = Tenant { tenant: tenant(name), created_unix_ms: 7 };
        store.add_tenant(tenant).await.unwrap();
    }
    store
}

/// Adds the tenant `acme` with a federation, and takes that federation's lease.
pub(crate) async fn with_lease(fixture: &dyn Fixture) -> (Arc<dyn Store>, Fence) {
    let store = with_tenants(fixture, &["acme"]).await;
    let acme = store.tenant(&tenant("acme"));
    acme.transact("test", None, vec![put_federation(1)]).await.unwrap();
    let fence = store.acquire(&lease("acme", 1), "here", 1_000, 500).await.unwrap();
    (store, fence)
}

pub(crate) fn lease(owner: &str, number: u8) -> LeaseName {
    LeaseName { owner: tenant(owner), federation: federation(number) }
}

pub(crate) fn put_federation(number: u8) -> Write {
    Write::PutFederation(Box::new(Federation {
        federation: federation(number),
        name: format!("federation {number}"),
        state: FederationState::Draft,
        created_unix_ms: 5,
    }))
}

pub(crate) fn some_client(seed: u8) -> Client {
    let identity = IdentityKey::from_seed(Seed::new([seed; 32])).public();
    Client {
        client: ClientId(identity.fingerprint()),
        identity,
        tenant_key: IdentityKey::from_seed(Seed::new([99; 32])).public(),
        enrolled_unix_ms: u64::from(seed),
        certificates: vec![IssuedCertificate {
            serial: vec![seed; 20],
            key: Digest([seed; 32]),
            not_after_unix_ms: 9,
        }],
        revoked_unix_ms: None,
    }
}

pub(crate) fn some_record(round: u64, cohort: u8) -> Record {
    Record::Planned(Box::new(RosterPlan {
        federation: federation(1),
        round: RoundNumber(round),
        manifest: Digest([3; 32]),
        cohort: (0..cohort).map(|at| ClientId(Digest([at; 32]))).collect(),
        threshold: 3,
        quorum: 3,
    }))
}

fn some_round(round: u64) -> Round {
    Round {
        round: RoundNumber(round),
        kind: None,
        model_version: Some(ModelVersion(round)),
        state: RoundState::Running,
        began_unix_ms: 1,
        ended_unix_ms: None,
        cohort: 5,
        survivors: 0,
        dropouts: 1,
    }
}

fn some_model(version: u64) -> Model {
    Model {
        version: ModelVersion(version),
        parent: version.checked_sub(1).map(ModelVersion),
        round: Some(RoundNumber(version + 1)),
        state: Digest([4; 32]),
        blob: Digest([5; 32]),
        aggregate: None,
        transcript: Some(Digest([6; 32])),
        survivors: 4,
        created_unix_ms: 8,
        metrics: Some(Metrics { rows: 10, loss: 0.5, accuracy: 0.75 }),
    }
}

fn some_manifest(version: u32, name: &str) -> Manifest {
    Manifest {
        federation: federation(1),
        name: name.to_owned(),
        version,
        predecessor: None,
        owner: tenant("acme"),
        members: Vec::new(),
        rules: Rules {
            coordinator: CoordinatorTrust::Malicious,
            corrupt_max: None,
            dropout_permille: 300,
            clients_min: 3,
            pinned_peers_min: 2,
            whole_groups: false,
            amendment: AmendmentRule::All,
        },
        task: some_task(),
    }
}

fn some_task() -> Task {
    Task {
        schema: Schema::Images { channels: 1, height: 8, width: 8, classes: 10 },
        model: ModelSpec::Softmax { seed: 1 },
        optimiser: OptimiserSpec::FedAvg { learning_rate: 1.0 },
        hyperparameters: Hyperparameters {
            local_epochs: 1,
            batch_rows: 32,
            learning_rate: 0.1,
            momentum: 0.0,
            proximal: 0.0,
        },
        quantisation: Quantisation {
            ring_bits: 32,
            clip: 1.0,
            weight_max: 100,
            rows_per_weight: 10,
        },
        rounds: 3,
    }
}

pub(crate) fn audit_write(to: &[&str], federation: Option<FederationId>, clients: u16) -> Write {
    let stage = Stage::AdvertiseKeys;
    Write::Audit {
        to: to.iter().map(|name| tenant(name)).collect(),
        record: Box::new(AuditRecord {
            unix_ms: 77,
            federation,
            round: Some(RoundNumber(2)),
            event: AuditEvent::Round(AuditEntry::StageBegan { stage, clients }),
        }),
    }
}

fn append(round: u64, records: Vec<Record>) -> Write {
    Write::AppendRound { federation: federation(1), round: RoundNumber(round), records }
}

pub(crate) async fn a_tenant_is_added_once(fixture: &dyn Fixture) {
    let store = with_tenants(fixture, &["bank", "acme"]).await;
    let again = Tenant { tenant: tenant("acme"), created_unix_ms: 8 };
    let refused = store.add_tenant(again).await;
    assert_eq!(refused, Err(StoreError::TenantExists(tenant("acme"))));
    drop(store);
    let names: Vec<_> = fixture.open().await.tenants().await.unwrap();
    let expected = |name| Tenant { tenant: tenant(name), created_unix_ms: 7 };
    assert_eq!(names, [expected("acme"), expected("bank")]);
}

pub(crate) async fn a_handle_of_an_unknown_tenant_says_so(fixture: &dyn Fixture) {
    let store = with_tenants(fixture, &["acme"]).await;
    let nobody = store.tenant(&tenant("nobody"));
    let unknown = StoreError::NoSuchTenant(tenant("nobody"));
    assert_eq!(nobody.clients().await, Err(unknown.clone()));
    assert_eq!(nobody.transact("test", None, vec![put_federation(1)]).await, Err(unknown.clone()));
    assert_eq!(nobody.transact("test", None, Vec::new()).await, Err(unknown.clone()));
    let token = store.add_token(&Seed::new([1; 32]), &tenant("nobody"), 5).await;
    assert_eq!(token, Err(unknown.clone()));
    assert_eq!(store.acquire(&lease("nobody", 1), "here", 0, 5).await, Err(unknown));
}

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

pub(crate) async fn tenants_do_not_see_each_others_rows(fixture: &dyn Fixture) {
    let store = with_tenants(fixture, &["acme", "bank"]).await;
    let (acme, bank) = (store.tenant(&tenant("acme")), store.tenant(&tenant("bank")));
    let fence = store.acquire(&lease("acme", 1), "here", 0, 5).await.unwrap();
    let federation = federation(1);
    let writes = vec![
        put_federation(1),
        Write::PutClient(Box::new(some_client(1))),
        Write::PutRound { federation, round: Box::new(some_round(1)) },
        Write::PutModel { federation, model: Box::new(some_model(0)) },
        append(1, vec![some_record(1, 2)]),
        audit_write(&["acme"], None, 1),
    ];
    acme.transact("test", Some(&fence), writes).await.unwrap();

    assert_eq!(bank.clients().await.unwrap(), []);
    assert_eq!(bank.client(some_client(1).client).await.unwrap(), None);
    assert_eq!(bank.federations().await.unwrap(), []);
    assert_eq!(bank.federation(federation).await.unwrap(), None);
    assert_eq!(bank.rounds(federation).await.unwrap(), []);
    assert_eq!(bank.models(federation).await.unwrap(), []);
    assert_eq!(bank.round_records(federation, RoundNumber(1)).await.unwrap(), []);
    assert_eq!(bank.audit(0, 10).await.unwrap(), []);
    // The fence of acme's federation opens nothing through the handle of another.
    let foreign = bank.transact("test", Some(&fence), vec![append(1, vec![])]).await;
    assert!(matches!(foreign, Err(StoreError::FenceMissing { .. })), "{foreign:?}");
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

    let delete = Write::DeleteRecords { federation: federation(1), round: RoundNumber(1) };
    acme.transact("test", Some(&fence), vec![delete]).await.unwrap();
    assert_eq!(records(1).await.unwrap(), []);
    assert_eq!(records(2).await.unwrap(), second);
    let other = Write::DeleteRecords { federation: federation(1), round: RoundNumber(3) };
    acme.transact("test", Some(&fence), vec![other, append(1, vec![])]).await.unwrap();
    assert_eq!(records(2).await.unwrap(), second);
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
    assert_eq!(found.len(), 401);
    assert_eq!(found[..400], records);
    assert_eq!(found[400], some_record(0, 0));
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
    let refused = acme.transact("test", None, writes).await;
    let not_a_member = StoreError::NotAMember { tenant: tenant("bank"), federation: federation(1) };
    assert_eq!(refused, Err(not_a_member));
    assert_eq!(acme.federations().await.unwrap(), []);
    assert_eq!(acme.clients().await.unwrap(), []);
    assert_eq!(acme.verify_audit().await.unwrap().entries, 0);
}

pub(crate) async fn writes_that_drive_rounds_need_the_fence_of_their_federation(
    fixture: &dyn Fixture,
) {
    let (store, _) = with_lease(fixture).await;
    let acme = store.tenant(&tenant("acme"));
    let other = store.acquire(&lease("acme", 2), "here", 0, 5).await.unwrap();
    let federation = federation(1);
    let writes = [
        Write::PutProgress { federation, progress: Vec::new() },
        Write::PutRound { federation, round: Box::new(some_round(1)) },
        append(1, vec![Record::AdvertsClosed]),
        Write::DeleteRecords { federation, round: RoundNumber(1) },
        Write::PutModel { federation, model: Box::new(some_model(0)) },
    ];
    for write in writes {
        for fence in [None, Some(&other)] {
            let refused = acme.transact("test", fence, vec![write.clone()]).await;
            let missing = StoreError::FenceMissing { write: write.name(), federation };
            assert_eq!(refused, Err(missing));
        }
    }
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
    assert_eq!(acme.transact("test", Some(&stale), vec![put_federation(2)]).await, fenced);
    assert_eq!(store.renew(&stale, 1_600, 500).await, fenced);
    assert_eq!(store.release(&stale).await, fenced);
    acme.transact("test", Some(&fresh), writes()).await.unwrap();
    let records = acme.round_records(federation(1), RoundNumber(1)).await.unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!(acme.federations().await.unwrap().len(), 1);
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

pub(crate) async fn a_token_binds_to_the_first_key_and_to_no_other(fixture: &dyn Fixture) {
    let store = with_tenants(fixture, &["acme", "bank"]).await;
    let secret = Seed::new([1; 32]);
    store.add_token(&secret, &tenant("bank"), 100).await.unwrap();
    let (mine, theirs) = (Digest([1; 32]), Digest([2; 32]));
    assert_eq!(store.redeem_token(&secret, mine, 50).await, Ok(tenant("bank")));
    assert_eq!(store.redeem_token(&secret, theirs, 51).await, Err(StoreError::TokenUsed));
    drop(store);
    let store = fixture.open().await;
    assert_eq!(store.redeem_token(&secret, theirs, 52).await, Err(StoreError::TokenUsed));
    assert_eq!(store.redeem_token(&secret, mine, 99).await, Ok(tenant("bank")));
    assert_eq!(store.redeem_token(&secret, mine, 100).await, Err(StoreError::TokenExpired));
}

pub(crate) async fn an_expired_or_unknown_token_is_refused(fixture: &dyn Fixture) {
    let store = with_tenants(fixture, &["acme"]).await;
    let secret = Seed::new([1; 32]);
    store.add_token(&secret, &tenant("acme"), 100).await.unwrap();
    let key = Digest([1; 32]);
    assert_eq!(store.redeem_token(&secret, key, 100).await, Err(StoreError::TokenExpired));
    let unknown = store.redeem_token(&Seed::new([2; 32]), key, 1).await;
    assert_eq!(unknown, Err(StoreError::TokenUnknown));
    // Neither attempt has used the token up.
    assert_eq!(store.redeem_token(&secret, Digest([3; 32]), 99).await, Ok(tenant("acme")));
}

pub(crate) async fn of_many_who_redeem_a_token_at_once_one_wins(fixture: &dyn Fixture) {
    let store = with_tenants(fixture, &["acme"]).await;
    store.add_token(&Seed::new([1; 32]), &tenant("acme"), 100).await.unwrap();
    let tasks: Vec<_> = (0..32)
        .map(|at| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                store.redeem_token(&Seed::new([1; 32]), Digest([at; 32]), 1).await
            })
        })
        .collect();
    let mut winners = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => winners += 1,
            Err(error) => assert_eq!(error, StoreError::TokenUsed),
        }
    }
    assert_eq!(winners, 1);
}

pub(crate) async fn members_reach_a_federation_by_membership_alone(fixture: &dyn Fixture) {
    let store = with_tenants(fixture, &["acme", "bank", "clinic"]).await;
    let [acme, bank, clinic] = ["acme", "bank", "clinic"].map(|name| store.tenant(&tenant(name)));
    let federation = federation(1);
    let members = |names: &[&str]| Write::PutMembers {
        federation,
        members: names.iter().map(|name| tenant(name)).collect(),
    };
    let writes = vec![put_federation(1), members(&["bank", "acme"])];
    acme.transact("test", None, writes).await.unwrap();
    let membership = Membership { federation, owner: tenant("acme") };
    assert_eq!(bank.memberships().await.unwrap(), std::slice::from_ref(&membership));
    assert_eq!(clinic.memberships().await.unwrap(), []);
    assert_eq!(acme.members(federation).await.unwrap(), [tenant("acme"), tenant("bank")]);

    acme.transact("test", None, vec![members(&["acme", "clinic"])]).await.unwrap();
    assert_eq!(bank.memberships().await.unwrap(), []);
    assert_eq!(clinic.memberships().await.unwrap(), [membership]);
    // A member asks the owner's handle for members, not its own.
    assert_eq!(clinic.members(federation).await.unwrap(), []);
    let unknown = acme.transact("test", None, vec![members(&["nobody"])]).await;
    assert_eq!(unknown, Err(StoreError::NoSuchTenant(tenant("nobody"))));
    assert_eq!(acme.members(federation).await.unwrap(), [tenant("acme"), tenant("clinic")]);
}

pub(crate) async fn a_federation_has_one_owner(fixture: &dyn Fixture) {
    let store = with_tenants(fixture, &["acme", "bank"]).await;
    let (acme, bank) = (store.tenant(&tenant("acme")), store.tenant(&tenant("bank")));
    let join = |name| Write::PutMembers { federation: federation(1), members: vec![tenant(name)] };
    acme.transact("test", None, vec![put_federation(1), join("acme")]).await.unwrap();
    let not_owner =
        Err(StoreError::NotTheOwner { tenant: tenant("bank"), federation: federation(1) });
    assert_eq!(bank.transact("test", None, vec![join("bank")]).await, not_owner);
    let writes = vec![put_federation(1), join("bank")];
    assert_eq!(bank.transact("test", None, writes).await, not_owner);
    assert_eq!(bank.memberships().await.unwrap(), []);
}

pub(crate) async fn an_event_reaches_the_log_of_every_member_and_nobody_elses(
    fixture: &dyn Fixture,
) {
    let store = with_tenants(fixture, &["acme", "bank", "clinic"]).await;
    let [acme, bank, clinic] = ["acme", "bank", "clinic"].map(|name| store.tenant(&tenant(name)));
    let about = federation(1);
    let federation = Some(about);
    let members = vec![tenant("acme"), tenant("bank")];
    let writes = vec![
        put_federation(1),
        Write::PutMembers { federation: about, members },
        audit_write(&["acme", "bank"], federation, 5),
    ];
    acme.transact("test", None, writes).await.unwrap();
    for member in [&acme, &bank] {
        let log = member.audit(0, 10).await.unwrap();
        assert_eq!(log.len(), 1);
        assert_eq!(log[0].record.federation, federation);
        assert_eq!(member.verify_audit().await.unwrap().entries, 1);
    }
    assert_eq!(clinic.audit(0, 10).await.unwrap(), []);
    for (handle, to, about) in [
        (&acme, "clinic", federation), // no member
        (&acme, "bank", None),         // a member, but not about the federation
        (&bank, "acme", federation),   // a member writing to another: only the owner may
    ] {
        let refused = handle.transact("test", None, vec![audit_write(&[to], about, 1)]).await;
        assert!(matches!(refused, Err(StoreError::NotAMember { .. })), "{to}: {refused:?}");
    }
}

pub(crate) async fn the_audit_log_is_one_chain_over_reopening(fixture: &dyn Fixture) {
    let store = with_tenants(fixture, &["acme"]).await;
    let acme = store.tenant(&tenant("acme"));
    let empty = acme.verify_audit().await.unwrap();
    assert_eq!(empty, AuditHead { entries: 0, link: Digest([0; 32]) });
    for at in 0..10 {
        let writes =
            vec![audit_write(&["acme"], None, 2 * at), audit_write(&["acme"], None, 2 * at + 1)];
        acme.transact("test", None, writes).await.unwrap();
    }
    let before = acme.verify_audit().await.unwrap();
    drop((store, acme));
    let acme = fixture.open().await.tenant(&tenant("acme"));
    assert_eq!(acme.verify_audit().await.unwrap(), before);
    acme.transact("test", None, vec![audit_write(&["acme"], None, 20)]).await.unwrap();
    let log = acme.audit(15, 100).await.unwrap();
    assert_eq!(log.iter().map(|item| item.entry).collect::<Vec<_>>(), [15, 16, 17, 18, 19, 20]);
    assert_eq!(log[4].link, before.link);
    let stage = Stage::AdvertiseKeys;
    let event = AuditEvent::Round(AuditEntry::StageBegan { stage, clients: 17 });
    assert_eq!(log[2].record.event, event);
    assert_eq!(acme.audit(3, 2).await.unwrap().len(), 2);
    let after = acme.verify_audit().await.unwrap();
    assert_eq!(after, AuditHead { entries: 21, link: log[5].link });
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

pub(crate) async fn an_installation_secret_is_kept_by_the_first(fixture: &dyn Fixture) {
    let store = fixture.open().await;
    let notice = InstallationSecret::Notice;
    assert!(store.secret(notice).await.unwrap().is_none());
    let kept = store.keep_secret(notice, Secret::new(b"first".to_vec())).await.unwrap();
    assert_eq!(kept.expose(), b"first");
    let kept = store.keep_secret(notice, Secret::new(b"second".to_vec())).await.unwrap();
    assert_eq!(kept.expose(), b"first");
    assert!(store.secret(InstallationSecret::Authority).await.unwrap().is_none());
    drop(store);
    let store = fixture.open().await;
    assert_eq!(store.secret(notice).await.unwrap().unwrap().expose(), b"first");
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
    acme.transact("test", None, writes).await.unwrap();
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
    acme.transact("test", None, writes).await.unwrap();
    let found = acme.manifests(federation(1)).await.unwrap();
    assert_eq!(found[0], SignedManifest { manifest: second, signatures: signatures(2, &["acme"]) });
    assert_eq!(found[1].manifest, next);
}
