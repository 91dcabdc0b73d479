use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use super::*;
use crate::fixtures::{manifest, wire};
use crate::ids::ModelVersion;

fn setup() -> Setup {
    let terms = Arc::new(Terms::new(manifest(&[1, 1, 1, 1])));
    let pinned = Arc::new(terms.clients().collect());
    Setup {
        terms,
        identity: Arc::new(wire::key(1)),
        pinned,
        patience: Millis(100),
        account: Account::default(),
    }
}

fn machine(round: u64) -> Round {
    Round::new(&setup(), RoundNumber(round), &mut ChaCha20Rng::seed_from_u64(round))
}

fn published(round: u64) -> Published {
    Published {
        kind: PlanKind::Train,
        model_version: ModelVersion(round - 1),
        survivors: 4,
        aggregate: wire::digest("aggregate"),
        state: wire::digest(&format!("state {round}")),
        transcript: wire::digest(&format!("transcript {round}")),
    }
}

fn handle(machine: &mut Round, now: u64, input: Input, history: &mut History) -> Vec<Action> {
    let mut actions = Vec::new();
    machine.handle(Time(now), input, history, &mut actions);
    actions
}

#[test]
fn a_result_that_a_later_one_overtook_does_not_step_the_client_back() {
    let mut history = History::new(setup().terms.federation());
    let (mut first, mut second) = (machine(1), machine(2));
    for (machine, round) in [(&mut first, 1), (&mut second, 2)] {
        let input = Input::Message(ToClient::Published(published(round)));
        let actions = handle(machine, 0, input, &mut history);
        assert!(matches!(&actions[..], [Action::Apply(_)]), "{actions:?}");
    }
    assert!(history.is_applying());
    let later = Input::Applied(Some(published(2).state));
    let actions = handle(&mut second, 1, later, &mut history);
    let [Action::Persist(record), Action::Finish(Outcome::Published(_))] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert!(matches!(record.event, Event::Stands(Standing { round: RoundNumber(2), .. })));
    let earlier = Input::Applied(Some(published(1).state));
    let actions = handle(&mut first, 2, earlier, &mut history);
    assert!(matches!(&actions[..], [Action::Finish(Outcome::Known)]), "{actions:?}");
    assert_eq!(history.standing().unwrap().model_version, ModelVersion(2));
    assert!(!history.is_applying());
}

#[test]
fn a_result_that_is_known_is_not_applied_again() {
    let mut history = History::new(setup().terms.federation());
    let round = RoundNumber(3);
    let Published { state, transcript, .. } = published(3);
    let model_version = ModelVersion(3);
    history.adopt(Standing { round, model_version, state, transcript }).unwrap();
    let input = Input::Message(ToClient::Published(published(3)));
    let actions = handle(&mut machine(3), 0, input, &mut history);
    assert!(matches!(&actions[..], [Action::Finish(Outcome::Known)]), "{actions:?}");
}

#[test]
fn a_stale_deadline_changes_nothing_and_a_due_one_burns_and_then_ends() {
    let mut history = History::new(setup().terms.federation());
    let mut machine = machine(1);
    let cohort = setup().terms.clients().collect();
    let plan = Box::new(setup().terms.roster_plan(RoundNumber(1), &cohort).unwrap());
    let input = Input::Message(ToClient::RosterPlan(plan));
    let actions = handle(&mut machine, 50, input, &mut history);
    let [Action::Persist(_), Action::Send(_), Action::SetDeadline(Time(150))] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert!(handle(&mut machine, 149, Input::Deadline, &mut history).is_empty());
    let actions = handle(&mut machine, 150, Input::Deadline, &mut history);
    let [Action::Send(declined), Action::SetDeadline(Time(250))] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert_eq!(*declined, FromClient::Declined(Refusal::WaitedTooLong));
    assert_eq!(machine.stage(), None);
    let actions = handle(&mut machine, 250, Input::Deadline, &mut history);
    let refused = Outcome::Refused(Refusal::WaitedTooLong);
    assert!(matches!(&actions[..], [Action::Finish(outcome)] if *outcome == refused));
}

#[test]
fn a_machine_that_was_told_nothing_before_says_that_its_client_was_restarted() {
    let mut history = History::new(setup().terms.federation());
    let mut machine = machine(1);
    let set = Arc::new(crate::message::SurvivorSet { inputs: Vec::new() });
    let input = Input::Message(ToClient::SurvivorSet(set));
    let actions = handle(&mut machine, 0, input, &mut history);
    let [Action::Send(declined), Action::SetDeadline(_)] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert_eq!(*declined, FromClient::Declined(Refusal::Restarted));
    assert_eq!(machine.refusal(), Some(&Refusal::Restarted));
    let input = Input::Message(ToClient::Aborted(AbortReason::Stopped));
    let actions = handle(&mut machine, 0, input, &mut history);
    assert!(matches!(&actions[..], [Action::Finish(Outcome::Aborted(AbortReason::Stopped))]));
}
