use std::collections::BTreeSet;

use proptest::prelude::*;
use roundelay_crypto::identity::IdentityKey;
use roundelay_crypto::secret::Secret;

use super::*;
use crate::fixtures::{manifest, wire};
use crate::privacy::Mechanism;
use crate::privacy::testing::privacy;

fn with(change: impl FnOnce(&mut Manifest)) -> Manifest {
    let mut manifest = manifest(&[1, 1, 1, 1, 1]);
    change(&mut manifest);
    manifest
}

#[test]
fn a_manifest_has_one_hash_that_every_change_moves() {
    let manifest = manifest(&[1, 2, 1]);
    assert_eq!(manifest.validate(), Ok(()));
    let bytes = crate::codec::encode(&manifest);
    let read: Manifest = crate::codec::decode(&bytes, 1 << 20).unwrap();
    assert_eq!((&read, read.hash()), (&manifest, manifest.hash()));
    let other = Manifest { name: "other".into(), ..manifest.clone() };
    assert_ne!(other.hash(), manifest.hash());
    assert_eq!(readable(&manifest.hash()).split(' ').count(), 16);
    assert_eq!(readable(&manifest.hash()).replace(' ', ""), manifest.hash().to_string());
}

/// A manifest that promises what its budget pays, with a change.
fn private(change: impl FnOnce(&mut Manifest, &mut Privacy)) -> Manifest {
    with(|manifest| {
        let mut promise = Privacy { epsilon: 20.0, ..privacy() };
        manifest.task.quantisation.weight_max = 1;
        change(manifest, &mut promise);
        manifest.task.privacy = Some(promise);
    })
}

#[test]
fn a_promise_that_cannot_be_kept_is_refused_with_what_would_do() {
    let cases = [
        (private(|m, _| m.task.quantisation.weight_max = 2), "weight_max is 1 where privacy"),
        (
            private(|_, p| p.mechanism = Mechanism::Central),
            "needs rules.coordinator = \"semi_honest\"",
        ),
        (private(|_, p| p.epsilon = f64::NAN), "privacy.epsilon is 0.001 to 1000, not NaN"),
        (private(|_, p| p.epsilon = -1.0), "privacy.epsilon is 0.001 to 1000, not -1"),
        (private(|_, p| p.delta = 0.5), "privacy.delta is 1e-15 to 0.01, not 0.5"),
        (private(|_, p| p.noise_multiplier = 0.0), "noise_multiplier is 0.01 to 1000, not 0"),
        (private(|_, p| p.noise_multiplier = f64::INFINITY), "noise_multiplier is 0.01 to 1000"),
        (private(|_, p| p.l2_clip = 0.0), "l2_clip is 0.000001 to 1000000, not 0"),
        (private(|_, p| p.l2_clip = f32::NAN), "l2_clip is 0.000001"),
        (private(|_, p| p.epsilon = 0.01), "pays 0 of 3 rounds with noise_multiplier 1: set noise"),
    ];
    for (manifest, words) in cases {
        let error = manifest.validate().expect_err(words).to_string();
        assert!(error.contains(words), "{error} says nothing of {words}");
    }
    assert_eq!(private(|_, _| {}).validate(), Ok(()));
    let trusted = private(|m, p| {
        m.rules.coordinator = CoordinatorTrust::SemiHonest;
        p.mechanism = Mechanism::Central;
    });
    assert_eq!(trusted.validate(), Ok(()));
}

#[test]
fn rounds_that_the_budget_does_not_pay_are_refused_with_rounds_and_noise_that_would_do() {
    let task = |rounds, noise_multiplier| {
        let manifest = private(|m, p| {
            m.task.rounds = rounds;
            p.noise_multiplier = noise_multiplier;
        });
        manifest.validate()
    };
    let Err(ManifestError::Task(TaskError::Budget { paid, remedy, .. })) = task(100, 1.0) else {
        panic!("{:?}", task(100, 1.0))
    };
    let paid = u32::try_from(paid).unwrap();
    assert!(remedy.starts_with(&format!("set rounds to {paid} at most, or set noise")), "{remedy}");
    assert_eq!(task(paid, 1.0), Ok(()));
    assert!(task(paid + 1, 1.0).is_err());
    let named = remedy.split("noise_multiplier to ").nth(1).unwrap();
    let named: f64 = named.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(task(100, named), Ok(()));
    assert!(task(100, named - 0.002).is_err());
}

