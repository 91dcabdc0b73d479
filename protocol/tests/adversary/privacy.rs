//! Lies about what may be released over a client's data, and what a round costs it whatever becomes of
//! it.

use std::collections::BTreeMap;

use roundelay_protocol::error::Refusal;
use roundelay_protocol::ids::RoundNumber;
use roundelay_protocol::layout::{Encoding, Layout, names};
use roundelay_protocol::message::{FromClient, ToClient};
use roundelay_protocol::pair::{Fault, Options, Pair, Point, When};
use roundelay_protocol::plan::PlanKind;
use roundelay_protocol::privacy::testing::privacy;
use roundelay_protocol::privacy::{NoiseSource, Private, Release};
use roundelay_protocol::time::Millis;

use crate::checks::{assert_published, assert_sound};
use crate::harness::{OPENED, VICTIM, assert_refused, assert_refused_without_twin, lie_in};

fn pair() -> Pair {
    Pair::new(Options { privacy: Some(privacy()), ..Options::new(5, 11) })
}

/// What a round of the pair costs.
fn release(pair: &Pair) -> Release {
    pair.terms().manifest().task.release(5).unwrap()
}

/// Other federations have spent all of a client's budget but for less than one round.
fn spend(pair: &Pair, client: usize) {
    let (account, release) = (&pair.peer(client).setup.account, release(pair));
    while account.charge(release, privacy().budget()).is_ok() {}
}

fn charged(pair: &Pair) -> Vec<u64> {
    (0..pair.ids().len()).map(|client| pair.peer(client).charged.releases()).collect()
}

#[test]
fn a_plan_over_the_budget_of_a_data_set_is_refused_before_anything_is_trained() {
    let mut pair = pair();
    spend(&pair, VICTIM);
    let round = pair.round(PlanKind::Train);
    assert_refused_without_twin(&pair, round, &Refusal::PrivacyBudget, OPENED);
    assert!(!pair.peer(VICTIM).contributions.contains_key(&round), "not even trained for");
    assert_published(&pair, round, &[0, 2, 3, 4]);
    assert_eq!(charged(&pair), [1, 0, 1, 1, 1]);
}

#[test]
fn a_coordinator_that_plans_on_over_every_budget_gets_no_vector() {
    let mut pair = pair();
    let mut rounds = 0;
    loop {
        let round = pair.round(PlanKind::Train);
        if pair.coordinator().published(round).is_none() {
            break;
        }
        rounds += 1;
    }
    let paid = privacy().pays(release(&pair), 1000);
    assert_eq!(rounds, paid, "as many rounds as the budget pays");
    for lie in rounds + 2..rounds + 4 {
        assert_eq!(pair.round(PlanKind::Train), RoundNumber(lie));
    }
    for client in 0..5 {
        let peer = pair.peer(client);
        assert_eq!(peer.uploads.len() as u64, paid);
        assert!(peer.declined(RoundNumber(rounds + 2)).eq([&Refusal::PrivacyBudget]));
    }
    assert_sound(&pair);
}

#[test]
fn a_plan_with_less_noise_or_a_longer_clip_than_the_manifests_is_refused() {
    let changes: [fn(&mut Private); 4] = [
        |private| private.noise_multiplier /= 2.0,
        |private| private.l2_clip *= 2.0,
        |private| private.noise = NoiseSource::Coordinator,
        |private| private.noise = NoiseSource::Clients { honest: 5 },
    ];
    for change in changes {
        let mut pair = pair();
        let round = lie_in(&mut pair, move |message| match message {
            ToClient::TrainingPlan(mut plan) => {
                let mut segments = plan.layout.segments().to_vec();
                let update = segments.iter_mut().find(|s| s.name == names::UPDATE).unwrap();
                let Encoding::Private(private) = &mut update.encoding else { unreachable!() };
                change(private);
                plan.layout = Layout::new(segments, plan.layout.contributors_max()).unwrap();
                vec![ToClient::TrainingPlan(plan)]
            }
            other => vec![other],
        });
        assert_refused(&pair, round, &Refusal::PlanOutsideManifest, OPENED);
        assert_eq!(pair.peer(VICTIM).charged.releases(), 0);
    }
}

#[test]
fn a_round_that_fails_after_uploads_stays_charged_and_its_retry_is_charged_again() {
    let mut pair = pair();
    let mut commits = BTreeMap::new();
    pair.on_message_from(move |from, message| match message {
        // The first commit of each client gets lost: its vector was on its way.
        FromClient::InputCommit(_) if commits.insert(from, ()).is_none() => Vec::new(),
        other => vec![other],
    });
    let failed = pair.round(PlanKind::Train);
    assert!(pair.coordinator().published(failed).is_none());
    assert_eq!(charged(&pair), [1; 5]);
    let retry = pair.round(PlanKind::Train);
    assert_published(&pair, retry, &[0, 1, 2, 3, 4]);
    assert_eq!(charged(&pair), [2; 5]);
}

#[test]
fn a_charge_is_durable_before_the_first_byte_leaves() {
    let faults = vec![Fault::Crash {
        client: VICTIM,
        at: Point::Upload,
        when: When::Before,
        back_after: Some(Millis(500)),
    }];
    let mut pair = Pair::new(Options { faults, privacy: Some(privacy()), ..Options::new(5, 11) });
    let round = pair.round(PlanKind::Train);
    assert!(pair.peer(VICTIM).uploads.iter().all(|(uploaded, _)| *uploaded != round));
    // It died between the two, and knows after its restart.
    assert_eq!(pair.peer(VICTIM).setup.account.ledger().releases(), 1);
}
