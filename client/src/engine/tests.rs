//! The engine against the coordinator's machine: whole federations in one process.

use roundelay_protocol::error::{Fault, Refusal};
use roundelay_protocol::ids::{ModelVersion, RoundNumber};
use roundelay_protocol::lineage::{Standing, State};
use roundelay_protocol::manifest::Task;
use roundelay_protocol::message::ToClient;
use roundelay_protocol::plan::PlanKind;
use roundelay_protocol::time::Millis;

use super::work::{Contribution, WorkFailure};
use super::{Event, Input};
use crate::train::TrainError;

mod lies;
pub(crate) mod world;

use world::{World, task};

const ALL: [usize; 5] = [0, 1, 2, 3, 4];

fn sat_out(world: &World, site: usize) -> Vec<Refusal> {
    let refusal = |event: &Event| match event {
        Event::SatOut { refusal, .. } => Some(refusal.clone()),
        _ => None,
    };
    world.sites[site].events.iter().filter_map(refusal).collect()
}

#[test]
fn a_federation_standardises_trains_and_evaluates_and_every_client_derives_each_state() {
    let mut world = World::new(5, Task { rounds: 3, ..task(true) });
    world.round(PlanKind::Statistics);
    world.assert_agreed(&ALL);
    assert!(world.state.standardisation().is_some());
    for _ in 0..3 {
        world.round(PlanKind::Train);
        world.assert_agreed(&ALL);
    }
    world.round(PlanKind::Evaluate);
    assert_eq!(world.state.version(), ModelVersion(3));
    let site = &world.sites[2];
    assert_eq!(site.published_versions(), [0, 1, 2, 3, 3].map(ModelVersion));
    let accuracies: Vec<f64> = site
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Published { metrics: Some(metrics), .. } => Some(metrics.accuracy()),
            _ => None,
        })
        .collect();
    assert_eq!(accuracies.len(), 4, "each version is evaluated once");
    assert!(accuracies[3] > 0.9 && accuracies[3] > accuracies[0], "{accuracies:?}");
    assert!(ALL.iter().all(|site| sat_out(&world, *site).is_empty()));
}

#[test]
fn nothing_of_a_mask_is_left_in_the_sum_of_all_contributions() {
    let mut world = World::new(5, task(false));
    for _ in 0..2 {
        let round = world.round(PlanKind::Train);
        assert_eq!(world.aggregates[&round], world.plain_sum(round, &ALL));
    }
}

#[test]
fn a_client_that_is_expelled_tells_its_fault_and_lets_go_of_the_round() {
    let mut world = World::new(5, task(false));
    let round = world.prepare();
    assert!(world.sites[2].engine.is_alive(round));
    let fault = Fault::WrongLength { sent: 3, expected: 4 };
    let message = ToClient::Expelled(fault.clone());
    world.site_input(2, Input::Message { round, message });
    assert!(!world.sites[2].engine.is_alive(round), "its keys are burned");
    assert_eq!(world.sites[2].events.last(), Some(&Event::Expelled { round, fault }));
}

#[test]
fn a_round_is_prepared_while_the_one_before_it_trains() {
    let mut world = World::new(5, task(false));
    let mut prepared = world.prepare();
    for _ in 0..4 {
        let next = world.prepare();
        world.train(prepared, PlanKind::Train);
        world.settle();
        prepared = next;
    }
    assert_eq!(world.state.version(), ModelVersion(4));
    world.assert_agreed(&ALL);
    assert!(ALL.iter().all(|site| sat_out(&world, *site).is_empty()));
}

#[test]
fn a_training_plan_that_overtakes_the_result_before_it_waits_for_it_and_no_longer() {
    let mut world = World::new(5, task(false));
    let [first, second] = [world.prepare(), world.prepare()];
    world.overtaken = Some(0);
    world.train(first, PlanKind::Train);
    world.settle();
    world.train(second, PlanKind::Train);
    world.settle();
    // No deadline has passed, and nobody is missing.
    for round in [first, second] {
        assert_eq!(world.published(round).survivors, 5);
    }
    assert!(sat_out(&world, 0).is_empty());
}