#[test]
fn a_private_ring_that_is_too_small_is_refused_with_one_that_would_do() {
    let loud = |ring_bits| {
        private(|m, p| {
            m.task.quantisation.ring_bits = ring_bits;
            m.task.model = ModelSpec::Mlp { hidden: vec![512], seed: 0 };
            p.noise_multiplier = 200.0;
        })
    };
    let error = loud(16).validate().unwrap_err().to_string();
    assert!(error.contains("a ring of 32 bits, or a noise_multiplier of at most"), "{error}");
    assert_eq!(loud(32).validate(), Ok(()));
}

#[test]
fn an_amendment_neither_takes_privacy_up_nor_gives_it_up() {
    let plain = with(|_| {});
    let private = private(|_, _| {});
    for (before, after) in [(&plain, &private), (&private, &plain)] {
        let amended = Manifest { version: 1, predecessor: Some(before.hash()), ..after.clone() };
        let error = amended.requirement(Some(before)).unwrap_err();
        assert_eq!(error, AmendmentError::Fixed("choice of privacy"));
    }
}

#[test]
fn an_impossible_manifest_is_refused_with_what_would_do() {
    let too_many_for_five = "clients_min = 5 honest clients and 1 colluding ones need a cohort of \
                             6; it has 5: lower clients_min to 4";
    let cases = [
        (with(|m| m.name = String::new()), "1 to 64 bytes"),
        (with(|m| m.name = "digits\u{1b}[2K".to_owned()), "without control characters"),
        (with(|m| m.name = "dig\u{202e}its".to_owned()), "without control characters"),
        (with(|m| m.version = 1), "names one"),
        (with(|m| m.members.reverse()), "`t3` is out of order"),
        (with(|m| m.members[1].clients.clear()), "member `t1` has no client"),
        (with(|m| m.members[1].clients[0] = wire::identity(100)), "key of member `t1` is also"),
        (with(|m| m.members.truncate(2)), "3 to 512 clients, not 2"),
        (with(|m| m.members.clear()), "1 to 512 members, not 0"),
        (with(|m| m.rules.clients_min = 1), "at least 2, not 1"),
        (with(|m| m.rules.clients_min = 5), too_many_for_five),
        (with(|m| m.rules.corrupt_max = Some(3)), "withstand at most 2 colluders, not 3"),
        (with(|m| m.rules.dropout_permille = 1000), "below 1000, not 1000"),
        (with(|m| m.rules.pinned_peers_min = 5), "only 4 peers"),
        (with(|m| m.task.rounds = 0), "rounds is 1 to 1000000, not 0"),
        (with(|m| m.task.hyperparameters.learning_rate = f32::NAN), "learning_rate is above 0"),
        (with(|m| m.task.hyperparameters.batch_rows = 0), "batch_rows is 1 to 1048576, not 0"),
        (with(|m| m.task.quantisation.ring_bits = 8), "ring_bits is 16 or 32, not 8"),
        (with(|m| m.task.quantisation.clip = 1e-44), "quantisation.clip is 0.000001 to 1000"),
        (
            with(|m| m.task.quantisation.weight_max = u32::MAX),
            "a ring of 32 bits has too few levels",
        ),
        (with(|m| m.task.quantisation.weight_max = 0), "quantisation.weight_max is at least 1"),
        (with(|m| m.task.quantisation.rows_per_weight = 0), "rows_per_weight is at least 1"),
        (with(|m| m.task.model = ModelSpec::Mlp { hidden: vec![], seed: 0 }), "model: an mlp"),
        (with(|m| m.task.optimiser = OptimiserSpec::FedAvg { learning_rate: 0.0 }), "optimiser:"),
    ];
    for (manifest, words) in cases {
        let error = SignedManifest::draft(manifest).unwrap_err().to_string();
        assert!(error.contains(words), "{error}\nlacks: {words}");
    }
}

