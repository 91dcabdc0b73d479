use roundelay_protocol::error::{Refusal, Stage};
use roundelay_protocol::pair::Point;
use roundelay_protocol::plan::PlanKind;
use roundelay_protocol::time::Millis;

use super::audit::Entry;
use super::rounds::RoundState;
use super::scheduler::Waiting;
use super::*;
use crate::testing::Change;

mod expelled;
mod private;
mod world;

use world::{Crash, Incident, What, World};

fn incident(client: usize, round: u64, at: Point, what: What) -> Incident {
    Incident { client, round: RoundNumber(round), at, what }
}

/// Everything is done, and everyone who was not expelled holds the very same model.
fn assert_finished(world: &World) {
    let status = world.status();
    assert_eq!(status.state, State::Finished, "{status:?}");
    let progress = world.progress();
    for (who, client) in world.clients.iter().enumerate() {
        if world.heard.iter().all(|(expelled, _)| *expelled != who) {
            assert_eq!(client.standing().state, progress.state);
            assert_eq!(client.state.hash(), progress.state);
        }
    }
    assert_eq!(world.disk.state, Some(State::Finished));
    assert!(world.disk.records.is_empty(), "records of rounds that are over are forgotten");
}

fn published(world: &World) -> Vec<(u64, Option<PlanKind>)> {
    let rounds = world.disk.rounds.values();
    let published = rounds.filter(|round| round.state == RoundState::Published);
    published.map(|round| (round.round.0, round.kind)).collect()
}

#[test]
fn a_federation_runs_through_its_course_and_everyone_derives_the_same_model() {
    use PlanKind::{Evaluate, Statistics, Train};
    let mut world = World::new(5, 2, true, 1);
    world.run();
    assert_finished(&world);
    let kinds = [(1, Some(Statistics)), (2, Some(Train)), (3, Some(Train)), (4, Some(Evaluate))];
    assert_eq!(published(&world), kinds);
    assert_eq!(world.disk.models.len(), 3, "version 0 with its statistics, 1 and 2");
    assert_eq!(world.disk.evaluated.len(), 3, "each version was evaluated one round later");
    assert_eq!(world.disk.evaluated[&ModelVersion(2)].rows, 50);
    assert_eq!(world.ended.len(), 5);
}

#[test]
fn each_round_is_prepared_while_the_one_before_it_trains() {
    let mut world = World::new(4, 3, false, 2);
    world.training = Millis(200);
    world.run();
    assert_finished(&world);
    assert_eq!(world.disk.rounds.len(), 4, "no preparation was wasted");
    let began =
        |round: u64, stage: Stage| world.began.iter().position(|began| *began == (round, stage));
    for round in 1..4 {
        let training = began(round, Stage::MaskedInput).unwrap();
        let prepared = began(round + 1, Stage::Prepared).unwrap();
        let checking = began(round, Stage::ConsistencyCheck).unwrap();
        assert!(began(round + 1, Stage::AdvertiseKeys).unwrap() > training);
        assert!(prepared < checking, "round {} was prepared in time", round + 1);
    }
}

#[test]
fn a_client_that_dies_in_any_stage_costs_no_round() {
    for at in Point::ALL {
        let mut world = World::new(5, 2, false, 3);
        world.script = vec![incident(2, 2, at, What::Restart(50))];
        world.run();
        assert_finished(&world);
        assert_eq!(published(&world).len(), world.disk.rounds.len(), "{at:?}");
    }
}

#[test]
fn a_client_whose_connection_breaks_goes_on_where_it_was() {
    for at in Point::ALL {
        let mut world = World::new(4, 2, false, 4);
        world.script = vec![incident(1, 1, at, What::Disconnect(30))];
        world.run();
        assert_finished(&world);
        let survivors: Vec<_> = world.disk.rounds.values().map(|round| round.survivors).collect();
        assert_eq!(survivors, [4, 4, 4], "{at:?}");
    }
}

