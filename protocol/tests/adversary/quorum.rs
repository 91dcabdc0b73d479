//! Lies about who signed the survivor set, and requests for more than its partition. The signature
//! has left, and no share.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::{IdentityKey, Signature};
use roundelay_crypto::shamir;
use roundelay_protocol::codec;
use roundelay_protocol::error::Refusal;
use roundelay_protocol::ids::{FederationId, RosterIndex, RoundNumber};
use roundelay_protocol::message::{
    AdvertRoster, FromClient, Quorum, Reveal, SurvivorSet, ToClient,
};
use roundelay_protocol::pair::{Fault, Options, Pair, Point, When};
use roundelay_protocol::plan::{PlanKind, RosterPlan, TrainingPlan};
use roundelay_protocol::signed::{Scope, Statement};
use roundelay_protocol::transcript::{
    TrainingContext, adverts_root, plan_root, set_root, shares_root,
};

use crate::harness::{
    SIGNED, UPLOADED, VICTIM, assert_refused, colluder, drawn_first, everybody, lie_in, lied_to,
    lied_to_in_order,
};

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
fn a11_fewer_signatures_than_the_quorum_are_refused() {
    let few = |present| Refusal::QuorumNotReached { present, required: 4 };
    quorum_is_refused(&few(3), |quorum| quorum.signatures.truncate(3));
    quorum_is_refused(&few(0), |quorum| quorum.signatures.clear());
}

#[test]
fn a11_a_signature_that_is_wrong_foreign_or_counted_twice_is_refused() {
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
        self.sign_another(Scope::of(roster), |_| {}, roster, key)
    }

    /// A valid signature over another set, or in another scope.
    fn sign_another(
        &self,
        scope: Scope,
        change: impl Fn(&mut SurvivorSet),
        roster: &RosterPlan,
        key: &IdentityKey,
    ) -> Signature {
        let (adverts, plan) = (self.adverts.as_ref().unwrap(), self.plan.as_ref().unwrap());
        let adverts = adverts_root(&plan_root(roster), adverts);
        let shares = shares_root(&adverts, self.shares.iter().map(|(index, root)| (*index, root)));
        let prepared: Vec<RosterIndex> = self.shares.keys().copied().collect();
        let context = TrainingContext::new(roster, shares, &prepared, plan);
        let mut set = SurvivorSet::clone(self.set.as_ref().unwrap());
        change(&mut set);
        let set = set_root(&context, &set);
        let statement = Statement::Survivors { context: &context, set: &set };
        scope.sign(key, &statement)
    }
}

/// Client 4 lies together with the coordinator; whether it is in the set or not, it signs what
/// `sign` says, and its signature stands last of four, as many as the quorum.
fn colluder_signs(
    mut pair: Pair,
    sign: impl Fn(&Seen, &RosterPlan, &IdentityKey) -> Signature + 'static,
) -> (Pair, RoundNumber) {
    const COLLUDER: usize = 4;
    let (plan, key) = (everybody(&pair, RoundNumber(1)), colluder(&pair, COLLUDER));
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
            let signatures = &mut Arc::make_mut(quorum).signatures;
            assert_eq!(signatures.len(), 4);
            signatures[3] = (RosterIndex(4), sign(&seen.borrow(), &plan, &key));
        }
        vec![message]
    });
    (pair, round)
}

#[test]
fn a11_a_valid_signature_of_a_client_of_the_cohort_outside_the_set_does_not_count() {
    let (at, when) = (Point::Upload, When::Before);
    let dropout = Fault::Crash { client: 4, at, when, back_after: None };
    let pair = Pair::new(Options { faults: vec![dropout], ..Options::new(5, 11) });
    let (pair, round) = colluder_signs(pair, |seen, plan, key| seen.sign(plan, key));
    assert_refused(&pair, round, &Refusal::BadQuorumSignature(RosterIndex(4)), SIGNED);
}

#[test]
fn a11_a_members_signature_over_another_set_round_federation_or_manifest_does_not_count() {
    // The honest signature in its place is taken: it is what differs that is refused.
    let (pair, round) =
        colluder_signs(Pair::new(Options::new(5, 11)), |seen, plan, key| seen.sign(plan, key));
    assert!(reveals(&pair, round)[VICTIM].is_some());

    let refused = |sign: fn(&Seen, &RosterPlan, &IdentityKey) -> Signature| {
        let (pair, round) = colluder_signs(Pair::new(Options::new(5, 11)), sign);
        assert_refused(&pair, round, &Refusal::BadQuorumSignature(RosterIndex(4)), SIGNED);
    };
    refused(|seen, plan, key| {
        let other = |set: &mut SurvivorSet| _ = set.inputs.remove(0);
        seen.sign_another(Scope::of(plan), other, plan, key)
    });
    refused(|seen, plan, key| {
        let scope = Scope { round: RoundNumber(2), ..Scope::of(plan) };
        seen.sign_another(scope, |_| {}, plan, key)
    });
    refused(|seen, plan, key| {
        let scope = Scope { federation: FederationId([8; 16]), ..Scope::of(plan) };
        seen.sign_another(scope, |_| {}, plan, key)
    });
    refused(|seen, plan, key| {
        let scope = Scope { manifest: Digest([1; 32]), ..Scope::of(plan) };
        seen.sign_another(scope, |_| {}, plan, key)
    });
}

