//! A coordinator that lies about results and states: what a client takes over, and what it never
//! does.

use std::sync::Arc;

use roundelay_crypto::digest::Digest;
use roundelay_protocol::error::Refusal;
use roundelay_protocol::ids::{ModelVersion, RoundNumber};
use roundelay_protocol::lineage::{Standing, State};
use roundelay_protocol::message::{Published, ToClient};
use roundelay_protocol::plan::PlanKind;
use roundelay_protocol::session::VectorKind;
use roundelay_protocol::time::Millis;
use roundelay_protocol::transcript::aggregate_digest;

use super::super::work::{Derivation, Derived};
use super::super::{Event, Input};
use super::world::{World, task};
use super::{ALL, sat_out};

fn breaks(world: &World, site: usize) -> usize {
    let events = world.sites[site].events.iter();
    events.filter(|event| matches!(event, Event::LineageBroken(_))).count()
}

/// Another state than any that was derived, and a standing that names it.
fn forged(world: &World, standing: Standing) -> Standing {
    let task = world.terms.manifest().task.clone();
    let mut bytes = world.state.to_bytes();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&0.5_f32.to_le_bytes());
    Standing { state: State::from_bytes(&task, &bytes).unwrap().hash(), ..standing }
}

#[test]
fn a19_an_announced_state_that_does_not_follow_is_refused_and_nothing_is_trusted_after_it() {
    // A changed state shows in the transcript, which the coordinator may also forge for this client.
    for (what, forge) in [("state", None), ("transcript", Some(Digest([1; 32])))] {
        let mut world = World::new(5, task(false));
        world.round(PlanKind::Train);
        let victim = world.sites[0].id;
        world.on_message = Some(Box::new(move |to, message| {
            if let ToClient::Published(published) = message
                && to == victim
            {
                match forge {
                    Some(transcript) => published.transcript = transcript,
                    None => published.state.0[0] ^= 1,
                }
            }
        }));
        let round = world.prepare();
        world.prepare();
        world.train(round, PlanKind::Train);
        world.finish(round);
        world.on_message = None;
        assert_eq!(breaks(&world, 0), 1, "{what}: the tenant is told");
        assert_eq!(world.sites[0].engine.version(), ModelVersion(1), "the lie was not taken over");
        assert_eq!(sat_out(&world, 0), [Refusal::Withdrawn], "of what was prepared");
        world.assert_agreed(&[1, 2, 3, 4]);

        // Not in another round, and not on another connection.
        let round = world.round(PlanKind::Train);
        assert_eq!(world.published(round).survivors, 4);
        assert!(sat_out(&world, 0).contains(&Refusal::LineageBroken));
        world.disconnect(0);
        world.connect(0);
        let round = world.round(PlanKind::Train);
        assert_eq!(world.published(round).survivors, 4);
        world.pass(Millis(6_000));
        assert_eq!((world.sites[0].engine.version(), breaks(&world, 0)), (ModelVersion(1), 1));
        assert!(
            world.sites[0].engine.is_idle() || world.sites[0].engine.join().resumable.is_empty()
        );
    }
}

#[test]
fn a19_a_client_without_its_bytes_fetches_nothing_once_the_lineage_is_broken() {
    let mut world = World::new(5, task(false));
    world.round(PlanKind::Train);
    world.sites[0].stored = None;
    world.restart(0);
    let lie = forged(&world, world.newest());
    world.sites[0].connected = true;
    world.site_input(0, Input::Joined(lie));
    assert_eq!(breaks(&world, 0), 1);
    world.connect(0);
    assert!(world.sites[0].engine.state().is_none() && world.sites[0].engine.is_idle());
}

#[test]
fn a19_another_model_at_the_version_of_a_client_is_never_taken_over_whoever_has_signed_it() {
    // Named on a new connection: that alone breaks the lineage.
    let mut world = World::new(5, task(false));
    world.round(PlanKind::Train);
    let own = world.newest();
    let later = Standing { round: RoundNumber(9), transcript: Digest([2; 32]), ..own };
    let lie = forged(&world, later);
    world.site_input(0, Input::Joined(lie));
    assert_eq!(breaks(&world, 0), 1);
    // The same model after a later round is none: nothing to take over.
    world.site_input(1, Input::Joined(later));
    assert_eq!(breaks(&world, 1), 0);

    // Signed by all others, for a client that asked because a later version was named.
    world.site_input(2, Input::Joined(Standing { model_version: ModelVersion(2), ..lie }));
    world.site_input(2, Input::Attested(world.attested_by(lie, &[0, 1, 3, 4])));
    assert_eq!((breaks(&world, 2), breaks(&world, 3)), (1, 0));
    world.settle();
    for site in [0, 1, 2, 3, 4] {
        assert_eq!(world.sites[site].engine.state().unwrap().hash(), own.state);
    }
}