#[test]
fn a_client_that_is_gone_for_good_is_left_out_of_the_rounds_that_follow() {
    let mut world = World::new(5, 3, false, 5);
    world.script = vec![incident(0, 2, Point::Upload, What::Die)];
    world.run();
    let status = world.status();
    assert_eq!((status.state, status.ready), (State::Finished, 4));
    let survivors: Vec<_> = world.disk.rounds.values().map(|round| round.survivors).collect();
    assert_eq!(survivors, [5, 4, 4, 4]);
}

#[test]
fn a_round_that_loses_too_many_is_tried_again_with_the_same_cohort() {
    let mut world = World::new(4, 2, false, 6);
    world.script = vec![
        incident(0, 1, Point::Upload, What::Restart(3_000)),
        incident(1, 1, Point::Upload, What::Restart(3_000)),
    ];
    world.run();
    assert_finished(&world);
    let outcomes = world.outcomes();
    let too_few = AbortReason::TooFewClients { stage: Stage::MaskedInput, present: 2, required: 3 };
    assert_eq!(outcomes[0], RoundState::Aborted(too_few));
    let kinds: Vec<_> = published(&world).into_iter().map(|(_, kind)| kind.unwrap()).collect();
    assert_eq!(kinds, [PlanKind::Train, PlanKind::Train, PlanKind::Evaluate]);
    assert!(world.disk.rounds.values().all(|round| round.cohort == 4));
}

#[test]
fn a_round_whose_survivor_set_was_shown_in_vain_is_tried_again_over_that_set_and_no_other() {
    let mut world = World::new(5, 2, false, 7);
    world.script = vec![
        incident(4, 1, Point::Upload, What::Restart(100)),
        incident(0, 1, Point::Reveal, What::Restart(100)),
        incident(1, 1, Point::Reveal, What::Restart(100)),
    ];
    world.run();
    assert_finished(&world);
    let too_few = AbortReason::TooFewClients { stage: Stage::Unmasking, present: 2, required: 4 };
    assert_eq!(world.outcomes()[0], RoundState::Aborted(too_few));
    let survivors: Vec<_> = published(&world)
        .into_iter()
        .map(|(round, _)| world.disk.rounds[&RoundNumber(round)].survivors)
        .collect();
    assert_eq!(survivors, [4, 5, 5], "the last one is back, and not in the set");
}

#[test]
fn who_was_shown_a_survivor_set_in_vain_is_waited_for() {
    let mut world = World::new(4, 2, false, 7);
    let late = What::Restart(600_000);
    world.script = [0, 1].map(|who| incident(who, 1, Point::Reveal, late)).to_vec();
    world.run_until(|world| world.status().failed == 1 && world.connected() == 2);
    let waiting = Some(Waiting::Clients { ready: 2, members: 4 });
    world.go_on_until(|world| world.status().waiting == waiting);
    world.go_on();
    assert_finished(&world);
}

#[test]
fn failures_are_bounded_and_the_operator_may_start_again() {
    let mut world = World::new(4, 1, false, 8);
    world.pace(|pace| pace.failures_max = 3);
    let short = |round| [0, 1].map(|who| incident(who, round, Point::Upload, What::Restart(10)));
    world.script = (1..12).flat_map(short).collect();
    world.run();
    let status = world.status();
    assert_eq!(status.state, State::Stalled);
    let reason = status.reason.unwrap();
    assert!(reason.contains("3 rounds in a row") && reason.contains("MaskedInput"), "{reason}");
    world.script.clear();
    world.tell(Event::Start);
    world.go_on();
    assert_finished(&world);
}

#[test]
fn a_client_that_declines_behind_its_whole_vector_is_in_the_sum_all_the_same() {
    let mut world = World::new(5, 1, false, 15);
    world.run_until(|world| !world.settled.is_empty());
    let (round, client) = world.settled[0];
    let message = FromClient::Declined(Refusal::TrainingFailed);
    world.tell(Event::Message { client, round, message });
    world.go_on();
    assert_finished(&world);
    let first = &world.disk.rounds[&round];
    assert_eq!((first.survivors, first.dropouts), (5, 1));
}

