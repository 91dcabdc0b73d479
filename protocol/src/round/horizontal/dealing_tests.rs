//! Dealers that lie from within: the liar's own machine goes on as if its lies were the truth, so
//! that nothing but the lie gives it away.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use roundelay_crypto::agreement::{AgreementSecret, encapsulate};
use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::Signature;
use roundelay_crypto::sealed::seal_once;
use roundelay_crypto::secret::{Secret, Seed};
use roundelay_crypto::tree;

use super::client;
use super::coordinator::{Input, Outcome, Record, stored_boxes};
use super::keys::{BoxPlace, Holding, box_secret};
use crate::error::{AbortReason, Fault, Refusal};
use crate::ids::{ClientId, RosterIndex, RoundNumber};
use crate::message::{
    Accusation, AdvertRoster, BoxDelivery, FromClient, ShareLeaf, ShareRoster, ToClient,
};
use crate::pair::{self, Options, Pair, Point, When};
use crate::plan::PlanKind;
use crate::signed::{Scope, Statement};
use crate::time::Millis;
use crate::transcript::{adverts_root, leaf_digest, plan_root};

const DEALER: usize = 2;
const VICTIM: usize = 4;

/// What a dealer seals its boxes with.
struct Dealer {
    boxes: AgreementSecret,
    scope: Scope,
    ids: Vec<ClientId>,
    adverts: Digest,
    roster: Arc<AdvertRoster>,
}

impl Dealer {
    /// Seals other shares into the box of a leaf; commits to them or not.
    fn seal(&self, leaf: &mut ShareLeaf, shares: &Holding, commits: bool) {
        let to = usize::from(leaf.to.0);
        let (_, advert) = &self.roster.adverts[to];
        let (ciphertext, secret) =
            encapsulate(&self.boxes, &advert.boxes, &Secret::new([8; 32])).unwrap();
        let from = (RosterIndex(2), self.ids[DEALER]);
        let place = BoxPlace::new(&self.scope, &self.adverts, from, (leaf.to, self.ids[to]));
        let joined = shares.joined();
        leaf.sealed = seal_once(&place.key(&secret), &place.aad(), joined.expose());
        leaf.box_ciphertext = ciphertext;
        if commits {
            leaf.commitments = place.commitments(shares);
        }
    }
}

fn wrong_shares(to: RosterIndex) -> Holding {
    let byte = u8::try_from(to.0).unwrap() + 100;
    Holding { key: Secret::new([byte; 32]), self_mask: Secret::new([byte + 50; 32]) }
}

/// A round that is prepared, in which the dealer signed what `forge` made of its leaves.
fn dealt(
    faults: Vec<pair::Fault>,
    forge: impl Fn(&Dealer, &mut ShareLeaf) + 'static,
) -> (Pair, RoundNumber) {
    let mut pair = Pair::new(Options { delay_ms: 5..=5, faults, ..Options::new(7, 5) });
    let round = pair.prepare();
    pair.run_for(Millis(12));
    let boxes = box_secret(&pair.machine(DEALER, round).unwrap().box_seed().unwrap());
    let plan = pair.terms().roster_plan(round, &pair.terms().clients().collect()).unwrap();
    let (scope, ids, key) =
        (Scope::of(&plan), pair.ids(), Arc::clone(&pair.peer(DEALER).setup.identity));
    let forged = Rc::new(RefCell::new(None));
    let records = &pair.coordinator().records[&round];
    let adverts = records.iter().filter_map(|record| match record {
        Record::Advert(index, advert) => Some((*index, (**advert).clone())),
        _ => None,
    });
    let adverts: BTreeMap<_, _> = adverts.collect();
    let roster = Arc::new(AdvertRoster { adverts: adverts.into_iter().collect() });
    let adverts = adverts_root(&plan_root(&plan), &roster);
    let dealer = Dealer { boxes, scope, ids, adverts, roster };
    let kept = Rc::clone(&forged);
    pair.on_message_from(move |from, mut message| {
        if let (FromClient::Shares(shares), true) = (&mut message, from == dealer.ids[DEALER]) {
            let shares = Arc::make_mut(shares);
            shares.leaves.iter_mut().for_each(|leaf| forge(&dealer, leaf));
            shares.root = tree::root(&digests(shares));
            let statement = Statement::Shares { adverts: &dealer.adverts, root: &shares.root };
            shares.signature = dealer.scope.sign(&key, &statement);
            *kept.borrow_mut() = Some(shares.clone());
        }
        vec![message]
    });
    pair.run_for(Millis(6));
    let shares = forged.borrow_mut().take().expect("the dealer has dealt");
    let leaves = shares.leaves.iter().map(|leaf| leaf.to).zip(digests(&shares));
    pair.machine(DEALER, round).unwrap().believes(shares.root, leaves);
    (pair, round)
}