#[test]
fn a_client_that_missed_the_standardising_takes_the_next_result_for_no_lie() {
    let mut world = World::new(5, task(true));
    let victim = world.sites[0].id;
    world.lost_pushes = Some(0);
    world.on_message = Some(Box::new(move |to, message| {
        // Its connection goes after its upload.
        let behind = matches!(message, ToClient::SurvivorSet(_) | ToClient::Published(_));
        if behind && to == victim {
            *message = ToClient::ResendInput;
        }
    }));
    let [statistics, round] = [world.prepare(), world.prepare()];
    world.train(statistics, PlanKind::Statistics);
    world.finish(statistics);
    world.on_message = None;
    world.sites[0].connected = false;
    world.train(round, PlanKind::Train);
    world.finish(round);
    let message = ToClient::Published(world.published(round).clone());
    let bytes = world.aggregates[&round].clone();
    world.site_input(0, Input::Message { round, message });
    world.site_input(0, Input::Aggregate { round, bytes });
    world.settle();
    let broken = |event: &&Event| matches!(event, Event::LineageBroken(_));
    assert_eq!(world.sites[0].events.iter().find(broken), None);
    world.connect(0);
    world.pass(Millis(6_000));
    world.assert_agreed(&ALL);
}

#[test]
fn a_client_that_was_away_takes_the_newest_model_over_and_goes_on() {
    let mut world = World::new(5, task(true));
    world.round(PlanKind::Statistics);
    world.round(PlanKind::Train);
    world.disconnect(4);
    world.round(PlanKind::Train);
    world.round(PlanKind::Train);
    world.connect(4);
    assert!(world.sites[4].events.contains(&Event::CaughtUp { version: ModelVersion(3) }));
    world.assert_agreed(&ALL);
    let round = world.round(PlanKind::Train);
    assert_eq!(world.published(round).survivors, 5);
    world.assert_agreed(&ALL);
}