#[test]
fn the_coordinator_may_die_at_any_call_and_goes_on_from_its_records() {
    let calls = {
        let mut world = World::new(3, 1, true, 10);
        world.run();
        assert_finished(&world);
        world.calls
    };
    for call in 1..=calls {
        for durable in [false, true] {
            let mut world = World::new(3, 1, true, 10);
            world.crash = Some(Crash { call, durable });
            world.run();
            assert_finished(&world);
            let rounds = published(&world);
            assert_eq!(rounds.len(), 3, "call {call}, durable {durable}: {rounds:?}");
        }
    }
}

/// Runs until this version, takes a backup, runs until another one, and puts the backup back.
fn restored(world: &mut World, backup_at: u64, until: u64) {
    world.run_until(|world| world.status().model_version == backup_at);
    let backup = world.disk.clone();
    // Everyone has heard of it: a result that none has heard of is lost with the coordinator.
    world.go_on_until(|world| {
        world.clients.iter().all(|client| client.standing().model_version == ModelVersion(until))
    });
    world.disk = backup;
    world.kill(Millis(10));
}

#[test]
fn a_coordinator_restored_from_a_backup_goes_on_from_what_its_clients_have_signed() {
    let mut world = World::new(5, 6, true, 11);
    restored(&mut world, 1, 4);
    let highest = world.clients.iter().map(|client| client.join().highest_round).max().unwrap();
    assert!(highest > world.progress().highest_round);
    world.go_on();
    assert_finished(&world);
    assert_eq!(world.progress().version, ModelVersion(6));
    let standings: Vec<_> = world.disk.recovered.iter().map(|at| at.model_version).collect();
    assert_eq!(standings, [ModelVersion(4)], "the newest one, once");
    assert!(world.disk.audit.contains(&Entry::Recovered(ModelVersion(4))));
    assert!(world.refused.is_empty(), "{:?}", world.refused);
    let again = world.disk.rounds.values().filter(|round| {
        round.round <= highest && round.state == RoundState::Published && round.round.0 > 3
    });
    assert_eq!(again.count(), 0, "no number that a client has signed is used again");
}

#[test]
fn a_restored_coordinator_whose_clients_have_signed_a_set_of_a_lost_round_goes_on_with_that_set_only()
 {
    for (seed, away) in (30..38).flat_map(|seed| [(seed, None), (seed, Some(4))]) {
        let mut world = World::new(5, 6, false, seed);
        world.run_until(|world| world.status().model_version == 1);
        let backup = world.disk.clone();
        world.go_on_until(|world| world.status().model_version == 3);
        let shown = |world: &World| {
            world.status().training.is_some_and(|round| round.stage == Some(Stage::Unmasking))
        };
        world.go_on_until(shown);
        world.disk = backup;
        world.kill(Millis(10));
        // The set is in no backup: without one of it, another one would be signed by nobody.
        away.into_iter().for_each(|client| world.keep_away(&[client]));
        world.go_on();
        let status = world.status();
        let expected = if away.is_some() { State::Stalled } else { State::Finished };
        assert_eq!(status.state, expected, "{status:?}");
        assert_eq!(status.reason.is_some(), away.is_some(), "{status:?}");
    }
}

#[test]
fn a_restored_coordinator_waits_for_one_more_client_than_may_collude_and_asks_the_next_for_a_state()
{
    let mut world = World::new(5, 6, false, 12);
    restored(&mut world, 1, 4);
    world.forged.insert(0);
    world.keep_away(&[1, 2, 3, 4]);
    world.go_on();
    let status = world.status();
    assert_eq!(status.waiting, Some(Waiting::Restored { ahead: 1 }));
    assert!(world.asked.is_empty(), "one of five may lie");
    (1..5).for_each(|client| world.return_now(client));
    world.go_on();
    assert_finished(&world);
    let asked: Vec<_> =
        world.asked.iter().map(|(client, at)| (*client, at.model_version)).collect();
    assert!(asked.len() <= 2 && asked.iter().all(|(_, version)| *version == ModelVersion(4)));
    assert!(asked.iter().any(|(client, _)| *client != 0), "{asked:?}");
}