fn digests(shares: &ShareRoster) -> Vec<Digest> {
    shares.leaves.iter().map(|leaf| leaf_digest(RosterIndex(2), leaf)).collect()
}

/// The dealer keeps its own b_u to itself when it reveals.
fn withholds(pair: &mut Pair) {
    let dealer = pair.ids()[DEALER];
    pair.on_message_from(move |from, mut message| {
        if let (FromClient::Reveal(reveal), true) = (&mut message, from == dealer) {
            reveal.own_self_mask = None;
        }
        vec![message]
    });
}

fn go_on(pair: &mut Pair, round: RoundNumber) {
    pair.train(round, PlanKind::Train);
    pair.run();
}

fn assert_named(pair: &Pair, round: RoundNumber, client: usize, fault: Fault) {
    assert_eq!(pair.coordinator().expelled, [(round, pair.ids()[client], fault)]);
}

fn survivors(pair: &Pair, round: RoundNumber) -> Option<u16> {
    pair.coordinator().published(round).map(|published| published.survivors)
}

fn aborted(pair: &Pair, round: RoundNumber) -> &AbortReason {
    match &pair.coordinator().outcomes[&round] {
        Outcome::Aborted(reason) => reason,
        Outcome::Published(_) => panic!("a round was published"),
    }
}

#[test]
fn a_dealer_whose_boxes_open_for_nobody_is_named_and_the_others_go_on_without_it() {
    let (mut pair, round) = dealt(vec![], |_, leaf| leaf.sealed[7] ^= 1);
    go_on(&mut pair, round);
    assert_named(&pair, round, DEALER, Fault::BadBox);
    // All others sit this preparation out; nothing was uploaded, and nothing but it is lost.
    assert!(matches!(aborted(&pair, round), AbortReason::TooFewClients { .. }));
    assert!(pair.coordinator().uploads.is_empty());
}

#[test]
fn a_dealer_that_would_exclude_one_client_by_its_box_is_named_itself() {
    let spoil = |_: &Dealer, leaf: &mut ShareLeaf| {
        if usize::from(leaf.to.0) == VICTIM {
            leaf.sealed[7] ^= 1;
        }
    };
    let other_shares = |dealer: &Dealer, leaf: &mut ShareLeaf| {
        if usize::from(leaf.to.0) == VICTIM {
            dealer.seal(leaf, &wrong_shares(leaf.to), false);
        }
    };
    for forge in [spoil as fn(&Dealer, &mut ShareLeaf), other_shares] {
        let (mut pair, round) = dealt(vec![], forge);
        go_on(&mut pair, round);
        assert_named(&pair, round, DEALER, Fault::BadBox);
        let refused = Some(&Refusal::BadBox(RosterIndex(2)));
        assert_eq!(pair.peer(VICTIM).declined(round).next(), refused);
        assert_eq!(survivors(&pair, round), Some(5));
    }
}

#[test]
fn a_dealer_cannot_frame_a_client_with_the_share_that_it_dealt_to_it() {
    let (mut pair, round) = dealt(vec![], |dealer, leaf| {
        if usize::from(leaf.to.0) == VICTIM {
            dealer.seal(leaf, &wrong_shares(leaf.to), true);
        }
    });
    withholds(&mut pair);
    go_on(&mut pair, round);
    assert_named(&pair, round, DEALER, Fault::BadDealing);
    assert_eq!(survivors(&pair, round), Some(7), "the other shares rebuild its seed");
}

#[test]
fn a_dealer_whose_shares_rebuild_nothing_is_named_whether_it_stays_or_drops_out() {
    let crash = pair::Fault::Crash {
        client: DEALER,
        at: Point::Upload,
        when: When::Before,
        back_after: None,
    };
    for faults in [vec![], vec![crash]] {
        let (mut pair, round) =
            dealt(faults, |dealer, leaf| dealer.seal(leaf, &wrong_shares(leaf.to), true));
        withholds(&mut pair);
        go_on(&mut pair, round);
        assert_named(&pair, round, DEALER, Fault::BadDealing);
        assert_eq!(*aborted(&pair, round), AbortReason::SeedNotRebuilt);
    }
}

#[test]
fn no_shares_are_needed_of_a_survivor_that_gives_its_self_mask_itself() {
    let (mut pair, round) =
        dealt(vec![], |dealer, leaf| dealer.seal(leaf, &wrong_shares(leaf.to), true));
    go_on(&mut pair, round);
    assert_eq!(survivors(&pair, round), Some(7));
}

