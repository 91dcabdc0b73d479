//! Lies about boxes. The client's advert and shares have left, and no vector.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use roundelay_crypto::digest::Digest;
use roundelay_crypto::tree;
use roundelay_protocol::error::Refusal;
use roundelay_protocol::ids::{RosterIndex, RoundNumber};
use roundelay_protocol::message::{BoxDelivery, BoxRoster, FromClient, ShareLeaf, ToClient};
use roundelay_protocol::pair::{Options, Pair};
use roundelay_protocol::plan::PlanKind;
use roundelay_protocol::signed::{Scope, Statement};
use roundelay_protocol::transcript::{adverts_root, leaf_digest, plan_root};

use crate::harness::{
    SHARED, VICTIM, assert_refused, assert_refused_with_proof, colluder, everybody, lie_in, lied_to,
};

fn boxes_are_refused(reason: &Refusal, lie: impl Fn(&mut BoxRoster) + 'static) {
    let (pair, round) = lied_to(move |message| match message {
        ToClient::Boxes(mut roster) => {
            lie(Arc::make_mut(&mut roster));
            vec![ToClient::Boxes(roster)]
        }
        other => vec![other],
    });
    assert_refused(&pair, round, reason, SHARED);
}

#[test]
fn a8_a_box_that_is_not_under_its_senders_signed_root_is_refused() {
    // The victim has index 1, so the boxes of 0, 2, 3 and 4 stand in this order.
    let reason = Refusal::BadShareRoot(RosterIndex(3));
    boxes_are_refused(&reason, |roster| roster.boxes[2].signature.0[9] ^= 1);
    boxes_are_refused(&reason, |roster| roster.boxes[2].root = Digest([1; 32]));
    boxes_are_refused(&reason, |roster| roster.boxes[2].leaf.sealed[0] ^= 1);
    boxes_are_refused(&reason, |roster| roster.boxes[2].leaf = roster.boxes[3].leaf.clone());
    boxes_are_refused(&reason, |roster| {
        let mut steps = roster.boxes[2].path.steps().to_vec();
        steps.pop();
        roster.boxes[2].path = tree::Path::new(steps).unwrap();
    });
    boxes_are_refused(&reason, |roster| {
        let other = roster.boxes[3].clone();
        roster.boxes[2].root = other.root;
        roster.boxes[2].signature = other.signature;
    });
}

#[test]
fn a8_boxes_in_disorder_twice_or_of_strangers_are_refused() {
    let bad = |index| Refusal::BadBox(RosterIndex(index));
    boxes_are_refused(&bad(2), |roster| roster.boxes.swap(1, 2));
    boxes_are_refused(&bad(4), |roster| roster.boxes.push(roster.boxes[3].clone()));
    boxes_are_refused(&bad(1), |roster| roster.boxes[0].from = RosterIndex(1));
    boxes_are_refused(&bad(9), |roster| roster.boxes[3].from = RosterIndex(9));
}

#[test]
fn a8_a_box_addressed_to_another_client_is_refused() {
    // The coordinator hands on a leaf of the right tree at the wrong place.
    let (stolen, victim) = (RosterIndex(3), VICTIM);
    let mut pair = Pair::new(Options::new(5, 11));
    let ids = pair.ids();
    let mut others = None;
    pair.on_message_to(move |to, mut message| {
        if let ToClient::Boxes(roster) = &mut message {
            if to == ids[0] {
                others = roster.boxes.iter().find(|delivery| delivery.from == stolen).cloned();
            } else if to == ids[victim] {
                let delivery = others.clone().expect("client 0 is served first");
                let boxes = &mut Arc::make_mut(roster).boxes;
                let place = boxes.iter().position(|delivery| delivery.from == stolen).unwrap();
                boxes[place] = delivery;
            }
        }
        vec![message]
    });
    let round = pair.round(PlanKind::Train);
    assert_refused(&pair, round, &Refusal::BadShareRoot(stolen), SHARED);
}

/// A client that lies together with the coordinator signs leaves that it altered for the victim.
fn forged_leaf_is_refused(reason: &Refusal, forge: impl Fn(&mut Vec<u8>) + 'static) {
    let mut pair = Pair::new(Options::new(5, 11));
    let plan = everybody(&pair, RoundNumber(1));
    let (scope, plan, key) = (Scope::of(&plan), plan_root(&plan), colluder(&pair, 4));
    let (liar, from) = (pair.ids()[4], RosterIndex(4));
    let roster = Rc::new(RefCell::new(None));
    let seen = Rc::clone(&roster);
    pair.on_message_to(move |_, message| {
        if let ToClient::Adverts(adverts) = &message {
            *seen.borrow_mut() = Some(Arc::clone(adverts));
        }
        vec![message]
    });
    pair.on_message_from(move |client, mut message| {
        if let (FromClient::Shares(shares), true) = (&mut message, client == liar) {
            let shares = Arc::make_mut(shares);
            let leaf = shares.leaves.iter_mut().find(|leaf| leaf.to.0 == 1).unwrap();
            forge(&mut leaf.sealed);
            let leaves: Vec<Digest> =
                shares.leaves.iter().map(|leaf| leaf_digest(from, leaf)).collect();
            shares.root = tree::root(&leaves);
            let adverts = adverts_root(&plan, roster.borrow().as_ref().unwrap());
            let statement = Statement::Shares { adverts: &adverts, root: &shares.root };
            shares.signature = scope.sign(&key, &statement);
        }
        vec![message]
    });
    let round = pair.round(PlanKind::Train);
    assert_refused_with_proof(&pair, round, reason, SHARED);
}