#[test]
fn the_word_of_a_client_without_its_signature_holds_nothing_up() {
    let mut world = World::new(5, 2, false, 13);
    world.run_until(|world| world.status().model_version == 1);
    let liar = &world.clients[0];
    let (client, tenant) = (liar.id, liar.tenant.clone());
    let mut join = liar.join();
    join.standing.round = RoundNumber(99);
    world.tell(Event::Joined { client, tenant, join: Box::new(join) });
    assert_eq!(world.status().ready, 4, "it takes no part");
    world.go_on();
    assert_eq!(world.progress().version, ModelVersion(2));
}

#[test]
fn signatures_under_the_newest_state_go_to_whoever_asks_once_they_are_enough() {
    let mut world = World::new(5, 1, false, 14);
    world.silent = true;
    world.run();
    assert_finished(&world);
    let (asks, standing) = (world.clients[4].id, world.progress().standing());
    let attest = |world: &mut World, client: usize, standing: Standing| {
        let (id, signature) = (world.clients[client].id, world.clients[client].attestation());
        let signature = signature.unwrap();
        world.tell(Event::Attests { client: id, standing, signature });
    };
    world.tell(Event::AsksAttested(asks));
    attest(&mut world, 0, standing);
    attest(&mut world, 0, standing);
    attest(&mut world, 4, standing);
    let other = Standing { round: RoundNumber(1), ..standing };
    attest(&mut world, 1, other);
    assert!(world.attested.is_empty(), "one may collude, and its own does not count");
    attest(&mut world, 2, standing);
    let [(to, attested)] = &world.attested[..] else { panic!("{:?}", world.attested) };
    assert_eq!((&to[..], attested.standing), (&[asks][..], standing));
    assert_eq!(attested.verify(world.terms(), asks), Ok(()));
    attest(&mut world, 3, standing);
    assert_eq!(world.progress().attested.len(), 3, "no more are kept than anybody needs");
}

#[test]
fn stopping_ends_the_rounds_and_starting_goes_on_from_the_same_model() {
    let mut world = World::new(4, 3, false, 12);
    world.run_until(|world| {
        let training = world.status().training;
        let uploading = training.is_some_and(|round| round.stage == Some(Stage::MaskedInput));
        uploading && world.status().model_version == 1
    });
    world.tell(Event::Stop);
    world.go_on();
    assert_eq!((world.status().state, world.disk.state), (State::Stopped, Some(State::Stopped)));
    assert_eq!(world.ended.len(), 4);
    assert_eq!(world.progress().version, ModelVersion(1));
    world.tell(Event::Start);
    world.go_on();
    assert_finished(&world);
    assert_eq!(world.progress().version, ModelVersion(3));
}

#[test]
fn a_round_whose_survivor_set_was_shown_ends_before_the_federation_stops() {
    let mut world = World::new(4, 3, false, 13);
    world.run_until(|world| {
        world.status().training.is_some_and(|round| round.stage == Some(Stage::ConsistencyCheck))
    });
    world.tell(Event::Stop);
    assert_eq!(world.status().state, State::Stopping);
    world.go_on();
    assert_eq!(world.status().state, State::Stopped);
    assert_eq!(world.progress().version, ModelVersion(1));
    assert!(world.outcomes().contains(&RoundState::Aborted(AbortReason::Stopped)));
}

#[test]
fn an_amendment_waits_until_those_who_are_there_have_derived_the_newest_result() {
    let mut world = amended_and_silent(4);
    for client in 0..4 {
        assert_eq!(world.connected(), 4, "{client} of 4 have signed for the last result");
        world.client_attests(client);
    }
    assert_eq!(world.connected(), 0, "they join again under the amendment");
    world.go_on();
    assert_finished(&world);
}

