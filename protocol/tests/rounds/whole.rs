//! Rounds in which nothing goes wrong.

use roundelay_protocol::ids::ModelVersion;
use roundelay_protocol::pair::{Options, Pair};
use roundelay_protocol::plan::PlanKind;

use crate::checks::assert_published;

#[test]
fn rounds_of_every_kind_publish_the_exact_sum_and_everyone_derives_the_same_state() {
    for clients in [3_u16, 4, 5, 7] {
        let options = Options::new(clients, u64::from(clients));
        let mut pair = Pair::new(Options { rounds: 2, ..options });
        let all: Vec<usize> = (0..usize::from(clients)).collect();
        for kind in [PlanKind::Statistics, PlanKind::Train, PlanKind::Train, PlanKind::Evaluate] {
            let round = pair.round(kind);
            assert_published(&pair, round, &all);
        }
        assert_eq!(pair.coordinator().standing().model_version, ModelVersion(2));
        for client in all {
            assert_eq!(pair.peer(client).history.standing(), Some(&pair.coordinator().standing()));
        }
    }
}

#[test]
fn rounds_back_to_back_are_prepared_while_the_one_before_trains() {
    let mut pair = Pair::new(Options::new(5, 2));
    let rounds = pair.rounds(PlanKind::Train, 5);
    assert_eq!(pair.coordinator().standing().model_version, ModelVersion(5));
    assert_eq!(rounds.len(), 5);
    for round in rounds {
        assert_published(&pair, round, &[0, 1, 2, 3, 4]);
    }
    for client in 0..5 {
        assert_eq!(pair.peer(client).history.standing(), Some(&pair.coordinator().standing()));
    }
}
