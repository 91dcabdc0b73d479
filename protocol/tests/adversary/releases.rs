//! Attacks of a coordinator that would open more than one set, or one client's vector alone.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use roundelay_protocol::error::Refusal;
use roundelay_protocol::ids::{ClientId, RoundNumber};
use roundelay_protocol::message::{FromClient, SurvivorSet, ToClient};
use roundelay_protocol::pair::{Fault, Options, Pair, Point, When};
use roundelay_protocol::plan::PlanKind;
use roundelay_protocol::round::horizontal::client::Input;
use roundelay_protocol::round::horizontal::coordinator::Outcome;
use roundelay_protocol::time::Millis;

use crate::checks::{assert_published, assert_sound};

fn revealed(pair: &Pair, round: RoundNumber) -> Vec<usize> {
    let reveals = |client: &usize| {
        let sent = &pair.peer(*client).sent;
        sent.iter().any(|(sent, m)| *sent == round && matches!(m, FromClient::Reveal(_)))
    };
    (0..pair.ids().len()).filter(reveals).collect()
}

/// All clients refused by the set rule, and not a byte of a vector left.
fn assert_set_rule(pair: &Pair, round: RoundNumber, refusal: &Refusal) {
    for client in 0..pair.ids().len() {
        let peer = pair.peer(client);
        assert_eq!(peer.declined(round).collect::<Vec<_>>(), [refusal]);
        assert!(peer.uploads.iter().all(|(uploaded, _)| *uploaded != round));
    }
}

/// A round in which everybody signs the set of these clients, and the shares get lost.
fn signed_in_vain(clients: &[usize]) -> (Pair, RoundNumber) {
    let mut pair = Pair::new(Options::new(5, 1));
    let ids: Vec<ClientId> = clients.iter().map(|client| pair.ids()[*client]).collect();
    pair.on_message_from(move |from, message| match message {
        FromClient::InputCommit(_) if !ids.contains(&from) => Vec::new(),
        FromClient::Reveal(_) => Vec::new(),
        other => vec![other],
    });
    let failed = pair.round(PlanKind::Train);
    assert!(matches!(pair.coordinator().outcomes[&failed], Outcome::Aborted(_)));
    pair.on_message_from(|_, message| vec![message]);
    (pair, failed)
}

#[test]
fn a_round_whose_set_was_signed_in_vain_is_tried_again_with_the_same_set_and_comes_to_the_same_sum()
{
    let everybody = [0, 1, 2, 3, 4];
    let (mut pair, failed) = signed_in_vain(&everybody);
    let retry = pair.round(PlanKind::Train);
    assert_published(&pair, retry, &everybody);
    for client in everybody {
        let peer = pair.peer(client);
        assert_eq!(peer.contributions[&failed], peer.contributions[&retry]);
        let vectors: BTreeSet<&Vec<u8>> = peer.uploads.iter().map(|(_, vector)| vector).collect();
        assert_eq!(vectors.len(), 2, "under other masks");
    }
    assert_sound(&pair);
}

#[test]
fn a7_where_a_set_was_signed_for_a_model_no_other_vector_is_given_for_it() {
    let (mut pair, _) = signed_in_vain(&[0, 1, 2, 3, 4]);
    // As after a change of the rows: the difference of the two sums would be that of the vectors.
    pair.contribute_only(7);
    let retry = pair.round(PlanKind::Train);
    assert_set_rule(&pair, retry, &Refusal::OtherContribution);
    assert_sound(&pair);
}

/// The others open a set that the victim is in and was never shown, as a quorum may. They may give the
/// same vectors again; the victim's rows have changed meanwhile.
#[test]
fn a7_whoever_has_uploaded_gives_no_other_vector_though_it_was_shown_no_set() {
    let mut pair = Pair::new(Options::new(5, 1));
    let victim = pair.ids()[4];
    pair.on_message_to(move |to, message| match message {
        ToClient::SurvivorSet(_) | ToClient::Quorum(_) if to == victim => Vec::new(),
        other => vec![other],
    });
    pair.on_message_from(|_, message| match message {
        // The coordinator keeps them to itself.
        FromClient::Reveal(_) => Vec::new(),
        other => vec![other],
    });
    let failed = pair.round(PlanKind::Train);
    assert!(matches!(pair.coordinator().outcomes[&failed], Outcome::Aborted(_)));
    assert_eq!(revealed(&pair, failed), [0, 1, 2, 3], "enough to open the sum");
    pair.on_message_to(|_, message| vec![message]);
    pair.on_message_from(|_, message| vec![message]);
    pair.contributes_only(4, 7);
    let retry = pair.round(PlanKind::Train);
    assert_eq!(pair.peer(4).declined(retry).collect::<Vec<_>>(), [&Refusal::OtherContribution]);
    assert!(pair.peer(4).uploads.iter().all(|(uploaded, _)| *uploaded != retry));
    assert_sound(&pair);
}