/// An amendment came in the first round of so many clients, all of which have derived its result and
/// said nothing yet.
fn amended_and_silent(clients: usize) -> World {
    let mut world = World::new(clients, 2, false, 14);
    world.silent = true;
    world.run_until(|world| world.status().training.is_some());
    world.amend(4);
    world.go_on_until(|world| world.clients.iter().all(|client| client.derived().is_some()));
    assert_eq!(world.progress().version, ModelVersion(1));
    world.silent = false;
    world
}

#[test]
fn an_amendment_waits_for_a_silent_client_half_a_minute_and_for_too_few_holders_for_ever() {
    let mut world = amended_and_silent(5);
    world.client_attests(0);
    world.go_on();
    world.now = world.now + Millis(3_600_000);
    world.tell(Event::Timer);
    assert_eq!(world.connected(), 5, "one of five may lie: nobody could catch up by its word");
    let waiting = Waiting::Amendment { holders: 1, required: 2 };
    assert_eq!(world.status().waiting, Some(waiting));
    world.client_attests(1);
    assert_eq!(world.connected(), 0, "the half minute is over long since");
    world.go_on();
    assert_finished(&world);
}

#[test]
fn a_coordinator_killed_before_its_last_result_is_derived_goes_on_under_the_manifest_of_that() {
    for change in [Change::Leave, Change::Join, Change::Replace] {
        let mut world = World::new(4, 3, false, 27);
        world.run_until(|world| world.status().training.is_some());
        world.change(change);
        world.go_on_until(|world| world.progress().version == ModelVersion(1));
        assert!(world.clients.iter().all(|client| client.derived().is_none()));
        world.kill(Millis(100));
        world.go_on();
        assert_members_finished(&world, &members_after(change));
    }
}

#[test]
fn a_coordinator_restored_to_the_time_before_an_amendment_follows_the_clients_that_are_under_it() {
    let mut world = World::new(4, 4, false, 28);
    world.run_until(|world| world.status().training.is_some());
    world.change(Change::Leave);
    let backup = world.disk.clone();
    world.go_on_until(|world| {
        world.clients[..3].iter().all(|client| client.standing().model_version == ModelVersion(3))
    });
    assert_ne!(backup.progress.as_ref().unwrap().manifest, world.progress().manifest);
    world.disk = backup;
    world.kill(Millis(10));
    world.go_on();
    assert_members_finished(&world, &members_after(Change::Leave));
}

#[test]
fn an_amended_manifest_burns_the_preparation_and_takes_force_between_two_rounds() {
    let mut world = World::new(4, 2, false, 14);
    world.run_until(|world| {
        world.status().ahead.is_some_and(|round| round.stage == Some(Stage::Prepared))
            && world.status().training.is_some()
    });
    world.amend(4);
    world.go_on();
    assert_finished(&world);
    let burned = RoundState::Aborted(AbortReason::PreparationBurned);
    assert_eq!(world.outcomes().iter().filter(|state| **state == burned).count(), 1);
    assert_eq!(world.progress().version, ModelVersion(4), "the amended task has more rounds");
}

/// Everyone whom the manifest in force names holds the very same model.
fn assert_members_finished(world: &World, members: &[usize]) {
    let status = world.status();
    assert_eq!(status.state, State::Finished, "{status:?}");
    for client in members {
        assert_eq!(world.clients[*client].standing().state, world.progress().state);
    }
    assert_eq!(usize::from(status.members), members.len());
}

/// Whom the manifest names after a change of four.
fn members_after(change: Change) -> Vec<usize> {
    match change {
        Change::Leave => vec![0, 1, 2],
        Change::Join => vec![0, 1, 2, 3, 4],
        Change::Replace => vec![0, 1, 2, 4],
    }
}

