//! Dropouts of up to four clients: each client alone at each thing it does, just before and just
//! after; three at once at every combination of points, every pair of four at every combination,
//! and all four (so three of them too) at every set of points.

use roundelay_protocol::error::{AbortReason, Stage};
use roundelay_protocol::message::FromClient;
use roundelay_protocol::pair::{Fault, Options, Pair, Point, When};
use roundelay_protocol::plan::PlanKind;
use roundelay_protocol::round::horizontal::coordinator::Outcome;

use crate::checks::assert_published;

/// Where a client crashes, counted in half points: 0 before its advert, 1 after it, 2 before its
/// shares, and so on; 12 is never.
type Crash = usize;
const NEVER: Crash = 2 * Point::ALL.len();

fn fault(client: usize, crash: Crash) -> Option<Fault> {
    let at = *Point::ALL.get(crash / 2)?;
    let when = if crash.is_multiple_of(2) { When::Before } else { When::After };
    Some(Fault::Crash { client, at, when, back_after: None })
}

/// Whether a client that crashes there has done something before.
fn did(crash: Crash, point: Point) -> bool {
    let place = Point::ALL.iter().position(|other| *other == point).unwrap();
    crash > 2 * place
}

fn doing(crashes: &[Crash], point: Point) -> Vec<usize> {
    (0..crashes.len()).filter(|client| did(crashes[*client], point)).collect()
}

/// Runs a round with these crashes and compares it with what must come out: the sum over exactly
/// those whose commit arrived, or an abort in the stage where too few were left.
fn check(crashes: &[Crash], seed: u64) {
    let clients = u16::try_from(crashes.len()).unwrap();
    let faults = (0..crashes.len()).filter_map(|client| fault(client, crashes[client])).collect();
    let mut pair = Pair::new(Options { faults, ..Options::new(clients, seed) });
    let round = pair.round(PlanKind::Train);

    let stages = [
        (Point::Advert, Stage::AdvertiseKeys),
        (Point::Shares, Stage::ShareKeys),
        (Point::Opened, Stage::ShareKeys),
        (Point::Commit, Stage::MaskedInput),
        (Point::Signature, Stage::ConsistencyCheck),
        (Point::Reveal, Stage::Unmasking),
    ];
    // Three are needed in every stage: q = t = 3 for three and for four clients.
    let failing = stages.iter().find(|(point, _)| doing(crashes, *point).len() < 3);
    let revealed = (0..crashes.len())
        .filter(|client| {
            let sent = pair.peer(*client).sent.iter();
            sent.map(|(_, message)| message).any(|m| matches!(m, FromClient::Reveal(_)))
        })
        .count();
    match failing {
        None => assert_published(&pair, round, &doing(crashes, Point::Commit)),
        Some((_, expected)) => {
            let outcome = pair.coordinator().outcomes.get(&round);
            let Some(Outcome::Aborted(AbortReason::TooFewClients { stage, .. })) = outcome else {
                panic!("{crashes:?}: {outcome:?}, too few were left in {expected:?}");
            };
            assert_eq!(stage, expected, "{crashes:?}");
            // Clients that are asked reveal; fewer than t shares open nothing.
            assert!(*stage == Stage::Unmasking || revealed == 0, "{crashes:?}");
        }
    }
}

#[test]
fn one_client_drops_out_anywhere() {
    for clients in [3, 4] {
        for client in 0..clients {
            for crash in 0..NEVER {
                let mut crashes = vec![NEVER; clients];
                crashes[client] = crash;
                check(&crashes, crash as u64);
            }
        }
    }
}

/// Every point at which a client may be gone, from before its advert to never. To the others,
/// whether it went right after one thing or right before the next is the same: only one client
/// alone is tried at both.
fn points() -> impl Iterator<Item = Crash> + Clone {
    (0..=NEVER).step_by(2)
}

#[test]
fn three_clients_drop_out_at_every_combination_of_points() {
    for one in points() {
        for (two, three) in points().flat_map(|two| points().map(move |three| (two, three))) {
            check(&[one, two, three], (one * NEVER + two) as u64);
        }
    }
}

#[test]
fn every_two_of_four_clients_drop_out_at_every_combination_of_points() {
    for (one, other) in (0..4).flat_map(|a| (a + 1..4).map(move |b| (a, b))) {
        let gone = points().filter(|point| *point < NEVER);
        for (first, second) in gone.clone().flat_map(|a| gone.clone().map(move |b| (a, b))) {
            let mut crashes = vec![NEVER; 4];
            (crashes[one], crashes[other]) = (first, second);
            check(&crashes, (first * NEVER + second) as u64);
        }
    }
}

/// All ways to spread four dropouts over the points, whoever it is; who it is goes round.
#[test]
fn four_clients_drop_out_at_every_set_of_points() {
    let mut turn = 0;
    for one in points() {
        for two in points().filter(|two| *two >= one) {
            for three in points().filter(|three| *three >= two) {
                for four in points().filter(|four| *four >= three) {
                    let mut crashes = vec![one, two, three, four];
                    crashes.rotate_left(turn % 4);
                    check(&crashes, turn as u64);
                    turn += 1;
                }
            }
        }
    }
}
