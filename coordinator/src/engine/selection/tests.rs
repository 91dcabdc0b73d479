use proptest::prelude::*;
use roundelay_protocol::manifest::Rules;

use super::*;
use crate::testing::{keys, manifest};

/// Twelve clients in groups of at least four.
fn terms() -> Terms {
    let mut manifest = manifest(&keys(12), 1, false);
    manifest.rules = Rules { clients_min: 3, ..manifest.rules };
    Terms::new(manifest)
}

fn seed(number: u8) -> Digest {
    Digest([number; 32])
}

fn everyone(terms: &Terms) -> BTreeSet<ClientId> {
    terms.clients().collect()
}

fn nobody() -> BTreeSet<ClientId> {
    BTreeSet::new()
}

#[test]
fn without_a_wish_everyone_is_planned() {
    let terms = terms();
    let all = everyone(&terms);
    let cohort = Selection::default().cohort(&terms, &all, &nobody(), &seed(1));
    assert_eq!(cohort, Some(all));
}

#[test]
fn a_wish_takes_whole_groups_with_enough_clients_above_it() {
    let terms = terms();
    let groups = terms.groups().to_vec();
    assert!(groups.len() >= 3, "the test needs groups to choose from");
    let selection = Selection { clients_wanted: Some(4), over_selection_permille: 250 };
    let mut seen = BTreeSet::new();
    for number in 0..40 {
        let cohort = selection.cohort(&terms, &everyone(&terms), &nobody(), &seed(number));
        let cohort = cohort.unwrap();
        assert!(terms.groups().is_union(cohort.iter().copied()));
        assert!((5..=8).contains(&cohort.len()), "{} clients for 4 + 25 %", cohort.len());
        seen.insert(cohort);
    }
    assert!(seen.len() >= 3, "every group has its turn");
    let again = || selection.cohort(&terms, &everyone(&terms), &nobody(), &seed(1));
    assert_eq!(again(), again());
}

#[test]
fn a_group_with_nobody_there_is_left_out() {
    let terms = terms();
    let groups = terms.groups().to_vec();
    let ready: BTreeSet<_> = groups[1..].iter().flatten().copied().collect();
    let cohort = Selection::default().cohort(&terms, &ready, &nobody(), &seed(1));
    assert_eq!(cohort, Some(ready));
}

#[test]
fn absent_members_of_a_planned_group_are_planned_with_it() {
    let terms = terms();
    let mut ready = everyone(&terms);
    ready.pop_first();
    let cohort = Selection::default().cohort(&terms, &ready, &nobody(), &seed(1));
    assert_eq!(cohort, Some(everyone(&terms)));
}

#[test]
fn where_groups_stay_whole_an_absent_member_takes_its_group_along() {
    let mut manifest = manifest(&keys(12), 1, false);
    manifest.rules = Rules { clients_min: 3, whole_groups: true, ..manifest.rules };
    let terms = Terms::new(manifest);
    let mut ready = everyone(&terms);
    let absent = ready.pop_first().unwrap();
    let cohort = Selection::default().cohort(&terms, &ready, &nobody(), &seed(1)).unwrap();
    let whole = terms.groups().whole(&cohort.intersection(&ready).copied().collect());
    let floors = terms.floors(cohort.len()).unwrap();
    assert!(whole.len() >= usize::from(floors.members_min()), "the round can succeed");
    let groups = terms.groups().to_vec();
    let of_absent = groups.into_iter().find(|group| group.contains(&absent)).unwrap();
    assert!(!reaches_floors(&terms, &of_absent.into_iter().collect(), &ready));
}

#[test]
fn the_emptiest_group_goes_where_the_floors_are_out_of_reach_with_it() {
    let terms = terms();
    let groups = terms.groups().to_vec();
    let mut ready = everyone(&terms);
    let lonely = groups[0].iter().skip(1);
    for absent in lonely.chain(&groups[1][..1]).chain(&groups[2][..1]) {
        ready.remove(absent);
    }
    assert!(!reaches_floors(&terms, &everyone(&terms), &ready));
    let cohort = Selection::default().cohort(&terms, &ready, &nobody(), &seed(1)).unwrap();
    assert!(cohort.is_disjoint(&groups[0].iter().copied().collect()));
    assert!(reaches_floors(&terms, &cohort, &ready));
}

#[test]
fn nobody_who_is_spent_is_planned_again_nor_anyone_of_the_same_group() {
    let terms = terms();
    let groups = terms.groups().to_vec();
    let spent = BTreeSet::from([groups[0][0]]);
    let cohort = Selection::default().cohort(&terms, &everyone(&terms), &spent, &seed(1));
    assert!(cohort.unwrap().is_disjoint(&groups[0].iter().copied().collect()));
    let all = everyone(&terms);
    assert_eq!(Selection::default().cohort(&terms, &all, &all, &seed(1)), None);
}

proptest! {
    #[test]
    fn a_cohort_is_a_union_of_groups_that_can_reach_the_floors(
        there in prop::collection::vec(any::<bool>(), 12),
        spent in prop::collection::vec(prop::bool::weighted(0.1), 12),
        wanted in prop::option::of(1u16..14),
        number in any::<u8>(),
    ) {
        let terms = terms();
        let those = |flags: &[bool]| -> BTreeSet<ClientId> {
            terms.clients().zip(flags).filter(|(_, flag)| **flag).map(|(id, _)| id).collect()
        };
        let (ready, spent) = (those(&there), those(&spent));
        let selection = Selection { clients_wanted: wanted, over_selection_permille: 300 };
        if let Some(cohort) = selection.cohort(&terms, &ready, &spent, &seed(number)) {
            prop_assert!(terms.groups().is_union(cohort.iter().copied()));
            prop_assert!(cohort.is_disjoint(&spent));
            let floors = terms.floors(cohort.len()).unwrap();
            let present = cohort.intersection(&ready).count();
            prop_assert!(present >= usize::from(floors.members_min()));
        }
    }
}

/// A hundred clients in groups of at least three, of whom 24 may collude.
#[test]
fn a_cohort_too_small_for_the_others_to_believe_its_result_is_not_planned() {
    let terms = Terms::new(manifest(&keys(100), 1, false));
    assert_eq!(terms.attesters_min(), 25);
    let groups = terms.groups().to_vec();
    let ready_in = |count: usize| groups[..count].iter().flatten().copied().collect();
    let mut planned = 0;
    for count in 1..=groups.len() {
        let ready: BTreeSet<_> = ready_in(count);
        let cohort = Selection::default().cohort(&terms, &ready, &nobody(), &seed(1));
        assert_eq!(cohort.is_some(), ready.len() >= 36, "{} are there", ready.len());
        planned += usize::from(cohort.is_some());
    }
    assert!(planned > 0 && planned < groups.len());
    // Fewer are wanted than can be believed.
    let few = Selection { clients_wanted: Some(10), ..Selection::default() };
    let cohort = few.cohort(&terms, &ready_in(groups.len()), &nobody(), &seed(1)).unwrap();
    assert!((36..=36 + groups[0].len()).contains(&cohort.len()), "{}", cohort.len());
    // Those who were shown a set can't be had; the rest goes on.
    let spent = terms.clients().filter(|client| !groups[0].contains(client)).collect();
    let ready = ready_in(groups.len());
    let cohort = Selection::default().cohort(&terms, &ready, &spent, &seed(1));
    assert_eq!(cohort, Some(groups[0].iter().copied().collect()));
}
