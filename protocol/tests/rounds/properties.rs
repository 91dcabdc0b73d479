//! Rounds with random clients, delays, faults and orders: the exact sum or a clean abort.

use proptest::prelude::*;
use roundelay_protocol::ids::RoundNumber;
use roundelay_protocol::pair::{Fault, Options, Pair, Point, When};
use roundelay_protocol::plan::PlanKind;
use roundelay_protocol::round::horizontal::coordinator::{Outcome, Record};
use roundelay_protocol::time::Millis;

use crate::checks::{assert_published, assert_sound};

fn point() -> impl Strategy<Value = (Point, When)> {
    (0..Point::ALL.len(), any::<bool>())
        .prop_map(|(at, before)| (Point::ALL[at], if before { When::Before } else { When::After }))
}

fn fault(clients: usize) -> impl Strategy<Value = Fault> {
    let back = prop::option::of((1_u64..3_000).prop_map(Millis));
    prop_oneof![
        (0..clients, point(), back.clone()).prop_map(|(client, (at, when), back_after)| {
            Fault::Crash { client, at, when, back_after }
        }),
        (0..clients, point(), back).prop_map(|(client, (at, when), back_after)| Fault::Cut {
            client,
            at,
            when,
            back_after
        }),
        (0..60_usize, (1_u64..500).prop_map(Millis))
            .prop_map(|(after_records, down)| Fault::RestartCoordinator { after_records, down }),
    ]
}

fn options() -> impl Strategy<Value = Options> {
    (3_u16..9, any::<u64>(), 1_u64..200, any::<bool>()).prop_flat_map(
        |(clients, seed, delay, whole_groups)| {
            prop::collection::vec(fault(clients.into()), 0..4).prop_map(move |faults| {
                let mut options = Options { faults, ..Options::new(clients, seed) };
                options.delay_ms = 1..=delay;
                options.rules.whole_groups = whole_groups;
                options
            })
        },
    )
}

/// The survivors of a round as its records name them.
fn survivors(pair: &Pair, round: RoundNumber) -> Option<Vec<usize>> {
    pair.coordinator().records[&round].iter().find_map(|record| match record {
        Record::Survivors { set, .. } => {
            Some(set.inputs.iter().map(|(index, _)| usize::from(index.0)).collect())
        }
        _ => None,
    })
}

fn check(pair: &Pair, round: RoundNumber) {
    let survivors = survivors(pair, round);
    match &pair.coordinator().outcomes[&round] {
        Outcome::Published(_) => {
            let survivors = survivors.expect("a published round has survivors");
            assert_published(pair, round, &survivors);
            if pair.terms().rules().whole_groups {
                let ids = pair.ids();
                let released = survivors.iter().map(|survivor| ids[*survivor]);
                assert!(pair.terms().groups().is_union(released));
            }
        }
        Outcome::Aborted(_) => {
            // Fewer than t shares of any seed came in: nothing is open.
            let threshold = pair.terms().floors(pair.ids().len()).unwrap().threshold();
            let records = pair.coordinator().records[&round].iter();
            let reveals = records.filter(|record| matches!(record, Record::Revealed(..))).count();
            assert!(reveals < usize::from(threshold));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_round_ends_in_the_exact_sum_or_in_an_abort_that_opens_nothing(options in options()) {
        let mut pair = Pair::new(options);
        let first = pair.round(PlanKind::Train);
        check(&pair, first);
        let second = pair.round(PlanKind::Train);
        check(&pair, second);
        assert_sound(&pair);
        prop_assert!(pair.coordinator().expelled.is_empty(), "all were honest");
    }
}
