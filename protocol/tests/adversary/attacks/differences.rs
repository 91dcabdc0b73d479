//! The linear combination of several sums that isolates one client (So et al. 2023): pairwise
//! differences of the sets are no defence, fixed groups are.

use std::collections::BTreeSet;

use roundelay_protocol::error::Refusal;
use roundelay_protocol::ids::ClientId;
use roundelay_protocol::message::ToClient;
use roundelay_protocol::pair::{Options, Pair};

use crate::harness::{VICTIM, assert_refused, lie_in};

type Set = BTreeSet<ClientId>;

/// S1 + S2 + S3 − 2·S4 over a victim and three blocks of as many clients.
fn four_sets(victim: ClientId, blocks: [&[ClientId]; 3]) -> [Set; 4] {
    let with = |some: &[usize]| {
        let clients = some.iter().flat_map(|block| blocks[*block].iter().copied());
        clients.chain([victim]).collect()
    };
    [with(&[0, 1]), with(&[0, 2]), with(&[1, 2]), with(&[0, 1, 2])]
}

const FACTORS: [i64; 4] = [1, 1, 1, -2];

/// How often each client is in the combination.
fn weights(sets: &[Set; 4], clients: &[ClientId]) -> Vec<i64> {
    let times = |client: &ClientId| {
        let of = sets.iter().zip(FACTORS).filter(|(set, _)| set.contains(client));
        of.map(|(_, factor)| factor).sum()
    };
    clients.iter().map(times).collect()
}

/// The rule that is not enough: any two sets differ by nobody, or by a group at least.
fn pairwise_rule_allows(sets: &[Set; 4], group_min: usize) -> bool {
    let differ = |one: &Set, other: &Set| one.symmetric_difference(other).count();
    let mut pairs = sets.iter().flat_map(|one| sets.iter().map(move |other| differ(one, other)));
    pairs.all(|difference| difference == 0 || difference >= group_min)
}

#[test]
fn four_sums_isolate_a_client_under_the_pairwise_rule_and_none_under_fixed_groups() {
    let pair = Pair::new(Options::new(16, 11));
    let (clients, groups) = (pair.ids(), pair.terms().groups());
    let group_min = groups.to_vec().iter().map(Vec::len).min().unwrap();
    assert!(group_min >= 3 && groups.to_vec().len() >= 4);

    let victim = clients[VICTIM];
    let others: Vec<ClientId> = clients.iter().copied().filter(|id| *id != victim).collect();
    let sets = four_sets(victim, [&others[..5], &others[5..10], &others[10..]]);
    assert!(pairwise_rule_allows(&sets, group_min));
    let weights_of = weights(&sets, &clients);
    for (client, weight) in clients.iter().zip(&weights_of) {
        assert_eq!(*weight, i64::from(*client == victim), "the victim alone is left");
    }
    // Sums of what they contribute, for the doubter.
    let contribution = |client: &ClientId| i64::from(client.0.0[0]) * 1_000 + 7;
    let sums = sets.iter().map(|set| set.iter().map(contribution).sum::<i64>());
    let combined: i64 = sums.zip(FACTORS).map(|(sum, factor)| sum * factor).sum();
    assert_eq!(combined, contribution(&victim));

    // Real: whatever the blocks, one of the four is no cohort; and of sets that are, whatever the
    // factors, all clients of a group are in the combination equally often.
    assert!(sets.iter().any(|set| !groups.is_union(set.iter().copied())));
    let groups = groups.to_vec();
    let union = |chosen: &[usize]| -> Set {
        chosen.iter().flat_map(|group| groups[*group].iter().copied()).collect()
    };
    let allowed = [union(&[0, 1]), union(&[0, 2]), union(&[0, 3]), union(&[0, 1, 2, 3])];
    let weights_of = weights(&allowed, &clients);
    for group in &groups {
        let places = group.iter().map(|id| clients.binary_search(id).unwrap());
        let distinct: BTreeSet<i64> = places.map(|place| weights_of[place]).collect();
        assert_eq!(distinct.len(), 1, "nobody of a group is alone");
    }
}

#[test]
fn the_first_of_the_four_sets_is_refused_by_the_client() {
    let mut pair = Pair::new(Options::new(16, 11));
    let (clients, terms) = (pair.ids(), std::sync::Arc::clone(pair.terms()));
    let victim = clients[VICTIM];
    let others: Vec<ClientId> = clients.iter().copied().filter(|id| *id != victim).collect();
    let [first, ..] = four_sets(victim, [&others[..5], &others[5..10], &others[10..]]);
    let floors = terms.floors(first.len()).unwrap();
    let round = lie_in(&mut pair, move |message| match message {
        ToClient::RosterPlan(mut plan) => {
            plan.cohort = first.iter().copied().collect();
            (plan.threshold, plan.quorum) = (floors.threshold(), floors.quorum());
            vec![ToClient::RosterPlan(plan)]
        }
        other => vec![other],
    });
    assert_refused(&pair, round, &Refusal::CohortNotUnionOfGroups, &[]);
}