/// Five clients of which the first has signed and revealed in round 2, and was not told its result.
fn withheld() -> (World, RoundNumber) {
    let mut world = World::new(5, task(false));
    world.round(PlanKind::Train);
    let victim = world.sites[0].id;
    world.on_message = Some(Box::new(move |to, message| {
        if matches!(message, ToClient::Published(_)) && to == victim {
            *message = ToClient::ResendInput;
        }
    }));
    world.round(PlanKind::Train);
    world.on_message = None;
    let next = world.prepare();
    assert_eq!(world.sites[0].engine.version(), ModelVersion(1));
    (world, next)
}

#[test]
fn a7_a_plan_over_another_model_at_the_version_of_a_client_is_refused_and_not_waited_for() {
    let (mut world, next) = withheld();
    let lie = forged(&world, Standing { transcript: Digest([2; 32]), ..world.newest() });
    let victim = world.sites[0].id;
    world.on_message = Some(Box::new(move |to, message| {
        if let ToClient::TrainingPlan(plan) = message
            && to == victim
        {
            plan.model_version = ModelVersion(1);
            (plan.model, plan.previous_transcript) = (lie.state, lie.transcript);
        }
    }));
    world.train(next, PlanKind::Train);
    world.settle();
    assert_eq!(sat_out(&world, 0), [Refusal::ModelNotDerived]);
    // The round went on without it, and the signatures under its result are enough.
    world.assert_agreed(&ALL);
}

#[test]
fn a19_a_client_that_revealed_takes_no_other_result_for_the_one_that_is_withheld_from_it() {
    let (mut world, next) = withheld();
    // A sum of the coordinator's own making over the same model, in a round that is only prepared.
    let terms = Arc::clone(&world.terms);
    let cohort: Vec<_> = world.sites.iter().map(|site| site.id).collect();
    let layout = terms.layout(PlanKind::Train, &cohort).unwrap();
    let before = world.sites[0].engine.state().unwrap();
    let revealed = *world.aggregates.keys().last().unwrap();
    let bytes = world.aggregates[&RoundNumber(1)].clone();
    assert_ne!(bytes, world.aggregates[&revealed]);
    let task = terms.manifest().task.clone();
    let made = before.advance(&task, PlanKind::Train, &layout, &bytes, 5).unwrap().state;
    let published = Published {
        kind: PlanKind::Train,
        model_version: ModelVersion(1),
        survivors: 5,
        aggregate: aggregate_digest(&bytes),
        state: made.hash(),
        transcript: Digest([3; 32]),
    };
    world.lost_pushes = Some(0);
    let message = ToClient::Published(published);
    // Nobody who has signed is there to say what is true.
    let asked = |world: &World| world.sites[0].engine.wanted.is_some();
    world.sites[0].connected = false;
    world.site_input(0, Input::Message { round: next, message });
    world.site_input(0, Input::Aggregate { round: next, bytes });
    world.settle();
    assert!(asked(&world), "it asks for signatures");
    assert_eq!(world.sites[0].engine.version(), ModelVersion(1));
    // The signatures of those who have derived it bring the true one.
    world.connect(0);
    world.pass(Millis(6_000));
    world.assert_agreed(&ALL);
}

