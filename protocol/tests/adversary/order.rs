//! Rounds that overlap, against their order: what was right when it was said, and is no more. What
//! a client checked early it checks again where something may have come between.

use std::cell::RefCell;
use std::rc::Rc;

use roundelay_crypto::digest::Digest;
use roundelay_protocol::error::{Refusal, Stage};
use roundelay_protocol::ids::{ClientId, ModelVersion, RosterIndex, RoundNumber};
use roundelay_protocol::message::{Published, Quorum, ToClient};
use roundelay_protocol::pair::{Options, Pair, Point};
use roundelay_protocol::plan::PlanKind;
use roundelay_protocol::round::horizontal::client::Input;
use roundelay_protocol::time::Millis;

use crate::harness::{OPENED, SIGNED, UPLOADED, VICTIM, assert_refused_without_twin};

const A_WHILE: Millis = Millis(500);

/// Messages that a coordinator keeps back, in the order in which it would have sent them.
type Kept = Rc<RefCell<Vec<ToClient>>>;

/// In a network that keeps everything in order, these messages are kept back.
fn keeping(is_kept: impl Fn(&[ToClient], ClientId, &ToClient) -> bool + 'static) -> (Pair, Kept) {
    let mut pair = Pair::new(Options { delay_ms: 5..=5, ..Options::new(5, 11) });
    let kept = Kept::default();
    let keeps = Rc::clone(&kept);
    pair.on_message_to(move |to, message| {
        let mut kept = keeps.borrow_mut();
        if is_kept(&kept, to, &message) {
            kept.push(message);
            return Vec::new();
        }
        vec![message]
    });
    (pair, kept)
}

/// The same for all messages to the victim that `is_kept` picks.
fn keeping_from_victim(is_kept: impl Fn(&ToClient) -> bool + 'static) -> (Pair, Kept) {
    let victim = Pair::new(Options::new(5, 11)).ids()[VICTIM];
    keeping(move |_, to, message| to == victim && is_kept(message))
}

fn say(pair: &mut Pair, round: RoundNumber, message: &ToClient) {
    pair.tell(VICTIM, round, Input::Message(message.clone()));
}

/// Two prepared rounds over one model, and the plan of each.
fn two_plans(pair: &mut Pair, kept: &Kept) -> [(RoundNumber, ToClient); 2] {
    let rounds = [pair.prepare(), pair.prepare()];
    pair.run_for(A_WHILE);
    let plans = rounds.map(|round| {
        pair.train(round, PlanKind::Train);
        let plan = kept.borrow().iter().rfind(|message| is_plan(message)).cloned();
        (round, plan.expect("a plan that was kept back"))
    });
    assert_eq!(kept.borrow().len(), 2);
    plans
}

fn is_plan(message: &ToClient) -> bool {
    matches!(message, ToClient::TrainingPlan(_))
}

fn not_rising() -> Refusal {
    Refusal::RoundNotRising { planned: 1, seen: 2 }
}

#[test]
fn a7_adverts_of_a_round_before_one_that_was_shared_in_are_refused() {
    let (mut pair, kept) = keeping_from_victim(|message| matches!(message, ToClient::Adverts(_)));
    let (first, second) = (pair.prepare(), pair.prepare());
    pair.run_for(A_WHILE);
    let [of_first, of_second] = &kept.borrow()[..] else { panic!("a roster for each round") };
    say(&mut pair, second, of_second);
    say(&mut pair, first, of_first);
    assert_refused_without_twin(&pair, first, &not_rising(), &[Point::Advert]);
    assert!(pair.peer(VICTIM).declined(second).next().is_none());
}

