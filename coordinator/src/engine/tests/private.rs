//! Federations that promise differential privacy.

use roundelay_protocol::privacy::testing::privacy;
use roundelay_protocol::privacy::{Mechanism, Privacy};

use super::*;

const CLIENTS: usize = 4;

/// What a budget of so many rounds is, and not of one more.
fn promise_of(rounds: u64) -> Privacy {
    let with = |epsilon| Privacy { epsilon, ..privacy() };
    let release = World::private(CLIENTS, 1, with(1e3), 1).release();
    let pays = |epsilon: f64| with(epsilon).pays(release, 1000);
    let tenths = (1..10_000).map(|tenths| f64::from(tenths) / 10.0);
    with(tenths.into_iter().find(|epsilon| pays(*epsilon) == rounds).expect("such a budget"))
}

#[test]
fn a_federation_that_promises_privacy_trains_without_statistics_and_evaluation() {
    for mechanism in [Mechanism::Distributed, Mechanism::Central] {
        let mut world = World::private(CLIENTS, 2, Privacy { mechanism, ..privacy() }, 1);
        world.run();
        assert_finished(&world);
        let kinds = [(1, Some(PlanKind::Train)), (2, Some(PlanKind::Train))];
        assert_eq!(published(&world), kinds, "{mechanism:?}");
        assert!(world.disk.evaluated.is_empty());
        let status = world.status();
        let privacy = status.privacy.expect("a promise");
        assert_eq!((status.reason, privacy.rounds_charged), (None, 2));
        for client in &world.clients {
            assert_eq!(client.account().ledger().releases(), 2);
            assert!(client.state.standardisation().is_some(), "by the bounds of the schema");
        }
    }
}

#[test]
fn a_federation_whose_budget_is_spent_by_failed_rounds_finishes_early_and_says_why() {
    let rounds = 3;
    let mut world = World::private(CLIENTS, rounds, promise_of(rounds.into()), 6);
    // The first round loses too many after they uploaded.
    world.script = vec![
        incident(0, 1, Point::Commit, What::Restart(3_000)),
        incident(1, 1, Point::Commit, What::Restart(3_000)),
    ];
    world.run();
    assert_finished(&world);
    assert_eq!(published(&world).len(), 2, "{:?}", world.outcomes());
    assert_eq!(world.progress().version, ModelVersion(2));
    let status = world.status();
    let privacy = status.privacy.expect("a promise");
    assert_eq!((privacy.rounds_charged, privacy.rounds_left), (3, 0));
    let reason = status.reason.expect("why there are fewer rounds");
    assert!(reason.contains("2 of 3 have led to a model"), "{reason}");
    assert_eq!(world.ended.len(), CLIENTS, "everyone is told");
}

#[test]
fn a_client_whose_data_is_spent_elsewhere_sits_out_and_the_others_go_on() {
    let mut world = World::private(5, 2, privacy(), 3);
    let (release, budget) = (world.release(), privacy().budget());
    while world.clients[0].account().charge(release, budget).is_ok() {}
    world.run();
    let status = world.status();
    assert_eq!(status.state, State::Finished, "{status:?}");
    let survivors: Vec<_> = world.disk.rounds.values().map(|round| round.survivors).collect();
    assert_eq!(survivors, [4, 4]);
    let [declined] = &status.declined[..] else { panic!("{:?}", status.declined) };
    assert_eq!(declined.reason, Refusal::PrivacyBudget);
}
