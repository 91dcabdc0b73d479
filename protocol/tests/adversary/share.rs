//! Lies about adverts. Only the client's own advert has left.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use roundelay_crypto::agreement::{AgreementPublic, AgreementSecret};
use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::IdentityKey;
use roundelay_crypto::secret::Secret;
use roundelay_crypto::tree;
use roundelay_protocol::codec;
use roundelay_protocol::error::{Refusal, Stage};
use roundelay_protocol::ids::{FederationId, RosterIndex, RoundNumber};
use roundelay_protocol::message::{
    Advert, AdvertRoster, BoxDelivery, BoxRoster, FromClient, ShareLeaf, ShareRoster, ToClient,
};
use roundelay_protocol::pair::{Options, Pair, Point};
use roundelay_protocol::plan::PlanKind;
use roundelay_protocol::round::horizontal::client::Input;
use roundelay_protocol::signed::{Scope, Statement};
use roundelay_protocol::time::Millis;
use roundelay_protocol::transcript::{leaf_digest, plan_root};

use crate::harness::{
    SHARED, VICTIM, assert_refused, colluder, everybody, lie_in, lied_to_in_order,
};

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
fn a1_an_advert_that_its_client_did_not_sign_for_this_plan_is_refused() {
    let bad = |index| Refusal::BadAdvert(RosterIndex(index));
    adverts_are_refused(&bad(3), |roster| roster.adverts[3].1.signature.0[5] ^= 1);
    adverts_are_refused(&bad(3), |roster| roster.adverts[3].1.last_transcript = Digest([1; 32]));
    adverts_are_refused(&bad(0), |roster| {
        let (first, second) = roster.adverts.split_at_mut(2);
        std::mem::swap(&mut first[0].1, &mut second[0].1);
    });
}

#[test]
fn a1_an_advert_that_somebody_else_signed_is_refused() {
    let reason = Refusal::BadAdvert(RosterIndex(3));
    let pair = Pair::new(Options::new(5, 11));
    let plan = everybody(&pair, RoundNumber(1));
    let (scope, root, own) = (Scope::of(&plan), plan_root(&plan), colluder(&pair, 3));
    let stranger = Arc::new(IdentityKey::random(&mut ChaCha20Rng::seed_from_u64(1)));
    // A stranger, and another member: the keys in it are theirs.
    for key in [stranger, colluder(&pair, 4)] {
        adverts_are_refused(&reason, move |roster| {
            let (_, advert) = &mut roster.adverts[3];
            advert.self_mask_commitment = Digest([1; 32]);
            advert.signature = scope.sign(&key, &Statement::Advert { plan: &root, advert });
        });
    }
    // Its own signature, for another federation, manifest, round or plan.
    let other = |change: fn(&mut Scope)| {
        let mut scope = scope;
        change(&mut scope);
        scope
    };
    for (scope, root) in [
        (other(|scope| scope.federation = FederationId([8; 16])), root),
        (other(|scope| scope.manifest = Digest([1; 32])), root),
        (other(|scope| scope.round = RoundNumber(2)), root),
        (scope, Digest([1; 32])),
    ] {
        let key = Arc::clone(&own);
        adverts_are_refused(&reason, move |roster| {
            let (_, advert) = &mut roster.adverts[3];
            advert.signature = scope.sign(&key, &Statement::Advert { plan: &root, advert });
        });
    }
}

#[test]
fn a3_a_key_of_small_order_or_outside_the_field_is_in_no_roster_that_can_be_read() {
    let pair = Pair::new(Options::new(5, 11));
    let mut twin = pair.twin();
    let round = twin.round(PlanKind::Train);
    let advert = twin.peer(0).sent.iter().find_map(|(sent, message)| match message {
        FromClient::Advert(advert) if *sent == round => Some((**advert).clone()),
        _ => None,
    });
    let bytes = codec::encode(&advert.unwrap());
    let reads = |bytes: &[u8]| codec::decode::<Advert>(bytes, bytes.len()).is_ok();
    assert!(reads(&bytes));
    // The four points of order 1, 2 and 4, as RFC 7748 spells their u, and those of p and p + 1.
    let mut points = vec![[0; 32], [0; 32], [0xff; 32], [0xff; 32], [0xff; 32]];
    points[1][0] = 1;
    for (point, lowest) in points[2..].iter_mut().zip([0xec, 0xed, 0xee]) {
        (point[0], point[31]) = (lowest, 0x7f);
    }
    for key in [0, AgreementPublic::BYTES] {
        for point in &points {
            let mut altered = bytes.clone();
            altered[key..key + 32].copy_from_slice(point);
            assert!(!reads(&altered), "{key} {point:?}");
        }
        // Two coefficients of 4095 in a field of 3329.
        let mut altered = bytes.clone();
        altered[key + 32..key + 35].fill(0xff);
        assert!(!reads(&altered), "{key}");
    }
}