#[test]
fn a7_a_plan_of_a_round_before_one_that_was_uploaded_for_is_refused() {
    let (mut pair, kept) = keeping_from_victim(is_plan);
    let [(first, of_first), (second, of_second)] = two_plans(&mut pair, &kept);
    say(&mut pair, second, &of_second);
    pair.run_for(A_WHILE);
    assert!(pair.peer(VICTIM).uploads.iter().any(|(round, _)| *round == second));
    say(&mut pair, first, &of_first);
    assert_refused_without_twin(&pair, first, &not_rising(), OPENED);
    assert!(!pair.peer(VICTIM).contributions.contains_key(&first), "not even trained for");
}

#[test]
fn a7_of_two_vectors_that_are_masked_at_once_the_earlier_rounds_does_not_follow_the_laters() {
    let (mut pair, kept) = keeping_from_victim(is_plan);
    let [(first, of_first), (second, of_second)] = two_plans(&mut pair, &kept);
    say(&mut pair, first, &of_first);
    say(&mut pair, second, &of_second);
    // The later round is masked first.
    pair.tell(VICTIM, second, Input::Contributed);
    pair.run_for(A_WHILE);
    assert!(pair.peer(VICTIM).uploads.iter().any(|(round, _)| *round == second));
    assert_refused_without_twin(&pair, first, &not_rising(), OPENED);
}

/// Statistics and training are releases of their own, so neither stands in the other's way; the
/// messages of the statistics' round that `is_kept` picks reach nobody.
fn statistics_before_training(
    is_kept: impl Fn(&ToClient) -> bool + 'static,
) -> (Pair, RoundNumber, ToClient) {
    let (mut pair, kept) = keeping(move |kept, _, message| {
        matches!(message, ToClient::Aborted(_))
            || is_kept(message) && kept.iter().all(|first| !is_kept(first) || first == message)
    });
    let first = pair.prepare();
    pair.train(first, PlanKind::Statistics);
    pair.run_for(Millis(1_500));
    let message = kept.borrow()[0].clone();
    let second = pair.prepare();
    pair.train(second, PlanKind::Train);
    pair.run_for(Millis(1_500));
    crate::checks::assert_published(&pair, second, &[0, 1, 2, 3, 4]);
    (pair, first, message)
}

#[test]
fn a10_a_set_of_a_round_before_one_that_was_signed_is_refused() {
    let (mut pair, first, set) =
        statistics_before_training(|message| matches!(message, ToClient::SurvivorSet(_)));
    say(&mut pair, first, &set);
    assert_refused_without_twin(&pair, first, &Refusal::AlreadySigned, UPLOADED);
}

#[test]
fn a13_a_quorum_of_a_round_before_one_that_was_revealed_in_is_refused() {
    let (mut pair, first, quorum) =
        statistics_before_training(|message| matches!(message, ToClient::Quorum(_)));
    say(&mut pair, first, &quorum);
    assert_refused_without_twin(&pair, first, &Refusal::AlreadyRevealed, SIGNED);
}

/// A later round's result, which leads to a model of its own.
fn result() -> Published {
    Published {
        kind: PlanKind::Train,
        model_version: ModelVersion(0),
        survivors: 5,
        aggregate: Digest([1; 32]),
        state: Digest([2; 32]),
        transcript: Digest([3; 32]),
    }
}

#[test]
fn a7_a_plan_is_held_against_a_result_that_was_applied_while_the_client_trained() {
    for result_comes_first in [false, true] {
        let (mut pair, kept) = keeping_from_victim(is_plan);
        let [(first, of_first), (second, _)] = two_plans(&mut pair, &kept);
        let published = ToClient::Published(result());
        if result_comes_first {
            say(&mut pair, second, &published);
            say(&mut pair, first, &of_first);
        } else {
            say(&mut pair, first, &of_first);
            say(&mut pair, second, &published);
        }
        assert!(pair.peer(VICTIM).declined(first).next().is_none());
        pair.tell(VICTIM, second, Input::Applied(Some(result().state)));
        pair.tell(VICTIM, first, Input::Contributed);
        // At once: nothing is masked for it.
        assert_refused_without_twin(&pair, first, &Refusal::ModelNotDerived, OPENED);
        pair.run_for(A_WHILE);
        assert_refused_without_twin(&pair, first, &Refusal::ModelNotDerived, OPENED);
    }
}