#[test]
fn a_seed_that_its_own_client_reveals_wrongly_names_the_client() {
    let mut pair = Pair::new(Options { delay_ms: 5..=5, ..Options::new(7, 5) });
    let liar = pair.ids()[DEALER];
    pair.on_message_from(move |from, mut message| {
        if let (FromClient::Reveal(reveal), true) = (&mut message, from == liar) {
            reveal.own_self_mask = Some([1; 32]);
        }
        vec![message]
    });
    let round = pair.round(PlanKind::Train);
    assert_named(&pair, round, DEALER, Fault::BadShares);
    assert_eq!(survivors(&pair, round), Some(7));
}

/// The victim accuses the dealer, whose box is as it should be.
fn falsely_accused(accuse: impl Fn(BoxDelivery, Seed) -> Accusation) {
    let mut pair = Pair::new(Options { delay_ms: 5..=5, ..Options::new(7, 5) });
    let round = pair.prepare();
    pair.run_for(Millis(12));
    let seed = pair.machine(VICTIM, round).unwrap().box_seed().unwrap();
    pair.run_for(Millis(100));
    let from = pair.ids()[VICTIM];
    let boxes = stored_boxes(&pair.coordinator().records[&round], from).unwrap().boxes;
    let accusation = Box::new(accuse(boxes[DEALER].clone(), seed));
    pair.input(round, Input::Message { from, message: FromClient::Accusation(accusation) });
    assert_named(&pair, round, VICTIM, Fault::FalseAccusation);
    go_on(&mut pair, round);
    assert_eq!(survivors(&pair, round), Some(6));
}

#[test]
fn whoever_accuses_falsely_is_named_and_nobody_else() {
    falsely_accused(|delivery, seed| Accusation { delivery, boxes: *seed.expose() });
    // Under other keys no box opens.
    falsely_accused(|delivery, _| Accusation { delivery, boxes: [1; 32] });
    // A box that the dealer never sealed.
    falsely_accused(|mut delivery, seed| {
        delivery.leaf.sealed[0] ^= 1;
        Accusation { delivery, boxes: *seed.expose() }
    });
    falsely_accused(|mut delivery, seed| {
        delivery.from = RosterIndex(300);
        Accusation { delivery, boxes: *seed.expose() }
    });
}

/// What opens their boxes, three accusers show to a coordinator that keeps it to itself: with the
/// dealer, which is in league with it, it then holds t = 5 shares of everybody's seeds.
#[test]
fn nobody_uploads_where_accusers_and_colluders_hold_as_many_shares_as_open_a_seed() {
    const ACCUSERS: [usize; 4] = [0, 1, 3, 5];
    let (mut pair, round) = dealt(Vec::new(), |_, leaf| {
        if ACCUSERS.contains(&usize::from(leaf.to.0)) {
            leaf.sealed[7] ^= 1;
        }
    });
    let floors = pair.terms().floors(7).unwrap();
    assert_eq!(ACCUSERS.len() + 1, usize::from(floors.threshold()));
    let accused: Rc<RefCell<BTreeSet<ClientId>>> = Rc::default();
    let opened: Rc<RefCell<BTreeMap<ClientId, Signature>>> = Rc::default();
    let (accusers, signers) = (Rc::clone(&accused), Rc::clone(&opened));
    pair.on_message_from(move |from, message| match message {
        FromClient::Accusation(_) => {
            accusers.borrow_mut().insert(from);
            Vec::new()
        }
        FromClient::Declined(_) => Vec::new(),
        FromClient::Opened(signature) => {
            signers.borrow_mut().insert(from, signature);
            Vec::new()
        }
        other => vec![other],
    });
    pair.run_for(Millis(20));
    assert_eq!(accused.borrow().len(), ACCUSERS.len());

    // All that it can show the last two: their own signatures, and the dealer's.
    let mut plan = pair.coordinator().training_plan(round, PlanKind::Train);
    plan.active = (0..7).map(RosterIndex).collect();
    let index = |client| pair.ids().iter().position(|id| *id == client).unwrap();
    let signed = opened.borrow();
    let signed = signed.iter().map(|(client, signature)| (index(*client), *signature));
    plan.opened = signed
        .map(|(at, signature)| (RosterIndex(u16::try_from(at).unwrap()), signature))
        .collect();
    assert_eq!(plan.opened.len(), 3);
    let message = ToClient::TrainingPlan(Box::new(plan));
    pair.tell(VICTIM, round, client::Input::Message(message));
    let refused: Vec<_> = pair.peer(VICTIM).declined(round).cloned().collect();
    assert_eq!(refused, [Refusal::TooFewOpened { present: 3, required: 5 }]);
    assert!(pair.peer(VICTIM).uploads.is_empty());
}