#[test]
fn what_a_cohort_that_is_too_small_is_told_to_do_can_be_done() {
    let with = |clients, corrupt, clients_min| {
        let rules = manifest(&[1, 1, 1]).rules;
        Rules { corrupt_max: Some(corrupt), clients_min, ..rules }.floors(clients)
    };
    let cases = [
        (3, 2, 3, "lower corrupt_max to 0, or have more clients"),
        (3, 2, 2, "lower corrupt_max to 1, or have more clients"),
        (5, 2, 5, "lower clients_min to 3, or have more clients"),
        (3, 2, 4, "it has 3: have more clients"),
    ];
    for (clients, corrupt, clients_min, words) in cases {
        let refused = with(clients, corrupt, clients_min).unwrap_err().to_string();
        assert!(refused.ends_with(words), "{refused}");
    }
    assert!(with(3, 0, 3).is_ok() && with(3, 1, 2).is_ok() && with(5, 2, 3).is_ok());
}

#[test]
fn the_floors_follow_the_rules_of_the_complete_graph() {
    let rules = manifest(&[1, 1, 1]).rules;
    for (clients, threshold, corrupt, survivors) in
        [(3, 3, 0, 3), (4, 3, 0, 3), (5, 4, 1, 4), (10, 7, 2, 7), (100, 67, 24, 70)]
    {
        let floors = rules.floors(clients).unwrap();
        assert_eq!((floors.threshold(), floors.quorum()), (threshold, threshold));
        assert_eq!((floors.corrupt(), floors.survivors_min(clients)), (corrupt, survivors));
    }
    let strict = Rules { dropout_permille: 100, clients_min: 6, ..rules };
    let floors = strict.floors(10).unwrap();
    assert_eq!(
        (floors.members_min(), floors.survivors_min(10), floors.survivors_min(9)),
        (8, 9, 9)
    );
    assert!(strict.floors(6).is_err() && strict.floors(2).is_err());
}

#[test]
fn groups_spread_the_clients_of_a_tenant() {
    let manifest = manifest(&[3, 3, 3]);
    let groups = manifest.groups().to_vec();
    assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3]);
    for group in groups {
        let tenants: BTreeSet<_> = manifest
            .clients()
            .filter(|client| group.contains(&client.id))
            .map(|client| client.tenant.clone())
            .collect();
        assert_eq!(tenants.len(), 3);
    }
}

#[test]
fn a_cohort_is_a_union_of_groups_or_it_is_not() {
    let manifest = manifest(&[4, 4]);
    let groups = manifest.groups();
    let [first, second] = <[Vec<ClientId>; 2]>::try_from(groups.to_vec()).unwrap();
    assert!(groups.is_union([]) && groups.is_union(first.clone()));
    assert!(groups.is_union(manifest.clients().map(|client| client.id)));
    assert!(!groups.is_union(first[1..].to_vec()));
    assert!(!groups.is_union([ClientId(wire::digest("stranger"))]));
    let some: BTreeSet<_> = first.iter().chain(&second[1..]).copied().collect();
    assert_eq!(groups.whole(&some), first.into_iter().collect());
}

fn signed(manifest: Manifest, signers: &[u8]) -> SignedManifest {
    let mut signed = SignedManifest::draft(manifest).unwrap();
    for tenant in signers {
        let signature = signed.manifest.sign(&wire::key(100 + tenant));
        signed.add(None, &tenant_id(*tenant), signature).unwrap();
    }
    signed
}

fn tenant_id(number: u8) -> TenantId {
    format!("t{number}").parse().unwrap()
}

fn own(number: u8) -> OwnEntry {
    OwnEntry {
        tenant: tenant_id(number),
        tenant_key: wire::identity(100 + number),
        identity: wire::identity(number + 1),
    }
}

