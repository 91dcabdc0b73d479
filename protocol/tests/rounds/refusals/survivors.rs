//! Lies about who survived and who signed it. The masked vector has left, and no share.

use std::sync::Arc;

use roundelay_crypto::digest::Digest;
use roundelay_protocol::error::Refusal;
use roundelay_protocol::ids::RosterIndex;
use roundelay_protocol::message::{Quorum, SurvivorSet, ToClient};
use roundelay_protocol::pair::{Options, Pair, Point};
use roundelay_protocol::plan::PlanKind;

use super::{VICTIM, assert_refused, lied_to, lied_to_in_order};

const UPLOADED: &[Point] = &[Point::Advert, Point::Shares, Point::Upload, Point::Commit];
const SIGNED: &[Point] =
    &[Point::Advert, Point::Shares, Point::Upload, Point::Commit, Point::Signature];

fn set_is_refused(reason: &Refusal, lie: impl Fn(&mut SurvivorSet) + 'static) {
    let (pair, round) = lied_to(move |message| match message {
        ToClient::SurvivorSet(mut set) => {
            lie(Arc::make_mut(&mut set));
            vec![ToClient::SurvivorSet(set)]
        }
        other => vec![other],
    });
    assert_refused(&pair, round, reason, UPLOADED);
}

#[test]
fn a_set_without_this_client_or_with_another_root_for_it_is_refused() {
    set_is_refused(&Refusal::NotInSurvivorSet, |set| {
        set.inputs.remove(VICTIM);
    });
    set_is_refused(&Refusal::RootAltered, |set| set.inputs[VICTIM].1 = Digest([1; 32]));
}

#[test]
fn a_set_that_is_no_canonical_subset_of_the_active_roster_is_refused() {
    set_is_refused(&Refusal::BadSurvivorSet, |set| set.inputs.swap(2, 3));
    set_is_refused(&Refusal::BadSurvivorSet, |set| set.inputs.push(set.inputs[4]));
    set_is_refused(&Refusal::BadSurvivorSet, |set| {
        set.inputs.push((RosterIndex(9), Digest([1; 32])));
    });
}

#[test]
fn a_set_that_is_too_small_is_refused() {
    let reason = Refusal::TooFewSurvivors { present: 3, required: 4 };
    set_is_refused(&reason, |set| set.inputs.truncate(3));
}

#[test]
fn a_set_that_breaks_a_group_is_refused_where_whole_groups_are_the_rule() {
    let mut options = Options::new(8, 11);
    options.rules.whole_groups = true;
    let mut pair = Pair::new(options);
    assert_eq!(pair.terms().groups().to_vec().len(), 2);
    let victim = pair.ids()[VICTIM];
    pair.on_message_to(move |to, mut message| {
        if let (ToClient::SurvivorSet(set), true) = (&mut message, to == victim) {
            Arc::make_mut(set).inputs.pop();
        }
        vec![message]
    });
    let round = pair.round(PlanKind::Train);
    assert_refused(&pair, round, &Refusal::BadSurvivorSet, UPLOADED);
}

#[test]
fn a_second_set_for_a_signed_round_is_refused() {
    let (pair, round) = lied_to_in_order(|message| match &message {
        ToClient::SurvivorSet(set) => {
            let mut other = Arc::clone(set);
            Arc::make_mut(&mut other).inputs.pop();
            vec![message, ToClient::SurvivorSet(other)]
        }
        _ => vec![message],
    });
    assert_refused(&pair, round, &Refusal::AlreadySigned, SIGNED);
}

fn quorum_is_refused(reason: &Refusal, lie: impl Fn(&mut Quorum) + 'static) {
    let (pair, round) = lied_to(move |message| match message {
        ToClient::Quorum(mut quorum) => {
            lie(Arc::make_mut(&mut quorum));
            vec![ToClient::Quorum(quorum)]
        }
        other => vec![other],
    });
    assert_refused(&pair, round, reason, SIGNED);
}

#[test]
fn fewer_signatures_than_the_quorum_are_refused() {
    let few = |present| Refusal::QuorumNotReached { present, required: 4 };
    quorum_is_refused(&few(3), |quorum| quorum.signatures.truncate(3));
    quorum_is_refused(&few(0), |quorum| quorum.signatures.clear());
}

#[test]
fn a_signature_that_is_wrong_foreign_or_counted_twice_is_refused() {
    fn bad_at(lie: impl Fn(&mut Quorum) -> RosterIndex + 'static + Copy) {
        // Who is named depends on which four of five signed first.
        let named = std::rc::Rc::new(std::cell::Cell::new(RosterIndex(0)));
        let said = std::rc::Rc::clone(&named);
        let (pair, round) = lied_to(move |message| match message {
            ToClient::Quorum(mut quorum) => {
                said.set(lie(Arc::make_mut(&mut quorum)));
                vec![ToClient::Quorum(quorum)]
            }
            other => vec![other],
        });
        assert_refused(&pair, round, &Refusal::BadQuorumSignature(named.get()), SIGNED);
    }
    bad_at(|quorum| {
        quorum.signatures[2].1.0[3] ^= 1;
        quorum.signatures[2].0
    });
    bad_at(|quorum| {
        let (one, other) = (quorum.signatures[0].1, quorum.signatures[1].1);
        (quorum.signatures[0].1, quorum.signatures[1].1) = (other, one);
        quorum.signatures[0].0
    });
    bad_at(|quorum| {
        quorum.signatures[3] = quorum.signatures[2];
        quorum.signatures[3].0
    });
    bad_at(|quorum| {
        quorum.signatures[3].0 = RosterIndex(9);
        RosterIndex(9)
    });
}

#[test]
fn signatures_over_the_set_of_another_round_are_refused() {
    let mut pair = Pair::new(Options::new(5, 11));
    let (victim, mut first) = (pair.ids()[VICTIM], None);
    pair.on_message_to(move |to, mut message| {
        if let (ToClient::Quorum(quorum), true) = (&mut message, to == victim) {
            match &first {
                Some(earlier) => *quorum = Arc::clone(earlier),
                None => first = Some(Arc::clone(quorum)),
            }
        }
        vec![message]
    });
    let round = pair.round(PlanKind::Train);
    assert!(pair.peer(VICTIM).declined(round).next().is_none());
    let round = pair.round(PlanKind::Train);
    let declined = pair.peer(VICTIM).declined(round).next().cloned();
    let Some(Refusal::BadQuorumSignature(_)) = declined else { panic!("{declined:?}") };
    assert_refused(&pair, round, &declined.unwrap(), SIGNED);
}

#[test]
fn another_quorum_after_the_shares_were_revealed_is_refused() {
    let (pair, round) = lied_to_in_order(|message| match &message {
        ToClient::Quorum(quorum) => {
            let mut other = Arc::clone(quorum);
            Arc::make_mut(&mut other).signatures.pop();
            vec![message.clone(), ToClient::Quorum(other)]
        }
        // The result would be taken first.
        ToClient::Published(_) => Vec::new(),
        _ => vec![message],
    });
    let revealed = [SIGNED, &[Point::Reveal]].concat();
    assert_refused(&pair, round, &Refusal::AlreadyRevealed, &revealed);
}