#[test]
fn a10_where_a_set_was_signed_for_a_model_no_other_set_is_signed_for_it() {
    let (mut pair, _) = signed_in_vain(&[0, 1, 2, 3]);
    // The last one is back: with it the sums would differ by its vector.
    let retry = pair.round(PlanKind::Train);
    assert!(matches!(pair.coordinator().outcomes[&retry], Outcome::Aborted(_)));
    for client in 0..4 {
        assert_eq!(pair.peer(client).declined(retry).collect::<Vec<_>>(), [&Refusal::SetRule]);
    }
    assert_eq!(revealed(&pair, retry), Vec::<usize>::new());
    assert_sound(&pair);
}

#[test]
fn a7_statistics_of_one_data_version_are_opened_once() {
    let mut pair = Pair::new(Options::new(5, 1));
    let first = pair.round(PlanKind::Statistics);
    assert_published(&pair, first, &[0, 1, 2, 3, 4]);
    let second = pair.round(PlanKind::Statistics);
    assert_set_rule(&pair, second, &Refusal::SetRule);
}

#[test]
fn a_round_that_nobody_signed_is_retried_with_the_same_cohort_and_new_masks() {
    let mut pair = Pair::new(Options::new(5, 1));
    let lost = Rc::new(RefCell::new(true));
    let is_lost = Rc::clone(&lost);
    pair.on_message_from(move |_, message| match message {
        FromClient::InputCommit(_) if *is_lost.borrow() => Vec::new(),
        other => vec![other],
    });
    let failed = pair.round(PlanKind::Train);
    assert!(matches!(pair.coordinator().outcomes[&failed], Outcome::Aborted(_)));
    *lost.borrow_mut() = false;
    let retry = pair.round(PlanKind::Train);
    assert_published(&pair, retry, &[0, 1, 2, 3, 4]);
    for client in 0..5 {
        let vectors: BTreeSet<&Vec<u8>> =
            pair.peer(client).uploads.iter().map(|(_, vector)| vector).collect();
        assert_eq!(vectors.len(), 2, "a failed round's masks are never used again");
    }
    assert_sound(&pair);
}

#[test]
fn a15_a_retry_with_another_cohort_over_the_same_model_is_refused() {
    // Eight clients make two groups; the retry plans one of them.
    let mut pair = Pair::new(Options::new(8, 1));
    pair.on_message_from(|_, message| match message {
        FromClient::InputCommit(_) => Vec::new(),
        other => vec![other],
    });
    pair.round(PlanKind::Train);
    let group: BTreeSet<ClientId> = pair.terms().groups().to_vec()[0].iter().copied().collect();
    let retry = pair.prepare_for(&group);
    pair.train(retry, PlanKind::Train);
    pair.run();
    for (client, id) in pair.ids().into_iter().enumerate() {
        let declined: Vec<&Refusal> = pair.peer(client).declined(retry).collect();
        let expected: &[&Refusal] = if group.contains(&id) { &[&Refusal::SetRule] } else { &[] };
        assert_eq!(declined, expected);
    }
}

/// The coordinator collects vectors of two rounds over one model, without showing a set, and then
/// asks for signatures in both.
#[test]
fn a10_of_two_rounds_over_one_model_only_the_later_one_is_signed() {
    let mut pair = Pair::new(Options::new(5, 1));
    let sets: Rc<RefCell<Vec<Arc<SurvivorSet>>>> = Rc::default();
    let seen = Rc::clone(&sets);
    pair.on_message_to(move |_, message| match message {
        ToClient::SurvivorSet(set) => {
            if seen.borrow().last() != Some(&set) {
                seen.borrow_mut().push(set);
            }
            Vec::new()
        }
        ToClient::Aborted(_) => Vec::new(),
        other => vec![other],
    });
    let mut rounds = Vec::new();
    for _ in 0..2 {
        let round = pair.prepare();
        pair.train(round, PlanKind::Train);
        pair.run_for(Millis(1_500));
        rounds.push(round);
    }
    let sets = sets.borrow().clone();
    assert_eq!(sets.len(), 2);
    for (round, set) in rounds.iter().zip(&sets) {
        for client in 0..5 {
            pair.tell(client, *round, Input::Message(ToClient::SurvivorSet(Arc::clone(set))));
        }
    }
    for client in 0..5 {
        let peer = pair.peer(client);
        assert_eq!(peer.declined(rounds[0]).collect::<Vec<_>>(), [&Refusal::SetRule]);
        assert_eq!(peer.declined(rounds[1]).count(), 0);
    }
    assert_sound(&pair);
}