#[test]
fn a17_an_advert_without_its_post_quantum_half_cannot_be_read() {
    let mut pair = Pair::new(Options::new(5, 11));
    pair.round(PlanKind::Train);
    let advert = pair.peer(0).sent.iter().find_map(|(_, message)| match message {
        FromClient::Advert(advert) => Some((**advert).clone()),
        _ => None,
    });
    let mut bytes = codec::encode(&advert.unwrap());
    // The classical key alone, as a suite without ML-KEM would have it.
    bytes.drain(32..AgreementPublic::BYTES);
    assert!(codec::decode::<Advert>(&bytes, bytes.len()).is_err());
}

#[test]
fn a3_a_roster_that_is_not_canonical_or_names_strangers_is_refused() {
    let bad = |index| Refusal::BadAdvert(RosterIndex(index));
    adverts_are_refused(&bad(2), |roster| roster.adverts.swap(2, 3));
    adverts_are_refused(&bad(4), |roster| roster.adverts.push(roster.adverts[4].clone()));
    adverts_are_refused(&bad(9), |roster| roster.adverts[4].0 = RosterIndex(9));
}

#[test]
fn a1_an_advert_of_an_earlier_round_is_refused() {
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
fn a2_a_roster_without_this_clients_own_advert_unaltered_is_refused() {
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
fn a3_a_key_that_two_clients_advertise_is_refused_though_both_signed_it() {
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
fn a6_too_few_adverts_are_refused() {
    let reason = Refusal::TooFewMembers { present: 3, required: 4 };
    adverts_are_refused(&reason, |roster| roster.adverts.truncate(3));
}

/// A client that lies together with the coordinator has other keys for the victim than for the
/// others: what they sign is over another roster than the victim's.
#[test]
fn a4_shares_under_another_roster_than_the_victims_are_refused() {
    let mut pair = Pair::new(Options::new(5, 11));
    let plan = everybody(&pair, RoundNumber(1));
    let (scope, root, key) = (Scope::of(&plan), plan_root(&plan), colluder(&pair, 4));
    let (ids, dealt) = (pair.ids(), Rc::new(RefCell::new(BTreeMap::new())));
    let seen = Rc::clone(&dealt);
    pair.on_message_from(move |client, message| {
        if let FromClient::Shares(shares) = &message {
            let index = ids.iter().position(|id| *id == client).unwrap();
            seen.borrow_mut().insert(index, Arc::clone(shares));
        }
        vec![message]
    });
    let victim = pair.ids()[VICTIM];
    pair.on_message_to(move |to, message| match message {
        message if to != victim => vec![message],
        ToClient::Adverts(mut roster) => {
            let advert = &mut Arc::make_mut(&mut roster).adverts[4].1;
            advert.mask = AgreementSecret::derive(&Secret::new([9; 32]), "other").public().clone();
            advert.signature = scope.sign(&key, &Statement::Advert { plan: &root, advert });
            vec![ToClient::Adverts(roster)]
        }
        ToClient::RosterPlan(_) => vec![message],
        _ => Vec::new(),
    });
    let round = pair.prepare();
    pair.run_for(Millis(500));
    // What the victim signed is over no roster that the coordinator knows, so it goes on by itself.
    let boxes = dealt.borrow().iter().filter(|(from, _)| **from != VICTIM).map(delivery).collect();
    let boxes = ToClient::Boxes(Arc::new(BoxRoster { boxes, others: Vec::new() }));
    pair.tell(VICTIM, round, Input::Message(boxes));
    assert_refused(&pair, round, &Refusal::BadShareRoot(RosterIndex(0)), SHARED);
}

/// What a client dealt to the victim.
fn delivery((from, shares): (&usize, &Arc<ShareRoster>)) -> BoxDelivery {
    let from = RosterIndex(u16::try_from(*from).unwrap());
    let digests: Vec<Digest> = shares.leaves.iter().map(|leaf| leaf_digest(from, leaf)).collect();
    let is_victims = |leaf: &ShareLeaf| usize::from(leaf.to.0) == VICTIM;
    let place = shares.leaves.iter().position(is_victims).unwrap();
    let (leaf, path) = (shares.leaves[place].clone(), tree::path(&digests, place).unwrap());
    BoxDelivery { from, leaf, path, root: shares.root, signature: shares.signature }
}

#[test]
fn a4_a_second_roster_that_differs_from_the_first_is_refused() {
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
