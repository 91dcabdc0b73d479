//! Lies about adverts. Only the client's own advert has left.

use std::sync::Arc;

use roundelay_crypto::digest::Digest;
use roundelay_protocol::error::{Refusal, Stage};
use roundelay_protocol::ids::{RosterIndex, RoundNumber};
use roundelay_protocol::message::{Advert, AdvertRoster, ToClient};
use roundelay_protocol::pair::{Options, Pair, Point};
use roundelay_protocol::plan::PlanKind;
use roundelay_protocol::signed::{Scope, Statement};
use roundelay_protocol::transcript::plan_root;

use super::{VICTIM, assert_refused, colluder, everybody, lie_in, lied_to_in_order};

fn adverts_are_refused(reason: &Refusal, lie: impl FnMut(&mut AdvertRoster) + 'static) {
    let mut pair = Pair::new(Options::new(5, 11));
    adverts_are_refused_in(&mut pair, reason, lie);
}

fn adverts_are_refused_in(
    pair: &mut Pair,
    reason: &Refusal,
    mut lie: impl FnMut(&mut AdvertRoster) + 'static,
) {
    let round = lie_in(pair, move |message| match message {
        ToClient::Adverts(mut roster) => {
            lie(Arc::make_mut(&mut roster));
            vec![ToClient::Adverts(roster)]
        }
        other => vec![other],
    });
    assert_refused(pair, round, reason, &[Point::Advert]);
}

#[test]
fn an_advert_that_its_client_did_not_sign_for_this_plan_is_refused() {
    let bad = |index| Refusal::BadAdvert(RosterIndex(index));
    adverts_are_refused(&bad(3), |roster| roster.adverts[3].1.signature.0[5] ^= 1);
    adverts_are_refused(&bad(3), |roster| roster.adverts[3].1.last_transcript = Digest([1; 32]));
    adverts_are_refused(&bad(0), |roster| {
        let (first, second) = roster.adverts.split_at_mut(2);
        std::mem::swap(&mut first[0].1, &mut second[0].1);
    });
}

#[test]
fn a_roster_that_is_not_canonical_or_names_strangers_is_refused() {
    let bad = |index| Refusal::BadAdvert(RosterIndex(index));
    adverts_are_refused(&bad(2), |roster| roster.adverts.swap(2, 3));
    adverts_are_refused(&bad(4), |roster| roster.adverts.push(roster.adverts[4].clone()));
    adverts_are_refused(&bad(9), |roster| roster.adverts[4].0 = RosterIndex(9));
}

#[test]
fn an_advert_of_an_earlier_round_is_refused() {
    let mut pair = Pair::new(Options::new(5, 11));
    let mut earlier: Option<Advert> = None;
    // The first round is let through, and remembered.
    let (victim, mut rounds) = (pair.ids()[VICTIM], 0);
    pair.on_message_to(move |to, mut message| {
        if let (ToClient::Adverts(roster), true) = (&mut message, to == victim) {
            rounds += 1;
            match &earlier {
                Some(advert) if rounds == 2 => {
                    Arc::make_mut(roster).adverts[2].1 = advert.clone();
                }
                _ => earlier = Some(roster.adverts[2].1.clone()),
            }
        }
        vec![message]
    });
    pair.round(PlanKind::Train);
    let round = pair.round(PlanKind::Train);
    assert_refused(&pair, round, &Refusal::BadAdvert(RosterIndex(2)), &[Point::Advert]);
}

#[test]
fn a_roster_without_this_clients_own_advert_unaltered_is_refused() {
    let reason = Refusal::OwnAdvertAltered;
    adverts_are_refused(&reason, |roster| drop(roster.adverts.remove(VICTIM)));
    adverts_are_refused(&reason, |roster| {
        roster.adverts[VICTIM].1.boxes = roster.adverts[0].1.boxes.clone();
    });
    adverts_are_refused(&reason, |roster| {
        roster.adverts[VICTIM].1.self_mask_commitment = Digest([1; 32]);
    });
}

#[test]
fn a_key_that_two_clients_advertise_is_refused_though_both_signed_it() {
    let mut pair = Pair::new(Options::new(5, 11));
    let plan = everybody(&pair, RoundNumber(1));
    let (scope, root, key) = (Scope::of(&plan), plan_root(&plan), colluder(&pair, 4));
    adverts_are_refused_in(&mut pair, &Refusal::EqualKeys, move |roster| {
        let copied = roster.adverts[2].1.mask.clone();
        let advert = &mut roster.adverts[4].1;
        advert.mask = copied;
        advert.signature = scope.sign(&key, &Statement::Advert { plan: &root, advert });
    });
}

#[test]
fn too_few_adverts_are_refused() {
    let reason = Refusal::TooFewMembers { present: 3, required: 4 };
    adverts_are_refused(&reason, |roster| roster.adverts.truncate(3));
}

#[test]
fn a_second_roster_that_differs_from_the_first_is_refused() {
    let (pair, round) = lied_to_in_order(|message| match &message {
        ToClient::Adverts(roster) => {
            let mut other = Arc::clone(roster);
            Arc::make_mut(&mut other).adverts.pop();
            vec![message, ToClient::Adverts(other)]
        }
        _ => vec![message],
    });
    let reason = Refusal::Contradicted(Stage::ShareKeys);
    assert_refused(&pair, round, &reason, &[Point::Advert, Point::Shares]);
}