#[test]
fn a_client_that_is_left_out_of_a_round_catches_up_when_it_is_planned_again() {
    let mut world = World::new(6, task(false));
    let groups = world.terms.manifest().groups().to_vec();
    assert_eq!(groups.len(), 2, "two groups of three");
    let chosen: Vec<usize> =
        (0..6).filter(|site| groups[0].contains(&world.sites[*site].id)).collect();
    world.round(PlanKind::Train);
    let round = world.prepare_for(&chosen);
    world.train(round, PlanKind::Train);
    world.settle();
    assert_eq!(world.published(round).survivors, 3);
    let left_out = (0..6).find(|site| !chosen.contains(site)).unwrap();
    assert_eq!(world.sites[left_out].engine.version(), ModelVersion(1));
    let round = world.round(PlanKind::Train);
    assert_eq!(world.published(round).survivors, 6);
    world.assert_agreed(&[0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_restarted_client_goes_on_from_its_files() {
    let mut world = World::new(5, task(false));
    world.round(PlanKind::Train);
    world.restart(1);
    world.connect(1);
    let round = world.round(PlanKind::Train);
    assert_eq!(world.published(round).survivors, 5);
    // Its stored state is older than its history: the newest one is fetched.
    world.sites[1].stored = None;
    world.restart(1);
    assert!(world.sites[1].engine.state().is_none());
    world.connect(1);
    world.assert_agreed(&ALL);
    let round = world.round(PlanKind::Train);
    assert_eq!(world.published(round).survivors, 5);
}

#[test]
fn a16_a_client_killed_within_a_round_sits_it_out_and_the_others_finish() {
    let mut world = World::new(5, task(false));
    let round = world.prepare();
    world.restart(3);
    world.connect(3);
    world.train(round, PlanKind::Train);
    world.finish(round);
    assert_eq!(world.published(round).survivors, 4);
    assert_eq!(world.aggregates[&round], world.plain_sum(round, &[0, 1, 2, 4]));
    let round = world.round(PlanKind::Train);
    assert_eq!(world.published(round).survivors, 5);
    world.assert_agreed(&ALL);
}

#[test]
fn a_lost_connection_costs_nothing_if_it_comes_back_within_the_round() {
    let mut world = World::new(5, task(false));
    let round = world.prepare();
    world.disconnect(2);
    world.settle();
    world.connect(2);
    world.train(round, PlanKind::Train);
    world.settle();
    assert_eq!(world.published(round).survivors, 5);
    world.assert_agreed(&ALL);
}

#[test]
fn a_trainer_that_fails_costs_its_client_the_round_and_nobody_else() {
    let failures = [
        (WorkFailure::Train(TrainError::Crashed("signal 9".into())), Refusal::TrainingFailed),
        (
            WorkFailure::Train(TrainError::Diverged { version: ModelVersion(0) }),
            Refusal::ContributionNotFinite,
        ),
    ];
    for (failure, refusal) in failures {
        let mut world = World::new(5, task(false));
        let words = failure.to_string();
        world.on_work = Some(Box::new(move |site, result| match site {
            3 => Err(failure.clone()),
            _ => result,
        }));
        let round = world.round(PlanKind::Train);
        assert_eq!(world.published(round).survivors, 4);
        assert_eq!(sat_out(&world, 3), [refusal]);
        let told = Event::WorkFailed { round, reason: words };
        assert!(world.sites[3].events.contains(&told));
        world.assert_agreed(&ALL);
    }
}

#[test]
fn a_client_signs_what_it_derived_itself_and_not_what_it_took_over() {
    let mut world = World::new(5, task(false));
    assert_eq!(world.sites[0].engine.join().attestation, None, "nobody derives the initial model");
    world.disconnect(4);
    world.round(PlanKind::Train);
    world.connect(4);
    world.assert_agreed(&ALL);
    assert_eq!(world.sites[4].engine.join().attestation, None);
    let join = world.sites[0].engine.join();
    let signature = join.attestation.unwrap();
    assert!(world.terms.attests(world.sites[0].id, &join.standing, &signature));
    world.restart(0);
    assert_eq!(world.sites[0].engine.join().attestation, Some(signature), "also after a restart");
    world.restart(4);
    assert_eq!(world.sites[4].engine.join().attestation, None);
}

#[test]
fn a_client_gives_back_the_state_that_it_stands_at_and_no_other() {
    let mut world = World::new(5, task(false));
    world.round(PlanKind::Train);
    let standing = world.newest();
    for wrong in [
        Standing { round: RoundNumber(9), ..standing },
        Standing { model_version: ModelVersion(0), ..standing },
        Standing { state: standing.transcript, ..standing },
    ] {
        world.site_input(0, Input::StateAsked(wrong));
    }
    assert!(world.given.is_empty());
    world.site_input(0, Input::StateAsked(standing));
    let given: Vec<_> = world.given.iter().map(|state| state.hash()).collect();
    assert_eq!(given, [standing.state]);
    assert!(world.sites[0].events.contains(&Event::GaveState { version: ModelVersion(1) }));
}

#[test]
fn a7_a_coordinator_restored_from_a_backup_does_not_take_a_client_back() {
    let mut world = World::new(5, task(false));
    let old: State = world.state.clone();
    let transcript = world.transcript;
    world.round(PlanKind::Train);
    world.round(PlanKind::Train);
    (world.state, world.transcript, world.published) = (old, transcript, RoundNumber(0));
    world.disconnect(0);
    world.connect(0);
    let (theirs, ours) = (ModelVersion(0), ModelVersion(2));
    assert!(world.sites[0].events.contains(&Event::CoordinatorBehind { theirs, ours }));
    assert_eq!(world.sites[0].engine.version(), ModelVersion(2));
}

#[test]
fn a16_a_record_that_is_not_durable_ends_every_round_and_the_next_one_works() {
    let mut world = World::new(5, task(false));
    let round = world.prepare();
    world.site_input(2, Input::PersistFailed);
    world.train(round, PlanKind::Train);
    world.finish(round);
    assert_eq!(world.published(round).survivors, 4);
    let round = world.round(PlanKind::Train);
    assert_eq!(world.published(round).survivors, 5);
    world.assert_agreed(&ALL);
}

#[test]
fn a18_rounds_without_end_push_the_oldest_out_and_old_numbers_start_nothing() {
    let mut world = World::new(3, task(false));
    let rounds: Vec<RoundNumber> = (0..5).map(|_| world.prepare()).collect();
    let resumable = world.sites[0].engine.join().resumable.into_vec();
    assert_eq!(resumable, rounds[2..]);
    let message = ToClient::ResendInput;
    world.site_input(0, Input::Message { round: RoundNumber(1), message });
    let resumable = world.sites[0].engine.join().resumable.into_vec();
    assert_eq!(resumable, rounds[2..]);
}

#[test]
fn a_contribution_is_never_printed() {
    let contribution = Contribution::of_words(vec![42; 7]);
    assert_eq!(format!("{contribution:?}"), "Contribution(7 bytes)");
}

#[test]
fn the_end_of_a_federation_waits_for_the_last_result_and_for_nothing_else() {
    let mut world = World::new(5, task(false));
    let round = world.prepare();
    world.prepare();
    world.lost_pushes = Some(1);
    world.train(round, PlanKind::Train);
    world.settle();
    world.site_input(0, Input::Ended);
    assert!(world.sites[0].engine.is_idle(), "what was only prepared is dropped");
    world.site_input(1, Input::Ended);
    assert!(!world.sites[1].engine.is_idle());
    world.pass(Millis(6_000));
    assert!(world.sites[1].engine.is_idle());
    world.assert_agreed(&ALL);
}

#[test]
fn a_client_that_comes_back_after_the_end_still_gets_the_last_model() {
    let mut world = World::new(5, task(false));
    world.disconnect(4);
    world.round(PlanKind::Train);
    let newest = world.newest();
    world.sites[4].connected = true;
    world.site_input(4, Input::Joined(newest));
    world.site_input(4, Input::Ended);
    assert!(!world.sites[4].engine.is_idle(), "the state is on its way");
    world.settle();
    assert!(world.sites[4].engine.is_idle());
    world.assert_agreed(&ALL);
}

#[test]
fn a_client_that_comes_back_with_a_result_to_apply_goes_on_to_the_newest_model() {
    let mut world = World::new(5, task(false));
    world.lost_pushes = Some(4);
    world.round(PlanKind::Train);
    world.disconnect(4);
    world.round(PlanKind::Train);
    assert_eq!(world.sites[4].engine.version(), ModelVersion(0));
    world.connect(4);
    world.assert_agreed(&ALL);
    assert_eq!(world.state.version(), ModelVersion(2));
}

#[test]
fn a_result_that_is_being_applied_is_not_pushed_out_by_newer_rounds() {
    let mut world = World::new(3, task(false));
    world.lost_pushes = Some(1);
    world.round(PlanKind::Train);
    world.lost_pushes = None;
    let rounds: Vec<RoundNumber> = (0..5).map(|_| world.prepare()).collect();
    let resumable = world.sites[1].engine.join().resumable.into_vec();
    assert_eq!(resumable, rounds[2..], "three at most, beside the one that is applied");
    world.pass(Millis(6_000));
    world.assert_agreed(&[0, 1, 2]);
}

#[test]
fn an_aggregate_that_was_not_pushed_is_asked_for() {
    let mut world = World::new(5, task(false));
    let round = world.prepare();
    world.lost_pushes = Some(1);
    world.train(round, PlanKind::Train);
    world.settle();
    assert_eq!(world.sites[1].engine.version(), ModelVersion(0));
    world.pass(Millis(6_000));
    world.assert_agreed(&ALL);
}