#[test]
fn a11_signatures_over_the_set_of_another_round_are_refused() {
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
fn a13_another_quorum_after_the_shares_were_revealed_is_refused() {
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

/// What each client revealed, in roster order; none for those that revealed nothing.
fn reveals(pair: &Pair, round: RoundNumber) -> Vec<Option<Reveal>> {
    let reveal = |client: usize| {
        pair.peer(client).sent.iter().find_map(|(sent, message)| match message {
            FromClient::Reveal(reveal) if *sent == round => Some(reveal.clone()),
            _ => None,
        })
    };
    (0..pair.ids().len()).map(reveal).collect()
}

#[test]
fn a12_of_each_client_one_seed_can_be_rebuilt_b_of_a_survivor_and_k_of_a_dropout() {
    const DROPOUT: usize = 4;
    let (at, when) = (Point::Upload, When::Before);
    let dropout = Fault::Crash { client: DROPOUT, at, when, back_after: None };
    let mut pair = Pair::new(Options { faults: vec![dropout], ..Options::new(5, 11) });
    let round = pair.round(PlanKind::Train);
    let reveals = reveals(&pair, round);
    assert!(reveals[DROPOUT].is_none());
    let [reveals @ .., None] = &reveals[..] else { panic!("four reveal") };
    let reveals: Vec<&Reveal> = reveals.iter().flatten().collect();
    assert_eq!(reveals.len(), 4);
    for reveal in &reveals {
        assert_eq!((reveal.self_mask_shares.len(), reveal.key_shares.len()), (4, 1));
    }
    let combined = |share: &dyn Fn(&Reveal) -> [u8; 32]| {
        let shares: Vec<[u8; 32]> = reveals.iter().map(|reveal| share(reveal)).collect();
        let placed: Vec<(u16, &[u8; 32])> = (1..).zip(&shares).collect();
        *shamir::combine(&placed, 4).unwrap().expose()
    };
    for (survivor, own) in reveals.iter().enumerate() {
        let [_, self_mask, ..] = drawn_first(pair.peer(survivor));
        assert_eq!(combined(&|reveal| reveal.self_mask_shares[survivor]), self_mask);
        assert_eq!(own.own_self_mask, Some(self_mask));
    }
    let [key, ..] = drawn_first(pair.peer(DROPOUT));
    assert_eq!(combined(&|reveal| reveal.key_shares[0]), key);
    // And nobody said more than that: no share of a survivor's k, and none of the dropout's b.
    for (survivor, sent) in reveals.iter().enumerate() {
        let bytes = codec::encode(*sent);
        assert_eq!(bytes.len(), 1 + 32 + 8 + 4 * 32 + 8 + 32, "client {survivor}");
    }
}

#[test]
fn a12_no_message_of_the_last_stages_has_room_for_the_ids_to_reveal_for() {
    // Patterns without `..`: a field that a coordinator could ask with does not compile here.
    let Quorum { signatures } = Quorum { signatures: vec![(RosterIndex(0), Signature([1; 64]))] };
    let SurvivorSet { inputs } = SurvivorSet { inputs: vec![(RosterIndex(0), Digest([1; 32]))] };
    for honest in [
        codec::encode(&ToClient::Quorum(Arc::new(Quorum { signatures }))),
        codec::encode(&ToClient::SurvivorSet(Arc::new(SurvivorSet { inputs }))),
    ] {
        assert!(codec::decode::<ToClient>(&honest, honest.len()).is_ok());
        let ids = codec::encode(&vec![RosterIndex(0)]);
        let asking = [&honest[..], &ids].concat();
        assert!(codec::decode::<ToClient>(&asking, asking.len()).is_err());
    }
}

#[test]
fn a12_a_set_that_names_a_client_twice_opens_neither_of_its_seeds() {
    // Once as it is and once under another root, so that it would be in the set and out of it.
    let (pair, round) = lied_to(|message| match message {
        ToClient::SurvivorSet(mut set) => {
            let inputs = &mut Arc::make_mut(&mut set).inputs;
            inputs[4] = (inputs[3].0, Digest([1; 32]));
            vec![ToClient::SurvivorSet(set)]
        }
        other => vec![other],
    });
    assert_refused(&pair, round, &Refusal::BadSurvivorSet, UPLOADED);
}
