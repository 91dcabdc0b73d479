//! Connections that are cut and come back, clients that restart, and a coordinator that dies after
//! any of its records.

use roundelay_protocol::error::Refusal;
use roundelay_protocol::message::FromClient;
use roundelay_protocol::pair::{Fault, Options, Pair, Point, When};
use roundelay_protocol::plan::PlanKind;
use roundelay_protocol::round::horizontal::coordinator::Outcome;
use roundelay_protocol::time::Millis;

use crate::checks::{assert_published, assert_sound};

const MOMENTS: [When; 2] = [When::Before, When::After];

#[test]
fn a_cut_connection_that_comes_back_costs_nothing_at_any_point() {
    // Three clients: everybody is needed to the end.
    for client in 0..3 {
        for (at, when) in Point::ALL.into_iter().flat_map(|at| MOMENTS.map(|when| (at, when))) {
            let cut = Fault::Cut { client, at, when, back_after: Some(Millis(70)) };
            let mut pair = Pair::new(Options { faults: vec![cut.clone()], ..Options::new(3, 7) });
            let round = pair.round(PlanKind::Train);
            assert_published(&pair, round, &[0, 1, 2]);
            assert_sound(&pair);
            assert!(pair.coordinator().expelled.is_empty(), "{cut:?}");
        }
    }
}

#[test]
fn a_client_that_restarts_within_a_round_sits_it_out_and_still_follows_the_model() {
    for client in 0..4 {
        for (at, when) in Point::ALL.into_iter().flat_map(|at| MOMENTS.map(|when| (at, when))) {
            let crash = Fault::Crash { client, at, when, back_after: Some(Millis(1)) };
            let delay_ms = 5..=20;
            let options = Options { faults: vec![crash.clone()], delay_ms, ..Options::new(4, 9) };
            let mut pair = Pair::new(options);
            let round = pair.round(PlanKind::Train);
            let committed = at == Point::Signature
                || at == Point::Reveal
                || (at == Point::Commit && when == When::After);
            // Before its advert it has done nothing yet, and can begin anew.
            let began_anew = at == Point::Advert && when == When::Before;
            let survivors: Vec<usize> =
                (0..4).filter(|other| *other != client || committed || began_anew).collect();
            if began_anew {
                assert!(pair.coordinator().published(round).is_some(), "{crash:?}");
            } else {
                assert_published(&pair, round, &survivors);
            }
            assert_sound(&pair);
            let declined: Vec<&Refusal> = pair.peer(client).declined(round).collect();
            assert!(declined.iter().all(|r| **r == Refusal::Restarted), "{crash:?} {declined:?}");
            let next = pair.round(PlanKind::Train);
            assert_published(&pair, next, &[0, 1, 2, 3]);
        }
    }
}

#[test]
fn a_coordinator_that_dies_after_any_record_goes_on_from_its_records() {
    // One client drops out, so that key seeds have to be rebuilt as well.
    let dropout =
        Fault::Crash { client: 2, at: Point::Upload, when: When::After, back_after: None };
    let records = {
        let mut pair = Pair::new(Options { faults: vec![dropout.clone()], ..Options::new(4, 3) });
        let round = pair.round(PlanKind::Train);
        assert_published(&pair, round, &[0, 1, 3]);
        pair.coordinator().records[&round].len()
    };
    assert!(records > 15, "{records}");
    for after_records in 0..records {
        for again in [None, Some(after_records + 1), Some(after_records + 2)] {
            let down = Millis(40);
            let mut faults = vec![dropout.clone()];
            faults.extend(
                [Some(after_records), again]
                    .into_iter()
                    .flatten()
                    .map(|after_records| Fault::RestartCoordinator { after_records, down }),
            );
            let mut pair = Pair::new(Options { faults, ..Options::new(4, 3) });
            let round = pair.round(PlanKind::Train);
            assert_published(&pair, round, &[0, 1, 3]);
            assert_sound(&pair);
        }
    }
}

#[test]
fn what_is_uploaded_twice_is_byte_for_byte_the_same() {
    let restart = |after_records| Fault::RestartCoordinator { after_records, down: Millis(40) };
    // 3 adverts, 3 shares, the plan, two ends of stages, the training plan: then vectors come.
    let mut pair = Pair::new(Options { faults: vec![restart(9)], ..Options::new(3, 1) });
    pair.on_message_from(|_, message| match message {
        // The commits of the first life are lost, so the vectors are asked for again.
        FromClient::InputCommit(_) => vec![message],
        other => vec![other],
    });
    let round = pair.round(PlanKind::Train);
    assert_published(&pair, round, &[0, 1, 2]);
    for client in 0..3 {
        let uploads = &pair.peer(client).uploads;
        assert!(uploads.iter().all(|upload| upload == &uploads[0]));
    }
}

#[test]
fn an_ended_round_is_announced_again_by_a_successor() {
    let mut pair = Pair::new(Options::new(3, 1));
    let round = pair.round(PlanKind::Train);
    let last = pair.coordinator().records[&round].len() - 1;
    let restart = Fault::RestartCoordinator { after_records: last, down: Millis(40) };
    let mut pair = Pair::new(Options { faults: vec![restart], ..Options::new(3, 1) });
    let round = pair.round(PlanKind::Train);
    assert!(matches!(pair.coordinator().outcomes[&round], Outcome::Published(_)));
    for client in 0..3 {
        assert_eq!(pair.peer(client).history.standing(), Some(&pair.coordinator().standing()));
    }
}
