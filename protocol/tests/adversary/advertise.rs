//! Lies about the plan of the round. Not even a public key leaves.

use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::IdentityKey;
use roundelay_protocol::error::Refusal;
use roundelay_protocol::ids::{ClientId, FederationId, RoundNumber};
use roundelay_protocol::limits::COMPLETE_COHORT_MAX;
use roundelay_protocol::manifest::{Member, Rules};
use roundelay_protocol::message::{FromClient, ToClient};
use roundelay_protocol::pair::{Options, Pair};
use roundelay_protocol::plan::{PlanKind, RosterPlan};
use roundelay_protocol::privacy::Account;
use roundelay_protocol::round::horizontal::client::{Action, History, Input, Round, Setup};
use roundelay_protocol::round::horizontal::terms::Terms;
use roundelay_protocol::testing;
use roundelay_protocol::time::{Millis, Time};

use crate::harness::{
    VICTIM, assert_refused, assert_refused_without_twin, everybody, lie_in, lied_to,
};

fn plan_is_refused(reason: &Refusal, lie: impl Fn(&mut RosterPlan) + 'static) {
    let (pair, round) = lied_to(move |message| match message {
        ToClient::RosterPlan(mut plan) => {
            lie(&mut plan);
            vec![ToClient::RosterPlan(plan)]
        }
        other => vec![other],
    });
    assert_refused(&pair, round, reason, &[]);
}

#[test]
fn a20_a_plan_of_another_federation_is_refused() {
    plan_is_refused(&Refusal::ForeignFederation, |plan| plan.federation = FederationId([8; 16]));
}

#[test]
fn a20_a_whole_and_valid_plan_of_another_tenants_federation_is_refused() {
    // The same client is enrolled in both, under the same key.
    let mut pair = Pair::new(Options::new(5, 11));
    let mut manifest = pair.terms().manifest().clone();
    manifest.federation = FederationId([8; 16]);
    let other = Terms::new(manifest);
    let plan = other.roster_plan(RoundNumber(1), &other.clients().collect()).unwrap();
    assert!(plan.index_of(pair.ids()[VICTIM]).is_some());
    let round = lie_in(&mut pair, move |message| match message {
        ToClient::RosterPlan(_) => vec![ToClient::RosterPlan(Box::new(plan.clone()))],
        other => vec![other],
    });
    assert_refused(&pair, round, &Refusal::ForeignFederation, &[]);
}

#[test]
fn a6_a_plan_of_another_manifest_with_lower_floors_is_refused() {
    let reason = Refusal::ManifestNotPinned;
    plan_is_refused(&reason, |plan| plan.manifest = Digest([1; 32]));
    // One that only lowers the floors, and numbers that it gives by its own rule.
    let mut pair = Pair::new(Options::new(5, 11));
    let mut manifest = pair.terms().manifest().clone();
    manifest.rules.clients_min = 2;
    manifest.rules.corrupt_max = Some(0);
    let lower = Terms::new(manifest);
    let plan = lower.roster_plan(RoundNumber(1), &lower.clients().collect()).unwrap();
    let round = lie_in(&mut pair, move |message| match message {
        ToClient::RosterPlan(_) => vec![ToClient::RosterPlan(Box::new(plan.clone()))],
        other => vec![other],
    });
    assert_refused(&pair, round, &reason, &[]);
}

#[test]
fn a6_a_cohort_too_small_for_the_floors_is_refused_though_threshold_and_quorum_are_the_rules() {
    // Four with one colluder leave three honest ones, of which the manifest asks four.
    let reason = refused_alone(4, (3, 3), |rules| {
        (rules.clients_min, rules.corrupt_max) = (4, Some(1));
    });
    assert_eq!(reason, Refusal::TooFewMembers { present: 4, required: 5 });
}

#[test]
fn a7_a_plan_of_another_round_than_it_was_sent_for_is_refused() {
    plan_is_refused(&Refusal::OutOfStage, |plan| plan.round = plan.round.next());
}

#[test]
fn a5_a_cohort_that_is_no_sorted_set_of_the_manifests_clients_is_refused() {
    let reason = Refusal::CohortNotInManifest;
    plan_is_refused(&reason, |plan| plan.cohort.swap(2, 3));
    plan_is_refused(&reason, |plan| plan.cohort.push(plan.cohort[4]));
    plan_is_refused(&reason, |plan| plan.cohort.push(ClientId(Digest([255; 32]))));
}