#[test]
fn a_first_manifest_is_pinned_once_every_member_has_signed() {
    let incomplete = signed(manifest(&[1, 1, 1]), &[2, 0]);
    let refused = Pinned::new(incomplete.clone(), None, &own(0)).unwrap_err().to_string();
    assert_eq!(refused, "2 of 3 signatures; waiting for t1");
    let mut complete = incomplete;
    let signature = complete.manifest.sign(&wire::key(101));
    assert!(complete.add(None, &tenant_id(1), signature).unwrap().is_complete());
    let pinned = Pinned::new(complete.clone(), None, &own(0)).unwrap();
    assert_eq!(pinned.hash(), complete.manifest.hash());
    assert!(complete.add(None, &tenant_id(1), signature).unwrap().is_complete());
    assert_eq!(complete.signatures.len(), 3);
}

#[test]
fn a_client_pins_no_manifest_that_names_it_under_other_keys() {
    let complete = signed(manifest(&[1, 1, 1]), &[0, 1, 2]);
    let others = [
        OwnEntry { tenant: tenant_id(9), ..own(0) },
        OwnEntry { tenant_key: wire::identity(50), ..own(0) },
        OwnEntry { identity: wire::identity(50), ..own(0) },
        OwnEntry { identity: wire::identity(2), ..own(0) },
    ];
    for own in others {
        let refused = Pinned::new(complete.clone(), None, &own);
        assert!(matches!(refused, Err(PinError::OwnEntry(_))), "{refused:?}");
    }
}

#[test]
fn a_signature_by_a_stranger_by_another_key_or_under_other_words_is_refused() {
    let mut draft = SignedManifest::draft(manifest(&[1, 1, 1])).unwrap();
    let good = draft.manifest.sign(&wire::key(100));
    assert_eq!(draft.add(None, &tenant_id(5), good), Err(SignatureError::NotAsked(tenant_id(5))));
    assert_eq!(
        draft.add(None, &tenant_id(1), good),
        Err(SignatureError::DoesNotVerify(tenant_id(1)))
    );
    let mut altered = signed(manifest(&[1, 1, 1]), &[0, 1, 2]);
    altered.manifest.task.rounds += 1;
    assert_eq!(altered.verify(None), Err(SignatureError::DoesNotVerify(tenant_id(0))));
    let mut disordered = signed(manifest(&[1, 1, 1]), &[0, 1, 2]);
    disordered.signatures.swap(0, 1);
    assert!(matches!(disordered.verify(None), Err(SignatureError::Order(_))));
    let mut doubled = signed(manifest(&[1, 1, 1]), &[0, 1, 2]);
    doubled.signatures[1] = doubled.signatures[0].clone();
    assert!(matches!(doubled.verify(None), Err(SignatureError::Order(_))));
}

/// The next version of a manifest, changed, with signatures by (tenant, key).
fn amended(
    from: &Manifest,
    change: impl FnOnce(&mut Manifest),
    signers: &[(u8, u8)],
) -> Result<SignedManifest, SignatureError> {
    let predecessor = Some(from.hash());
    let mut next = Manifest { version: from.version + 1, predecessor, ..from.clone() };
    change(&mut next);
    let mut signed = SignedManifest::draft(next)?;
    for (tenant, key) in signers {
        let signature = signed.manifest.sign(&wire::key(*key));
        signed.add(Some(from), &tenant_id(*tenant), signature)?;
    }
    signed.verify(Some(from))?;
    Ok(signed)
}

fn ruled(rule: AmendmentRule, clients: &[u8]) -> Manifest {
    let mut manifest = manifest(clients);
    manifest.rules.amendment = rule;
    manifest
}

fn join(manifest: &mut Manifest) {
    manifest.members.push(Member {
        tenant: tenant_id(7),
        tenant_key: wire::identity(107),
        clients: vec![wire::identity(60)],
    });
}

fn new_key(manifest: &mut Manifest) {
    manifest.members[1].tenant_key = wire::identity(77);
}

