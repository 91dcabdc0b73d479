//! What every store must do, whatever keeps its rows. A store passes by listing
//! [`conformance!`] in its tests with a fixture of its own; nothing here knows SQL.

use std::sync::Arc;

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::{IdentityKey, Signature};
use roundelay_crypto::secret::{Secret, Seed};
use roundelay_protocol::error::{AbortReason, Refusal};
use roundelay_protocol::ids::{ClientId, FederationId, ModelVersion, RoundNumber, TenantId};
use roundelay_protocol::manifest::{Manifest, Member};
use roundelay_protocol::plan::RosterPlan;
use roundelay_protocol::round::horizontal::coordinator::{AuditEntry, Departure, Record};
use roundelay_protocol::testing;

use super::*;

mod auditing;
mod fencing;
mod rows;
mod tenancy;
mod tokens;

pub(crate) use auditing::*;
pub(crate) use fencing::*;
pub(crate) use rows::*;
pub(crate) use tenancy::*;
pub(crate) use tokens::*;

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
            #[::tokio::test(flavor = "multi_thread", worker_threads = 4)]
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
            rows_below_a_round_or_a_version_are_deleted_and_version_0_stays,
            a_batch_with_one_refused_write_changes_nothing,
            writes_of_a_federation_need_its_fence,
            a_stale_fence_writes_nothing,
            a_lease_is_held_by_one_until_it_runs_out,
            a_restarted_holder_takes_its_own_lease_over,
            a_released_lease_is_free_and_its_fence_is_stale,
            a_lease_that_ran_out_is_renewed_unless_it_was_taken,
            a_token_binds_to_the_first_key_and_to_no_other,
            a_token_for_another_tenant_than_expected_stays_unused,
            an_expired_or_unknown_token_is_refused,
            a_token_is_remembered_after_its_end_and_forgotten_later,
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
    let fence = store.acquire(&lease("acme", 1), "here", 1_000, 500).await.unwrap();
    let acme = store.tenant(&tenant("acme"));
    acme.transact("test", Some(&fence), vec![put_federation(1)]).await.unwrap();
    (store, fence)
}

/// Writes of a tenant about its federation 1, under a lease taken for them alone.
pub(crate) async fn leased(
    store: &dyn Store,
    owner: &str,
    writes: Vec<Write>,
) -> Result<(), StoreError> {
    transact_leased(store, &lease(owner, 1), "test", 0, "test", writes).await
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
        degree: u16::from(cohort).saturating_sub(1),
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
        aggregate: None,
        left: vec![(ClientId(Digest([8; 32])), Departure::Declined(Refusal::TrainingFailed))],
    }
}

fn some_model(version: u64) -> Model {
    Model {
        version: ModelVersion(version),
        parent: version.checked_sub(1).map(ModelVersion),
        round: Some(RoundNumber(version + 1)),
        state: Digest([4; 32]),
        blob: Some(Digest([5; 32])),
        transcript: Some(Digest([6; 32])),
        survivors: 4,
        created_unix_ms: 8,
        metrics: Some(Metrics { rows: 10, loss: 0.5, accuracy: 0.75 }),
    }
}

fn some_manifest(version: u32, name: &str) -> Manifest {
    let tenant_key = IdentityKey::from_seed(Seed::new([99; 32])).public();
    let member = Member { tenant: tenant("acme"), tenant_key, clients: Vec::new() };
    let name = name.to_owned();
    Manifest { federation: federation(1), name, version, ..testing::manifest(vec![member]) }
}

pub(crate) fn audit_write(to: &[&str], federation: Option<FederationId>, clients: u16) -> Write {
    Write::Audit {
        to: to.iter().map(|name| tenant(name)).collect(),
        record: Box::new(AuditRecord {
            unix_ms: 77,
            federation,
            round: Some(RoundNumber(2)),
            event: AuditEvent::Round(AuditEntry::Survivors { set: Digest([1; 32]), clients }),
        }),
    }
}

fn append(round: u64, records: Vec<Record>) -> Write {
    Write::AppendRound { federation: federation(1), round: RoundNumber(round), records }
}