#[test]
fn a18_a_cohort_of_more_clients_than_a_round_takes_is_refused_though_the_manifest_has_them() {
    // With what the rule would give for so many.
    let clients = u16::try_from(COMPLETE_COHORT_MAX + 1).unwrap();
    let threshold = 2 * clients / 3 + 1;
    let reason = refused_alone(COMPLETE_COHORT_MAX + 1, (threshold, threshold), |_| {});
    assert_eq!(reason, Refusal::CohortNotInManifest);
}

/// Why a client refuses a cohort of all clients of a manifest under which no honest coordinator can
/// plan a round; nothing else is sent.
fn refused_alone(
    clients: usize,
    (threshold, quorum): (u16, u16),
    rules: impl Fn(&mut Rules),
) -> Refusal {
    let mut random = ChaCha20Rng::seed_from_u64(5);
    let keys: Vec<IdentityKey> = (0..clients).map(|_| IdentityKey::random(&mut random)).collect();
    let member = Member {
        tenant: "t".parse().unwrap(),
        tenant_key: keys[0].public(),
        clients: keys.iter().map(IdentityKey::public).collect(),
    };
    let mut manifest = testing::manifest(vec![member]);
    rules(&mut manifest.rules);
    let terms = Arc::new(Terms::new(manifest));
    let (cohort, round): (Vec<ClientId>, _) = (terms.clients().collect(), RoundNumber(1));
    let (federation, manifest) = (terms.federation(), terms.hash());
    let degree = u16::try_from(clients - 1).unwrap();
    let plan = RosterPlan { federation, round, manifest, cohort, degree, threshold, quorum };
    let pinned = Arc::new(terms.clients().collect());
    let identity = Arc::new(keys.into_iter().next().unwrap());
    let setup =
        Setup { terms, identity, pinned, patience: Millis(100), account: Account::default() };
    let (mut history, mut actions) = (History::new(federation), Vec::new());
    let input = Input::Message(ToClient::RosterPlan(Box::new(plan)));
    Round::new(&setup, round, &mut random).handle(Time(0), input, &mut history, &mut actions);
    let [Action::Send(FromClient::Declined(reason)), Action::SetDeadline(_)] = &actions[..] else {
        panic!("{actions:?}");
    };
    reason.clone()
}

#[test]
fn a5_a_cohort_without_this_client_is_refused() {
    plan_is_refused(&Refusal::NotInCohort, |plan| {
        plan.cohort.remove(VICTIM);
    });
    plan_is_refused(&Refusal::NotInCohort, |plan| plan.cohort.clear());
}

#[test]
fn a15_a_cohort_with_half_a_group_is_refused() {
    plan_is_refused(&Refusal::CohortNotUnionOfGroups, |plan| {
        plan.cohort.remove(0);
    });
}

#[test]
fn a6_a_threshold_or_quorum_that_is_not_the_rules_is_refused() {
    for change in [-1_i16, 1] {
        plan_is_refused(&Refusal::ThresholdOffRule, move |plan| {
            plan.threshold = plan.threshold.wrapping_add_signed(change);
        });
        plan_is_refused(&Refusal::ThresholdOffRule, move |plan| {
            plan.quorum = plan.quorum.wrapping_add_signed(change);
        });
        plan_is_refused(&Refusal::ThresholdOffRule, move |plan| {
            plan.degree = plan.degree.wrapping_add_signed(change);
        });
    }
}

#[test]
fn a5_a_cohort_with_too_few_pinned_peers_is_refused() {
    // The victim itself is among the two that everyone has pinned.
    let mut options = Options { pinned: 2, ..Options::new(5, 11) };
    options.rules.pinned_peers_min = 2;
    let mut pair = Pair::new(options);
    let round = pair.round(PlanKind::Train);
    let reason = Refusal::TooFewPinnedPeers { present: 1, required: 2 };
    assert_refused_without_twin(&pair, round, &reason, &[]);
}

#[test]
fn a7_a_round_number_that_does_not_rise_is_refused() {
    let mut pair = Pair::new(Options::new(5, 11));
    pair.round(PlanKind::Train);
    let old = RoundNumber(0);
    let plan = ToClient::RosterPlan(Box::new(everybody(&pair, old)));
    pair.tell(VICTIM, old, Input::Message(plan));
    pair.run();
    assert_refused(&pair, old, &Refusal::RoundNotRising { planned: 0, seen: 1 }, &[]);
}
