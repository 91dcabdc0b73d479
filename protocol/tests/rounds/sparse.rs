//! Rounds over a sparse graph: more than 512 clients under a manifest that takes the coordinator for
//! semi-honest. Every client has a mask with its neighbours alone, and they alone hold its shares.

use std::collections::BTreeSet;

use roundelay_protocol::error::Refusal;
use roundelay_protocol::ids::{RosterIndex, RoundNumber};
use roundelay_protocol::manifest::{CoordinatorTrust, Rules};
use roundelay_protocol::message::FromClient;
use roundelay_protocol::pair::{Fault, Options, Pair, Point, When};
use roundelay_protocol::plan::PlanKind;
use roundelay_protocol::time::Millis;

use crate::checks::{assert_published, assert_sound};

const CLIENTS: u16 = 600;

fn options(faults: Vec<Fault>) -> Options {
    let plain = Options::new(CLIENTS, 3);
    let rules = Rules {
        coordinator: CoordinatorTrust::SemiHonest,
        corrupt_max: Some(0),
        dropout_permille: 20,
        ..plain.rules
    };
    Options { rules, faults, delay_ms: 5..=9, ..plain }
}

fn crash(client: usize, at: Point) -> Fault {
    Fault::Crash { client, at, when: When::Before, back_after: None }
}

/// To whom a client dealt shares in a round.
fn dealt(pair: &Pair, client: usize, round: RoundNumber) -> Option<BTreeSet<RosterIndex>> {
    pair.peer(client).sent.iter().find_map(|(sent, message)| match message {
        FromClient::Shares(shares) if *sent == round => {
            Some(shares.leaves.iter().map(|leaf| leaf.to).collect())
        }
        _ => None,
    })
}

#[test]
fn six_hundred_clients_with_dropouts_at_every_stage_give_the_exact_sum() {
    let early = [(5, Point::Advert), (17, Point::Advert), (100, Point::Shares), (7, Point::Opened)];
    let late = [(300, Point::Upload), (301, Point::Upload), (599, Point::Commit)];
    let last = [(42, Point::Signature), (43, Point::Reveal), (44, Point::Reveal)];
    let faults = early.iter().chain(&late).chain(&last).map(|(client, at)| crash(*client, *at));
    let back = Fault::Cut {
        client: 200,
        at: Point::Opened,
        when: When::Before,
        back_after: Some(Millis(50)),
    };
    let restart = Fault::RestartCoordinator { after_records: 700, down: Millis(20) };
    let mut pair = Pair::new(options(faults.chain([back, restart]).collect()));
    let round = pair.round(PlanKind::Train);

    let floors = pair.terms().floors(usize::from(CLIENTS)).unwrap();
    let degree = usize::from(floors.degree());
    assert!(degree < 30 && floors.threshold() < floors.degree(), "{degree}");
    // Those who crash before MaskedInput are no dropouts of it, and those after it are in the sum.
    let gone: BTreeSet<usize> = early.iter().chain(&late).map(|(client, _)| *client).collect();
    let survivors: Vec<usize> = (0..CLIENTS.into()).filter(|it| !gone.contains(it)).collect();
    assert_published(&pair, round, &survivors);
    assert_sound(&pair);
    let sets: Vec<_> = (0..CLIENTS.into()).map(|client| dealt(&pair, client, round)).collect();
    for (client, to) in sets.iter().enumerate() {
        let Some(to) = to else { continue };
        // But for the two who sent no advert.
        assert!((degree - 2..=degree).contains(&to.len()), "client {client}: {}", to.len());
        for other in to.iter().filter_map(|to| sets[usize::from(to.0)].as_ref()) {
            assert!(other.contains(&RosterIndex(client as u16)), "a neighbour's neighbour");
        }
    }
    let most = (0..CLIENTS.into()).filter_map(|client| {
        pair.peer(client).sent.iter().find_map(|(_, message)| match message {
            FromClient::Reveal(reveal) => Some(reveal.self_mask_shares.len()),
            _ => None,
        })
    });
    assert!(most.max().unwrap() <= degree, "nobody holds shares of more than its neighbours");
    let refused = (0..CLIENTS.into()).filter_map(|client| pair.peer(client).refusal(round));
    let refused: Vec<&Refusal> = refused.collect();
    assert!(refused.is_empty(), "{refused:?}");
}