#[test]
fn under_the_rule_of_all_everyone_signs_a_joining_a_leaving_and_a_new_key() {
    let first = ruled(AmendmentRule::All, &[1, 1, 1, 1]);
    let old = [(0, 100), (1, 101), (2, 102), (3, 103)];
    let joined = [&old[..], &[(7, 107)]].concat();
    assert!(amended(&first, join, &joined).is_ok());
    let missing_newcomer = amended(&first, join, &old).unwrap_err().to_string();
    assert_eq!(missing_newcomer, "4 of 5 signatures; waiting for t7");
    assert!(amended(&first, join, &joined[1..]).is_err());

    let leave = |m: &mut Manifest| drop(m.members.remove(3));
    assert!(amended(&first, leave, &old).is_ok());
    assert!(amended(&first, leave, &old[..3]).is_err());

    let replaced = [(0, 100), (1, 77), (2, 102), (3, 103)];
    assert!(amended(&first, new_key, &replaced).is_ok());
    assert!(matches!(
        amended(&first, new_key, &old),
        Err(SignatureError::DoesNotVerify(tenant)) if tenant == tenant_id(1)
    ));
}

#[test]
fn under_the_rule_of_the_majority_more_than_half_of_the_old_members_and_every_newcomer_sign() {
    let first = ruled(AmendmentRule::Majority, &[1, 1, 1, 1]);
    let three = [(0, 100), (2, 102), (3, 103)];
    assert!(amended(&first, join, &[&three[..], &[(7, 107)]].concat()).is_ok());
    let refused = amended(&first, join, &three).unwrap_err().to_string();
    assert_eq!(refused, "3 of 4 signatures; waiting for t7");
    let half = [(0, 100), (2, 102), (7, 107)];
    let refused = amended(&first, join, &half).unwrap_err().to_string();
    assert_eq!(refused, "3 of 4 signatures; waiting for t1, t3");
    let expel = |m: &mut Manifest| drop(m.members.remove(1));
    assert!(amended(&first, expel, &three).is_ok());
    // The new key does not count among the votes of the old members.
    assert!(amended(&first, new_key, &[(0, 100), (1, 77), (2, 102)]).is_err());
    assert!(amended(&first, new_key, &[(0, 100), (1, 77), (2, 102), (3, 103)]).is_ok());
}