#[test]
fn a19_an_aggregate_that_was_changed_on_its_way_is_not_applied() {
    let mut world = World::new(5, task(false));
    world.round(PlanKind::Train);
    let mut first = true;
    world.on_vector = Some(Box::new(move |kind, bytes| {
        if matches!(kind, VectorKind::Aggregate(_)) && std::mem::take(&mut first) {
            bytes[3] ^= 1;
        }
    }));
    world.round(PlanKind::Train);
    let broken = |site: usize| {
        world.sites[site].events.iter().any(|event| matches!(event, Event::LineageBroken(_)))
    };
    assert_eq!(ALL.into_iter().filter(|site| broken(*site)).count(), 1);
    let victim = ALL.into_iter().find(|site| broken(*site)).unwrap();
    assert_eq!(world.sites[victim].engine.version(), ModelVersion(1));
    // The others go on without it, and it does not catch up with what it does not trust.
    world.on_vector = None;
    let round = world.round(PlanKind::Train);
    assert_eq!(world.published(round).survivors, 4);
    assert_eq!(world.sites[victim].engine.version(), ModelVersion(1));
}

#[test]
fn a19_a_state_that_is_not_the_announced_one_is_not_taken_over() {
    let mut world = World::new(5, task(false));
    world.round(PlanKind::Train);
    world.disconnect(4);
    world.round(PlanKind::Train);
    world.on_vector = Some(Box::new(|kind, bytes| {
        if matches!(kind, VectorKind::State(_)) {
            let end = bytes.len();
            bytes[end - 1] ^= 1;
        }
    }));
    world.connect(4);
    assert_eq!(world.sites[4].engine.version(), ModelVersion(1));
    assert!(world.sites[4].events.iter().any(|event| matches!(event, Event::NotCaughtUp(_))));
    // An honest connection later mends it.
    world.on_vector = None;
    world.disconnect(4);
    world.connect(4);
    world.assert_agreed(&ALL);
}

/// A newcomer's coordinator names a state of its own making.
fn forged_for_a_newcomer() -> (World, Standing, State) {
    let mut world = World::new(5, task(false));
    world.disconnect(4);
    world.round(PlanKind::Train);
    world.round(PlanKind::Train);
    let honest = world.newest();
    let task = world.terms.manifest().task.clone();
    let mut bytes = world.state.to_bytes();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&0.5_f32.to_le_bytes());
    let forged = State::from_bytes(&task, &bytes).unwrap();
    let standing = Standing { state: forged.hash(), ..honest };
    world.on_vector = Some(Box::new(move |kind, vector| {
        if matches!(kind, VectorKind::State(_)) {
            vector.clone_from(&bytes);
        }
    }));
    world.sites[4].connected = true;
    world.site_input(4, Input::Joined(standing));
    (world, standing, forged)
}

#[test]
fn a19_a_newcomer_does_not_take_a_forged_state_from_a_lying_coordinator_and_a_colluder() {
    let (mut world, standing, forged) = forged_for_a_newcomer();
    // Nothing but its word, the word of the one who may collude, that twice, or the newcomer's own.
    for by in [&[][..], &[0], &[0, 0], &[0, 4]] {
        let attested = world.attested_by(standing, by);
        world.site_input(4, Input::Attested(attested));
        world.settle();
        assert_eq!(world.sites[4].engine.version(), ModelVersion(0), "{by:?}");
    }
    let refused = Refusal::StateNotAttested { present: 1, required: 2 }.to_string();
    assert!(world.sites[4].events.contains(&Event::NotCaughtUp(refused)));
    // The coordinator's word alone, as it was once taken, would have done: hash and bytes agree.
    let (task, bytes) = (world.sites[0].engine.task.clone(), forged.to_bytes());
    let (version, expected) = (standing.model_version, standing.state);
    let taken = Derivation::Take { version, task, expected, bytes }.run();
    assert!(matches!(taken, Derived::Taken { result: Ok(_), .. }));
    // And so would one signature less than is asked for: with two, the same state is taken.
    let attested = world.attested_by(standing, &[0, 1]);
    world.site_input(4, Input::Attested(attested));
    world.settle();
    assert_eq!(world.sites[4].engine.state().unwrap().hash(), forged.hash());
}

#[test]
fn a_newcomer_that_was_refused_a_state_asks_again_and_takes_the_signed_one() {
    let (mut world, standing, _) = forged_for_a_newcomer();
    world.site_input(4, Input::Attested(world.attested_by(standing, &[0])));
    world.on_vector = None;
    world.pass(Millis(6_000));
    world.assert_agreed(&ALL);
    let round = world.round(PlanKind::Train);
    assert_eq!(world.published(round).survivors, 5);
}
