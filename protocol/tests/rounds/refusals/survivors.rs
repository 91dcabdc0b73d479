//! Lies about who survived and who signed it. The masked vector has left, and no share.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::{IdentityKey, Signature};
use roundelay_protocol::error::Refusal;
use roundelay_protocol::ids::{RosterIndex, RoundNumber};
use roundelay_protocol::message::{AdvertRoster, FromClient, Quorum, SurvivorSet, ToClient};
use roundelay_protocol::pair::{Fault, Options, Pair, Point, When};
use roundelay_protocol::plan::{PlanKind, RosterPlan, TrainingPlan};
use roundelay_protocol::signed::{Scope, Statement};
use roundelay_protocol::transcript::{
    TrainingContext, adverts_root, plan_root, set_root, shares_root,
};

use super::{VICTIM, assert_refused, colluder, everybody, lie_in, lied_to, lied_to_in_order};

pub(super) const UPLOADED: &[Point] =
    &[Point::Advert, Point::Shares, Point::Opened, Point::Upload, Point::Commit];
pub(super) const SIGNED: &[Point] =
    &[Point::Advert, Point::Shares, Point::Opened, Point::Upload, Point::Commit, Point::Signature];

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
        let named = Rc::new(Cell::new(RosterIndex(0)));
        let said = Rc::clone(&named);
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

/// What a coordinator has seen of a round by the time it shows a quorum.
#[derive(Default)]
struct Seen {
    adverts: Option<Arc<AdvertRoster>>,
    shares: BTreeMap<RosterIndex, Digest>,
    plan: Option<Box<TrainingPlan>>,
    set: Option<Arc<SurvivorSet>>,
}

impl Seen {
    fn take(&mut self, message: &ToClient) {
        match message {
            ToClient::Adverts(roster) => self.adverts = Some(Arc::clone(roster)),
            ToClient::TrainingPlan(plan) => self.plan = Some(plan.clone()),
            ToClient::SurvivorSet(set) => self.set = Some(Arc::clone(set)),
            _ => {}
        }
    }

    /// A valid signature over the very set that all were shown.
    fn sign(&self, roster: &RosterPlan, key: &IdentityKey) -> Signature {
        let (adverts, plan) = (self.adverts.as_ref().unwrap(), self.plan.as_ref().unwrap());
        let adverts = adverts_root(&plan_root(roster), adverts);
        let shares = shares_root(&adverts, self.shares.iter().map(|(index, root)| (*index, root)));
        let prepared: Vec<RosterIndex> = self.shares.keys().copied().collect();
        let context = TrainingContext::new(roster, shares, &prepared, plan);
        let set = set_root(&context, self.set.as_ref().unwrap());
        let statement = Statement::Survivors { context: &context, set: &set };
        Scope::of(roster).sign(key, &statement)
    }
}

#[test]
fn a_valid_signature_of_a_client_of_the_cohort_outside_the_set_does_not_count() {
    const OUTSIDE: usize = 4;
    let (at, when) = (Point::Upload, When::Before);
    let dropout = Fault::Crash { client: OUTSIDE, at, when, back_after: None };
    let mut pair = Pair::new(Options { faults: vec![dropout], ..Options::new(5, 11) });
    let (plan, key) = (everybody(&pair, RoundNumber(1)), colluder(&pair, OUTSIDE));
    let (ids, seen) = (pair.ids(), Rc::new(RefCell::new(Seen::default())));
    let roots = Rc::clone(&seen);
    pair.on_message_from(move |client, message| {
        if let FromClient::Shares(shares) = &message {
            let index = ids.iter().position(|id| *id == client).unwrap();
            let index = RosterIndex(u16::try_from(index).unwrap());
            roots.borrow_mut().shares.insert(index, shares.root);
        }
        vec![message]
    });
    let round = lie_in(&mut pair, move |mut message| {
        seen.borrow_mut().take(&message);
        if let ToClient::Quorum(quorum) = &mut message {
            // Four signatures are the quorum, and four clients are in the set.
            let signatures = &mut Arc::make_mut(quorum).signatures;
            assert_eq!(signatures.len(), 4);
            signatures[3] = (RosterIndex(4), seen.borrow().sign(&plan, &key));
        }
        vec![message]
    });
    assert_refused(&pair, round, &Refusal::BadQuorumSignature(RosterIndex(4)), SIGNED);
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