#[test]
fn two_survivor_sets_shown_to_two_halves_open_neither() {
    // One half is told that client 6 survived, the other that it dropped out: with the shares of
    // both, its b and its k would be open, and so its vector.
    let mut pair = Pair::new(Options::new(7, 1));
    let half: BTreeSet<ClientId> = pair.ids()[..3].iter().copied().collect();
    pair.on_message_to(move |to, mut message| {
        if let (ToClient::SurvivorSet(set), true) = (&mut message, half.contains(&to)) {
            Arc::make_mut(set).inputs.pop();
        }
        vec![message]
    });
    let round = pair.round(PlanKind::Train);
    assert!(matches!(pair.coordinator().outcomes[&round], Outcome::Aborted(_)));
    assert!(revealed(&pair, round).is_empty());
    assert_sound(&pair);
}

#[test]
fn a9_a_client_outside_the_survivor_set_answers_nothing() {
    let late = Fault::Cut {
        client: 3,
        at: Point::Commit,
        when: When::Before,
        back_after: Some(Millis(500)),
    };
    let mut pair = Pair::new(Options { faults: vec![late], ..Options::new(5, 1) });
    let outside = pair.ids()[3];
    let shown: Rc<RefCell<Vec<ToClient>>> = Rc::default();
    let seen = Rc::clone(&shown);
    pair.on_message_to(move |to, message| match message {
        ToClient::SurvivorSet(_) | ToClient::Quorum(_) if to != outside => {
            seen.borrow_mut().push(message.clone());
            vec![message]
        }
        ToClient::Published(_) => Vec::new(),
        other => vec![other],
    });
    let round = pair.prepare();
    pair.train(round, PlanKind::Train);
    pair.run_for(Millis(3_000));
    assert_eq!(revealed(&pair, round), [0, 1, 2, 4]);
    let messages = shown.borrow().clone();
    for message in messages {
        pair.tell(3, round, Input::Message(message));
    }
    assert_eq!(pair.peer(3).declined(round).next(), Some(&Refusal::NotInSurvivorSet));
    assert_eq!(revealed(&pair, round), [0, 1, 2, 4]);
}

#[test]
fn what_the_coordinator_is_sent_looks_the_same_whatever_is_in_it() {
    // Bytes of masked vectors, with contributions of all zeros and of all ones.
    for value in [0_u8, 255] {
        let mut pair = Pair::new(Options::new(3, 1));
        pair.contribute_only(value);
        let round = pair.round(PlanKind::Train);
        assert_published(&pair, round, &[0, 1, 2]);
        let bytes: Vec<u8> =
            pair.coordinator().uploads.iter().flat_map(|(_, _, vector)| vector.clone()).collect();
        let ones: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
        let bits = u32::try_from(bytes.len() * 8).unwrap();
        // Six standard deviations around one half.
        let deviation = (f64::from(ones) - f64::from(bits) / 2.0).abs();
        assert!(deviation < 3.0 * f64::from(bits).sqrt(), "{ones} of {bits} bits");
    }
}

/// Held-out rows of one client, from two sums over the same model: an evaluation without it, then
/// the evaluation that rides in the train round with it.
#[test]
fn a15_a_model_is_evaluated_alone_only_when_no_round_trains_from_it() {
    let mut pair = Pair::new(Options::new(8, 1));
    let group: BTreeSet<ClientId> = pair.terms().groups().to_vec()[0].iter().copied().collect();
    let evaluation = pair.prepare_for(&group);
    pair.train(evaluation, PlanKind::Evaluate);
    pair.run();
    assert!(matches!(pair.coordinator().outcomes[&evaluation], Outcome::Aborted(_)));
    assert!(pair.coordinator().uploads.is_empty());
    let everyone: Vec<usize> = (0..8).collect();
    let training = pair.round(PlanKind::Train);
    assert_published(&pair, training, &everyone);
}

#[test]
fn a15_the_last_model_is_evaluated_alone_once() {
    let mut pair = Pair::new(Options { rounds: 1, ..Options::new(5, 1) });
    let training = pair.round(PlanKind::Train);
    let evaluation = pair.round(PlanKind::Evaluate);
    assert_published(&pair, training, &[0, 1, 2, 3, 4]);
    assert_published(&pair, evaluation, &[0, 1, 2, 3, 4]);
    let again = pair.round(PlanKind::Evaluate);
    assert_set_rule(&pair, again, &Refusal::SetRule);
    assert_sound(&pair);
}
