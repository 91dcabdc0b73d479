//! Lies about who survived. The masked vector has left, and no share.

use std::sync::Arc;

use roundelay_crypto::digest::Digest;
use roundelay_protocol::error::Refusal;
use roundelay_protocol::ids::RosterIndex;
use roundelay_protocol::message::{SurvivorSet, ToClient};
use roundelay_protocol::pair::{Options, Pair};
use roundelay_protocol::plan::PlanKind;

use crate::harness::{SIGNED, UPLOADED, VICTIM, assert_refused, lied_to, lied_to_in_order};

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
fn a9_a_set_without_this_client_or_with_another_root_for_it_is_refused() {
    set_is_refused(&Refusal::NotInSurvivorSet, |set| {
        set.inputs.remove(VICTIM);
    });
    set_is_refused(&Refusal::RootAltered, |set| set.inputs[VICTIM].1 = Digest([1; 32]));
}

#[test]
fn a9_a_set_that_is_no_canonical_subset_of_the_active_roster_is_refused() {
    set_is_refused(&Refusal::BadSurvivorSet, |set| set.inputs.swap(2, 3));
    set_is_refused(&Refusal::BadSurvivorSet, |set| set.inputs.push(set.inputs[4]));
    set_is_refused(&Refusal::BadSurvivorSet, |set| {
        set.inputs.push((RosterIndex(9), Digest([1; 32])));
    });
}

#[test]
fn a9_a_set_that_is_too_small_is_refused() {
    let reason = Refusal::TooFewSurvivors { present: 3, required: 4 };
    set_is_refused(&reason, |set| set.inputs.truncate(3));
}

#[test]
fn a15_a_set_that_breaks_a_group_is_refused_where_whole_groups_are_the_rule() {
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
fn a10_a_second_set_for_a_signed_round_is_refused() {
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