#[test]
fn one_amendment_replaces_one_key_and_leaves_what_is_fixed() {
    let first = ruled(AmendmentRule::Majority, &[1, 1, 1, 1]);
    type Change = fn(&mut Manifest);
    let two_keys: Change = |m| {
        m.members[1].tenant_key = wire::identity(77);
        m.members[2].tenant_key = wire::identity(78);
    };
    let cases: [(Change, &str); 9] = [
        (two_keys, "keys of `t1` and `t2`"),
        (|m| m.federation = FederationId([8; 16]), "federation"),
        (|m| m.owner = tenant_id(1), "owner"),
        (|m| m.rules.amendment = AmendmentRule::All, "rule of amendment"),
        (|m| m.task.model = ModelSpec::Softmax { seed: 2 }, "model"),
        (|m| m.task.optimiser = OptimiserSpec::FedAvg { learning_rate: 0.5 }, "server optimiser"),
        (|m| m.task.schema = crate::testing::images(9, 10), "schema"),
        (|m| m.version = 5, "version 5, the next one is 1"),
        (|m| m.predecessor = Some(wire::digest("other")), "follows another manifest"),
    ];
    for (change, words) in cases {
        let error = amended(&first, change, &[]).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let second = signed(first.clone(), &[0, 1, 2, 3]);
    assert!(second.verify(Some(&first)).is_err());
}

#[test]
fn a_client_pins_an_amendment_of_the_given_manifest_that_still_names_it_and_no_other() {
    let first = ruled(AmendmentRule::Majority, &[1, 1, 1, 1]);
    let more_rounds = |m: &mut Manifest| m.task.rounds += 1;
    let second = amended(&first, more_rounds, &[(0, 100), (2, 102), (3, 103)]).unwrap();
    let next = Pinned::new(second.clone(), Some(&first), &own(1)).unwrap();
    assert_eq!(next.manifest().version, 1);
    let other = Pinned::new(second.clone(), Some(&second.manifest), &own(1));
    assert!(matches!(other, Err(PinError::Signatures(_))));
    assert!(matches!(Pinned::new(second, None, &own(1)), Err(PinError::Signatures(_))));
    let expelled = amended(&first, |m| drop(m.members.remove(1)), &[(0, 100), (2, 102), (3, 103)]);
    let expelled = Pinned::new(expelled.unwrap(), Some(&first), &own(1));
    assert!(matches!(expelled, Err(PinError::OwnEntry(_))));
}

#[test]
fn a_weight_is_rows_over_the_unit_within_its_bounds() {
    let quantisation =
        Quantisation { ring_bits: 32, clip: 1.0, weight_max: 100, rows_per_weight: 10 };
    let weights = [0, 4, 5, 15, 994, 1_000_000, u64::MAX].map(|rows| quantisation.weight(rows));
    assert_eq!(weights, [1, 1, 1, 2, 99, 100, 100]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn every_union_of_groups_is_a_possible_cohort(
        clients_of in prop::collection::vec(1_u8..6, 3..12),
        clients_min in 2_u16..9,
        corrupt_max in prop::option::of(0_u16..6),
        chosen in any::<u64>(),
    ) {
        let mut manifest = manifest(&clients_of);
        manifest.rules.clients_min = clients_min;
        manifest.rules.corrupt_max = corrupt_max;
        prop_assume!(manifest.validate().is_ok());
        let groups = manifest.groups();
        let mut cohort = BTreeSet::new();
        for (i, group) in groups.to_vec().into_iter().enumerate() {
            prop_assert!(group.len() >= usize::from(clients_min));
            if chosen >> (i % 64) & 1 == 1 {
                cohort.extend(group);
            }
        }
        prop_assert!(groups.is_union(cohort.iter().copied()));
        if !cohort.is_empty() {
            let floors = manifest.floors(cohort.len()).unwrap();
            prop_assert!(usize::from(floors.survivors_min(cohort.len())) <= cohort.len());
        }
        let mut reordered = manifest.clone();
        reordered.members.iter_mut().for_each(|member| member.clients.reverse());
        prop_assert_eq!(reordered.groups(), groups);
    }
}

#[test]
fn a_large_federation_is_refused_where_no_graph_is_safe_for_it() {
    let of = |clients: u16, change: fn(&mut Rules)| {
        let key = |number: u16| {
            let mut seed = [9; 32];
            seed[..2].copy_from_slice(&number.to_le_bytes());
            IdentityKey::from_seed(Secret::new(seed)).public()
        };
        let tenant_key = key(u16::MAX);
        let clients = (0..clients).map(key).collect();
        let member = Member { tenant: tenant_id(1), tenant_key, clients };
        let mut manifest = crate::testing::manifest(vec![member]);
        manifest.rules.coordinator = CoordinatorTrust::SemiHonest;
        change(&mut manifest.rules);
        manifest.validate().map(|()| manifest)
    };
    let said = |clients, change| of(clients, change).unwrap_err().to_string();
    let sparse = of(600, |rules| rules.dropout_permille = 100).unwrap();
    let floors = sparse.floors(600).unwrap();
    assert!(floors.degree() < 300 && floors.neighbours_min() == floors.threshold());
    assert_eq!(sparse.floors(512).unwrap().degree(), 511);
    let unsafe_rules = said(600, |rules| rules.corrupt_max = Some(250));
    assert!(unsafe_rules.contains("would do"), "{unsafe_rules}");
    let small_parts = said(600, |rules| {
        (rules.corrupt_max, rules.dropout_permille, rules.clients_min) = (Some(0), 10, 20);
    });
    assert!(small_parts.contains("lower clients_min from 20 to"), "{small_parts}");
    let malicious = said(513, |rules| rules.coordinator = CoordinatorTrust::Malicious);
    assert!(malicious.contains("3 to 512 clients, not 513"), "{malicious}");
    assert!(said(1025, |_| {}).contains("3 to 1024 clients, not 1025"));
}
