//! Every dropout point of up to four clients: each client, at each thing it does, just before and
//! just after.

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
    let clients = u8::try_from(crashes.len()).unwrap();
    let faults = (0..crashes.len()).filter_map(|client| fault(client, crashes[client])).collect();
    let mut pair = Pair::new(Options { faults, ..Options::new(clients, seed) });
    let round = pair.round(PlanKind::Train);

    let stages = [
        (Point::Advert, Stage::AdvertiseKeys),
        (Point::Shares, Stage::ShareKeys),
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
            let outcome = pair.host().outcomes.get(&round);
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

#[test]
fn two_of_four_clients_drop_out_anywhere() {
    for (one, other) in [(0, 3), (1, 2)] {
        for (first, second) in (0..NEVER).flat_map(|a| (0..NEVER).map(move |b| (a, b))) {
            let mut crashes = vec![NEVER; 4];
            (crashes[one], crashes[other]) = (first, second);
            check(&crashes, (first * NEVER + second) as u64);
        }
    }
}