#[test]
fn a7_a_plan_is_held_against_a_result_that_was_applied_while_the_client_masked() {
    let (mut pair, kept) = keeping_from_victim(is_plan);
    let [(first, of_first), (second, _)] = two_plans(&mut pair, &kept);
    say(&mut pair, first, &of_first);
    pair.tell(VICTIM, first, Input::Contributed);
    say(&mut pair, second, &ToClient::Published(result()));
    pair.tell(VICTIM, second, Input::Applied(Some(result().state)));
    assert!(pair.peer(VICTIM).declined(first).next().is_none());
    pair.run_for(A_WHILE);
    assert_refused_without_twin(&pair, first, &Refusal::ModelNotDerived, OPENED);
}

#[test]
fn a10_a_set_signed_while_the_client_masked_another_vector_for_the_same_model_stops_its_upload() {
    let (mut pair, kept) = keeping_from_victim(|message| {
        matches!(
            message,
            ToClient::TrainingPlan(_)
                | ToClient::SurvivorSet(_)
                | ToClient::Quorum(_)
                | ToClient::Published(_)
                | ToClient::Aborted(_)
        )
    });
    let [(first, of_first), (second, of_second)] = two_plans(&mut pair, &kept);
    say(&mut pair, first, &of_first);
    pair.run_for(A_WHILE);
    let is_set = |message: &&ToClient| matches!(message, ToClient::SurvivorSet(_));
    let set = kept.borrow().iter().find(is_set).cloned().expect("a set of the first round");
    pair.contribute_only(7);
    say(&mut pair, second, &of_second);
    pair.tell(VICTIM, second, Input::Contributed);
    say(&mut pair, first, &set);
    assert!(pair.peer(VICTIM).declined(first).next().is_none());
    pair.run_for(A_WHILE);
    assert_refused_without_twin(&pair, second, &Refusal::OtherContribution, OPENED);
}

#[test]
fn a14_a_plan_that_came_early_and_comes_again_with_another_content_is_refused() {
    let (mut pair, _) = keeping_from_victim(|message| matches!(message, ToClient::Boxes(_)));
    let round = pair.prepare();
    pair.run_for(A_WHILE);
    let plan = pair.coordinator().training_plan(round, PlanKind::Train);
    let mut other = plan.clone();
    other.active.push(RosterIndex(0));
    say(&mut pair, round, &ToClient::TrainingPlan(Box::new(plan)));
    assert!(pair.peer(VICTIM).declined(round).next().is_none());
    say(&mut pair, round, &ToClient::TrainingPlan(Box::new(other)));
    let reason = Refusal::Contradicted(Stage::MaskedInput);
    assert_refused_without_twin(&pair, round, &reason, &[Point::Advert, Point::Shares]);
}

#[test]
fn a13_a_quorum_that_came_early_and_comes_again_with_another_content_is_refused() {
    let (mut pair, _) = keeping_from_victim(|message| {
        !matches!(
            message,
            ToClient::RosterPlan(_)
                | ToClient::Adverts(_)
                | ToClient::Boxes(_)
                | ToClient::TrainingPlan(_)
        )
    });
    let round = pair.prepare();
    pair.train(round, PlanKind::Train);
    pair.run_for(A_WHILE);
    let signature = roundelay_crypto::identity::Signature([1; 64]);
    let quorum = |signatures| ToClient::Quorum(std::sync::Arc::new(Quorum { signatures }));
    say(&mut pair, round, &quorum(Vec::new()));
    assert!(pair.peer(VICTIM).declined(round).next().is_none());
    say(&mut pair, round, &quorum(vec![(RosterIndex(0), signature)]));
    assert_refused_without_twin(&pair, round, &Refusal::AlreadyRevealed, UPLOADED);
}
