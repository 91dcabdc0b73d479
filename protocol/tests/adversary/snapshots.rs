//! Clients that were restarted, or restored from an old snapshot: what they have forgotten they may
//! not do again.

use roundelay_protocol::error::Refusal;
use roundelay_protocol::message::FromClient;
use roundelay_protocol::pair::{Fault, Options, Pair, Point, When};
use roundelay_protocol::plan::PlanKind;
use roundelay_protocol::time::Millis;

use crate::checks::assert_published;
use crate::harness::{UPLOADED, VICTIM, assert_refused_without_twin};

#[test]
fn a16_a_client_restored_from_an_old_snapshot_is_told_by_its_peers_and_opens_no_second_set() {
    const RESTORED: usize = 3;
    let mut pair = Pair::new(Options::new(5, 1));
    let snapshot = pair.peer(RESTORED).durable.len();
    pair.on_message_from(|_, message| match message {
        // Everybody signs a set, and the shares get lost.
        FromClient::Reveal(_) => Vec::new(),
        other => vec![other],
    });
    pair.round(PlanKind::Train);
    pair.roll_back(RESTORED, snapshot);
    pair.on_message_from(|_, message| vec![message]);
    let retry = pair.round(PlanKind::Train);
    let peer = pair.peer(RESTORED);
    let refused = Refusal::RolledBack { seen: 1, remembered: 0 };
    assert_eq!(peer.declined(retry).next(), Some(&refused));
    assert!(peer.uploads.iter().all(|(round, _)| *round != retry));
    let sent: Vec<_> = peer.sent.iter().filter(|(round, _)| *round == retry).collect();
    let [(_, FromClient::Advert(_)), (_, FromClient::Shares(_)), (_, FromClient::Declined(_))] =
        sent[..]
    else {
        panic!("{sent:?}");
    };
}

#[test]
fn a16_a_client_restored_from_an_old_snapshot_takes_part_again_after_the_next_model() {
    const RESTORED: usize = 3;
    let mut pair = Pair::new(Options::new(5, 1));
    pair.round(PlanKind::Train);
    let snapshot = pair.peer(RESTORED).durable.len();
    pair.round(PlanKind::Train);
    pair.round(PlanKind::Train);
    pair.roll_back(RESTORED, snapshot);
    let without = pair.round(PlanKind::Train);
    assert_published(&pair, without, &[0, 1, 2, 4]);
    let refused = Refusal::RolledBack { seen: 3, remembered: 1 };
    assert_eq!(pair.peer(RESTORED).declined(without).next(), Some(&refused));
    let with = pair.round(PlanKind::Train);
    assert_published(&pair, with, &[0, 1, 2, 3, 4]);
}

#[test]
fn a16_a_client_whose_process_was_restarted_within_a_round_has_no_keys_of_it_and_sits_it_out() {
    let points = [Point::Advert, Point::Shares, Point::Opened, Point::Upload, Point::Commit];
    for (done, at) in points.into_iter().enumerate() {
        let back_after = Some(Millis(1));
        let crash = Fault::Crash { client: VICTIM, at, when: When::After, back_after };
        let options = Options { faults: vec![crash], delay_ms: 5..=5, ..Options::new(5, 11) };
        let mut pair = Pair::new(options);
        let round = pair.round(PlanKind::Train);
        assert_refused_without_twin(&pair, round, &Refusal::Restarted, &UPLOADED[..=done]);
    }
}