#[test]
fn members_may_leave_join_and_be_replaced_while_a_round_is_in_any_stage() {
    use Stage::{AdvertiseKeys, ConsistencyCheck, MaskedInput, ShareKeys, Unmasking};
    for change in [Change::Leave, Change::Join, Change::Replace] {
        for stage in [AdvertiseKeys, ShareKeys, MaskedInput, ConsistencyCheck, Unmasking] {
            let mut world = World::new(4, 3, false, 21);
            let is_in = |round: Option<audit::RoundStatus>| {
                round.is_some_and(|round| round.stage == Some(stage))
            };
            world.run_until(|world| is_in(world.status().training) || is_in(world.status().ahead));
            world.change(change);
            world.go_on();
            assert_members_finished(&world, &members_after(change));
            assert_eq!(published(&world).len(), 4, "{change:?} in {stage:?}");
            assert!(world.lost.is_empty());
        }
    }
}

#[test]
fn after_a_failed_upload_round_members_may_leave_join_and_be_replaced() {
    for change in [Change::Leave, Change::Join, Change::Replace] {
        let mut world = World::new(4, 2, false, 22);
        // Two have uploaded for the model; the round fails, and so does its retry.
        world.pace(|pace| pace.failures_max = 2);
        let die = |client, round| incident(client, round, Point::Upload, What::Restart(4_000));
        world.script = vec![die(2, 1), die(3, 1), die(2, 2), die(3, 2)];
        world.run();
        assert_eq!(world.status().state, State::Stalled, "{change:?}");
        assert!(world.progress().tries.pinned.is_some());
        world.change(change);
        world.tell(Event::Start);
        world.go_on();
        assert_members_finished(&world, &members_after(change));
    }
}

#[test]
fn a_set_with_too_few_of_those_who_may_have_uploaded_is_shown_to_nobody() {
    let mut world = World::new(4, 1, false, 23);
    world.pace(|pace| pace.failures_max = 1);
    let die = |client, round| incident(client, round, Point::Upload, What::Restart(4_000));
    world.script = vec![die(2, 1), die(3, 1)];
    world.run();
    world.pace(|pace| pace.failures_max = 8);
    // Of the former four two are left. One of them leaves before it uploads: a quorum is there.
    world.replace_first();
    world.replace_first();
    world.script = (2..5).map(|round| die(2, round)).collect();
    world.tell(Event::Start);
    world.go_on();
    assert_eq!(world.expelled, []);
    assert_members_finished(&world, &[2, 3, 4, 5]);
    let too_few = AbortReason::TooFewClients { stage: Stage::MaskedInput, present: 1, required: 2 };
    assert!(world.outcomes().contains(&RoundState::Aborted(too_few)), "{:?}", world.outcomes());
}

#[test]
fn an_amendment_that_drops_too_many_of_those_who_may_have_uploaded_stalls_at_once_and_says_so() {
    let mut world = World::new(4, 2, false, 24);
    world.pace(|pace| pace.failures_max = 1);
    let die = |client, round| incident(client, round, Point::Upload, What::Restart(4_000));
    world.script = vec![die(2, 1), die(3, 1)];
    world.run();
    for _ in 0..3 {
        // The last of the former four go, one after the other; newcomers take their places.
        world.replace_first();
    }
    world.tell(Event::Start);
    world.go_on();
    let status = world.status();
    assert_eq!(status.state, State::Stalled);
    let reason = status.reason.unwrap();
    assert!(
        reason.contains("only 1 of its clients") && reason.contains("2 have to be"),
        "{reason}"
    );
}

#[test]
fn a_round_that_cannot_be_restored_but_was_shown_is_not_tried_again() {
    let mut world = World::new(4, 2, false, 25);
    world.run_until(|world| {
        world.status().training.is_some_and(|round| round.stage == Some(Stage::ConsistencyCheck))
    });
    // The coordinator comes back under a manifest that is not the round's.
    world.kill(Millis(100));
    world.amend(2);
    let amended = world.terms().hash();
    world.disk.progress.as_mut().unwrap().manifest = amended;
    world.go_on();
    assert_eq!(world.lost.first(), Some(&RoundNumber(1)));
    assert_eq!(world.progress().tries.spent.len(), 4, "they may have signed a set");
    assert_eq!(world.status().state, State::Stalled);
}