#[test]
fn a8_a_box_that_does_not_open_is_refused_though_its_sender_signed_it() {
    forged_leaf_is_refused(&Refusal::BadBox(RosterIndex(4)), |sealed| sealed[7] ^= 1);
    forged_leaf_is_refused(&Refusal::BadBox(RosterIndex(4)), |sealed| sealed.fill(0));
}

/// A client that lies together with the coordinator signs another leaf for the victim, after the
/// coordinator took the honest one.
fn forged_for_the_victim(liar: u16, forge: impl Fn(&mut ShareLeaf) + 'static) -> Pair {
    let mut pair = Pair::new(Options::new(5, 11));
    let plan = everybody(&pair, RoundNumber(1));
    let (scope, plan) = (Scope::of(&plan), plan_root(&plan));
    let (from, key) = (RosterIndex(liar), colluder(&pair, usize::from(liar)));
    let (id, leaves) = (pair.ids()[usize::from(liar)], Rc::new(RefCell::new(Vec::new())));
    let seen = Rc::clone(&leaves);
    pair.on_message_from(move |client, message| {
        if let (FromClient::Shares(shares), true) = (&message, client == id) {
            seen.borrow_mut().clone_from(&shares.leaves);
        }
        vec![message]
    });
    let mut adverts = None;
    lie_in(&mut pair, move |mut message| {
        if let ToClient::Adverts(roster) = &message {
            adverts = Some(adverts_root(&plan, roster));
        }
        if let (ToClient::Boxes(roster), Some(adverts)) = (&mut message, &adverts) {
            let boxes = &mut Arc::make_mut(roster).boxes;
            let delivery = boxes.iter_mut().find(|delivery| delivery.from == from).unwrap();
            let own = |leaf: &ShareLeaf| usize::from(leaf.to.0) == VICTIM;
            let place = leaves.borrow().iter().position(own).unwrap();
            forge(&mut delivery.leaf);
            let mut digests: Vec<Digest> =
                leaves.borrow().iter().map(|leaf| leaf_digest(from, leaf)).collect();
            digests[place] = leaf_digest(from, &delivery.leaf);
            delivery.root = tree::root(&digests);
            delivery.path = tree::path(&digests, place).unwrap();
            let statement = Statement::Shares { adverts, root: &delivery.root };
            delivery.signature = scope.sign(&key, &statement);
        }
        vec![message]
    });
    pair
}

#[test]
fn a8_a_leaf_for_another_client_is_refused_though_its_sender_signed_it_at_the_victims_place() {
    let pair = forged_for_the_victim(4, |leaf| leaf.to = RosterIndex(2));
    assert_refused(&pair, RoundNumber(1), &Refusal::BadBox(RosterIndex(4)), SHARED);
}

#[test]
fn a8_a_mask_ciphertext_of_the_wrong_side_is_refused_before_its_box_is_tried() {
    // The lower one encapsulates: 0 to the victim, the victim to 4. Neither box opens, yet the
    // victim shows nobody what its boxes open with.
    for liar in [0, 4] {
        let pair = forged_for_the_victim(liar, move |leaf| {
            leaf.mask_ciphertext = (liar == 4).then(|| leaf.box_ciphertext.clone());
            leaf.sealed[7] ^= 1;
        });
        assert_refused(&pair, RoundNumber(1), &Refusal::BadBox(RosterIndex(liar)), SHARED);
        let mut sent = pair.peer(VICTIM).sent.iter();
        assert!(!sent.any(|(_, message)| matches!(message, FromClient::Accusation(_))));
    }
}

#[test]
fn a8_a_box_of_an_earlier_round_is_refused() {
    let mut pair = Pair::new(Options::new(5, 11));
    let (victim, mut earlier) = (pair.ids()[VICTIM], None);
    pair.on_message_to(move |to, mut message| {
        if let (ToClient::Boxes(roster), true) = (&mut message, to == victim) {
            match &earlier {
                None => earlier = Some(roster.boxes[2].clone()),
                Some(earlier) => Arc::make_mut(roster).boxes[2] = BoxDelivery::clone(earlier),
            }
        }
        vec![message]
    });
    pair.round(PlanKind::Train);
    assert!(pair.peer(VICTIM).declined(RoundNumber(1)).next().is_none());
    let round = pair.round(PlanKind::Train);
    assert_refused(&pair, round, &Refusal::BadShareRoot(RosterIndex(3)), SHARED);
}

#[test]
fn a6_too_few_boxes_are_refused() {
    let reason = Refusal::TooFewMembers { present: 3, required: 4 };
    boxes_are_refused(&reason, |roster| roster.boxes.truncate(2));
}
