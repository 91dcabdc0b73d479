//! The coordinator survives lying clients: the liar is expelled with its fault named, and the
//! others' round ends in the exact sum, or is aborted and opens nothing.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use roundelay_crypto::agreement::AgreementSecret;
use roundelay_crypto::agreement::encapsulate;
use roundelay_crypto::digest::Digest;
use roundelay_crypto::secret::Secret;
use roundelay_crypto::tree;
use roundelay_protocol::error::{AbortReason, Fault, Stage};
use roundelay_protocol::ids::{RosterIndex, RoundNumber};
use roundelay_protocol::message::{AdvertRoster, FromClient, Reveal, ShareRoster, ToClient};
use roundelay_protocol::pair::{self, Options, Pair, Point, When};
use roundelay_protocol::plan::PlanKind;
use roundelay_protocol::round::horizontal::coordinator::{Input, Outcome};
use roundelay_protocol::signed::{Scope, Statement};
use roundelay_protocol::time::Millis;
use roundelay_protocol::transcript::{adverts_root, leaf_digest, plan_root};

use crate::checks::{assert_published, assert_sound};

const LIAR: usize = 2;

/// A round of seven, in which two may drop out, whose liar sends what `lie` makes of its messages.
fn lies(lie: impl FnMut(FromClient) -> Vec<FromClient> + 'static) -> (Pair, RoundNumber) {
    let mut pair = Pair::new(Options { delay_ms: 5..=5, ..Options::new(7, 5) });
    let round = lies_in(&mut pair, lie);
    (pair, round)
}

fn lies_in(
    pair: &mut Pair,
    mut lie: impl FnMut(FromClient) -> Vec<FromClient> + 'static,
) -> RoundNumber {
    let liar = pair.ids()[LIAR];
    pair.on_message_from(
        move |from, message| {
            if from == liar { lie(message) } else { vec![message] }
        },
    );
    pair.round(PlanKind::Train)
}

fn assert_expelled(pair: &Pair, round: RoundNumber, fault: &Fault) {
    let expelled = (round, pair.ids()[LIAR], fault.clone());
    assert_eq!(pair.coordinator().expelled, [expelled]);
    assert_sound(pair);
}

/// The liar was found out before it was among the survivors.
fn assert_left_out(pair: &Pair, round: RoundNumber, fault: &Fault) {
    assert_expelled(pair, round, fault);
    assert_published(pair, round, &[0, 1, 3, 4, 5, 6]);
}

#[test]
fn signatures_that_do_not_verify_expel_in_every_stage() {
    let (pair, round) = lies(|mut message| {
        if let FromClient::Advert(advert) = &mut message {
            advert.signature.0[0] ^= 1;
        }
        vec![message]
    });
    assert_left_out(&pair, round, &Fault::BadSignature);
    let (pair, round) = lies(|mut message| {
        if let FromClient::Shares(shares) = &mut message {
            Arc::make_mut(shares).signature.0[0] ^= 1;
        }
        vec![message]
    });
    assert_left_out(&pair, round, &Fault::BadSignature);
    let (pair, round) = lies(|mut message| {
        if let FromClient::InputCommit(commit) = &mut message {
            commit.signature.0[0] ^= 1;
        }
        vec![message]
    });
    assert_left_out(&pair, round, &Fault::BadSignature);
    let (pair, round) = lies(|mut message| {
        if let FromClient::SurvivorSignature(signed) = &mut message {
            signed.signature.0[0] ^= 1;
        }
        vec![message]
    });
    // Its vector is in the sum already.
    assert_expelled(&pair, round, &Fault::BadSignature);
    assert_published(&pair, round, &[0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_key_that_another_client_advertised_expels_whoever_comes_second() {
    let mut pair = Pair::new(Options { delay_ms: 5..=5, ..Options::new(7, 5) });
    let plan = pair.terms().roster_plan(RoundNumber(1), &pair.terms().clients().collect()).unwrap();
    let (scope, root) = (Scope::of(&plan), plan_root(&plan));
    let key = Arc::clone(&pair.peer(LIAR).setup.identity);
    let mut first = None;
    let liar = pair.ids()[LIAR];
    pair.on_message_from(move |from, mut message| {
        if let FromClient::Advert(advert) = &mut message {
            let copied = first.get_or_insert_with(|| advert.mask.clone()).clone();
            if from == liar {
                advert.boxes = copied;
                let statement = Statement::Advert { plan: &root, advert };
                advert.signature = scope.sign(&key, &statement);
            }
        }
        vec![message]
    });
    let round = pair.round(PlanKind::Train);
    assert_left_out(&pair, round, &Fault::BadKey);
}

#[test]
fn two_different_messages_for_one_stage_expel() {
    let (pair, round) = lies(|message| {
        let mut other = message.clone();
        if let FromClient::Advert(advert) = &mut other {
            advert.last_transcript = Digest([1; 32]);
            return vec![message, other];
        }
        vec![message]
    });
    assert_left_out(&pair, round, &Fault::Equivocation);
    let (pair, round) = lies(|message| {
        let mut other = message.clone();
        if let FromClient::Shares(shares) = &mut other {
            Arc::make_mut(shares).root = Digest([1; 32]);
            return vec![message, other];
        }
        vec![message]
    });
    assert_left_out(&pair, round, &Fault::Equivocation);
    let (pair, round) = lies(|message| {
        let mut other = message.clone();
        if let FromClient::InputCommit(commit) = &mut other {
            commit.root = Digest([1; 32]);
            return vec![message, other];
        }
        vec![message]
    });
    // Its vector was whole and its first root signed: that stays in the sum, and it is out of the
    // stages that follow.
    assert_expelled(&pair, round, &Fault::Equivocation);
    assert_published(&pair, round, &[0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn leaves_that_are_missing_misplaced_or_not_under_the_root_expel() {
    let changes: [fn(&mut ShareRoster); 6] = [
        |shares| drop(shares.leaves.pop()),
        |shares| shares.leaves.swap(0, 1),
        |shares| shares.leaves[0].sealed.truncate(79),
        |shares| shares.leaves[0].sealed[0] ^= 1,
        // Client 2 is the lower one of its edge with client 6.
        |shares| shares.leaves[5].mask_ciphertext = None,
        |shares| shares.root = Digest([1; 32]),
    ];
    for change in changes {
        let (pair, round) = lies(move |mut message| {
            if let FromClient::Shares(shares) = &mut message {
                change(Arc::make_mut(shares));
            }
            vec![message]
        });
        assert_left_out(&pair, round, &Fault::BadLeaves);
    }
}

#[test]
fn a_vector_of_another_length_or_another_root_expels() {
    fn uploads(change: impl Fn(&mut Vec<u8>) + 'static) -> (Pair, RoundNumber) {
        let mut pair = Pair::new(Options { delay_ms: 5..=5, ..Options::new(7, 5) });
        let liar = pair.ids()[LIAR];
        pair.on_upload(move |from, mut vector| {
            if from == liar {
                change(&mut vector);
            }
            vector
        });
        let round = pair.round(PlanKind::Train);
        (pair, round)
    }
    let expected = {
        let mut pair = Pair::new(Options::new(7, 5));
        let round = pair.prepare();
        pair.coordinator().training_plan(round, PlanKind::Train).layout.total_bytes()
    };
    let (pair, round) = uploads(|vector| vector.truncate(8));
    assert_left_out(&pair, round, &Fault::WrongLength { sent: 8, expected });
    let (pair, round) = uploads(|vector| vector.resize(vector.len() + 16, 0));
    assert_left_out(&pair, round, &Fault::WrongLength { sent: expected + 16, expected });
    let (pair, round) = uploads(|vector| vector[3] ^= 1);
    assert_left_out(&pair, round, &Fault::WrongRoot);
}

#[test]
fn messages_of_stages_that_have_not_begun_expel() {
    let reveal = || {
        FromClient::Reveal(Reveal {
            own_self_mask: None,
            self_mask_shares: vec![],
            key_shares: vec![],
        })
    };
    let (pair, round) = lies(move |message| match message {
        FromClient::Shares(_) => vec![reveal(), message],
        other => vec![other],
    });
    assert_left_out(&pair, round, &Fault::OutOfStage);
}

#[test]
fn a_late_message_is_counted_and_dropped_and_expels_nobody() {
    // The advert is sent once more with everything that follows it.
    let mut advert = None;
    let (pair, round) = lies(move |message| match &message {
        FromClient::Advert(_) => {
            advert = Some(message.clone());
            vec![message]
        }
        FromClient::Declined(_) => vec![message],
        _ => vec![advert.clone().unwrap(), message],
    });
    assert!(pair.coordinator().expelled.is_empty());
    assert!(pair.coordinator().late_messages(round) >= 3);
    assert_published(&pair, round, &[0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn wrong_shares_are_found_out_and_the_sum_is_right_all_the_same() {
    let dropout = |client| pair::Fault::Crash {
        client,
        at: Point::Upload,
        when: When::Before,
        back_after: None,
    };
    let changes: [fn(&mut Reveal); 3] = [
        |reveal| reveal.self_mask_shares[4][7] ^= 1,
        |reveal| reveal.key_shares[0][31] ^= 0x80,
        |reveal| reveal.self_mask_shares.iter_mut().for_each(|share| share.fill(3)),
    ];
    for change in changes {
        let options = Options { delay_ms: 5..=5, faults: vec![dropout(6)], ..Options::new(7, 5) };
        let mut pair = Pair::new(options);
        let round = lies_in(&mut pair, move |mut message| {
            if let FromClient::Reveal(reveal) = &mut message {
                change(reveal);
            }
            vec![message]
        });
        assert_expelled(&pair, round, &Fault::BadShares);
        assert_published(&pair, round, &[0, 1, 2, 3, 4, 5]);
    }
    let (pair, round) = lies(|mut message| {
        if let FromClient::Reveal(reveal) = &mut message {
            reveal.self_mask_shares.pop();
        }
        vec![message]
    });
    assert_expelled(&pair, round, &Fault::BadShares);
    assert_published(&pair, round, &[0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn wrong_shares_that_nobody_can_make_up_for_end_the_round_and_name_every_liar() {
    // Three of seven reveal nonsense; five right shares are needed.
    let mut pair = Pair::new(Options::new(7, 5));
    let liars = pair.ids()[..3].to_vec();
    let named: Vec<_> =
        liars.iter().map(|liar| (RoundNumber(1), *liar, Fault::BadShares)).collect();
    pair.on_message_from(move |from, mut message| {
        if let (FromClient::Reveal(reveal), true) = (&mut message, liars.contains(&from)) {
            reveal.self_mask_shares.iter_mut().for_each(|share| share[0] ^= 9);
        }
        vec![message]
    });
    let round = pair.round(PlanKind::Train);
    let (stage, present, required) = (Stage::Unmasking, 4, 5);
    let aborted = Outcome::Aborted(AbortReason::TooFewClients { stage, present, required });
    assert_eq!(pair.coordinator().outcomes.get(&round), Some(&aborted));
    let mut expelled = pair.coordinator().expelled.clone();
    expelled.sort_by_key(|(_, client, _)| *client);
    assert_eq!(expelled, named);
    assert_sound(&pair);
}

/// A liar encapsulates to a neighbour with a message that is not its key seed's, then drops out.
#[test]
fn an_encapsulation_that_the_key_seed_does_not_give_is_found_when_the_seed_is_rebuilt() {
    let mut pair = Pair::new(Options { delay_ms: 5..=5, ..Options::new(7, 5) });
    let plan = pair.terms().roster_plan(RoundNumber(1), &pair.terms().clients().collect()).unwrap();
    let (scope, plan) = (Scope::of(&plan), plan_root(&plan));
    let key = Arc::clone(&pair.peer(LIAR).setup.identity);
    let roster: Rc<RefCell<Option<Arc<AdvertRoster>>>> = Rc::default();
    let seen = Rc::clone(&roster);
    pair.on_message_to(move |_, message| {
        if let ToClient::Adverts(adverts) = &message {
            *seen.borrow_mut() = Some(Arc::clone(adverts));
        }
        vec![message]
    });
    let round = lies_in(&mut pair, move |mut message| {
        if let FromClient::Shares(shares) = &mut message {
            let roster = roster.borrow().clone().unwrap();
            let shares = Arc::make_mut(shares);
            let other = AgreementSecret::derive(&Secret::new([1; 32]), "other");
            let (ciphertext, _) =
                encapsulate(&other, &roster.adverts[6].1.mask, &Secret::new([2; 32])).unwrap();
            shares.leaves[5].mask_ciphertext = Some(ciphertext);
            let leaf = |leaf| leaf_digest(RosterIndex(2), leaf);
            shares.root = tree::root(&shares.leaves.iter().map(leaf).collect::<Vec<_>>());
            let adverts = adverts_root(&plan, &roster);
            let statement = Statement::Shares { adverts: &adverts, root: &shares.root };
            shares.signature = scope.sign(&key, &statement);
        }
        // Its machine knows nothing of the lie, and refuses a plan over other leaves than its own:
        // the liar is silent from there on.
        match message {
            FromClient::Opened(_) | FromClient::Declined(_) => Vec::new(),
            other => vec![other],
        }
    });
    assert_expelled(&pair, round, &Fault::BadEncapsulation);
    let aborted = Outcome::Aborted(AbortReason::SeedNotRebuilt);
    assert_eq!(pair.coordinator().outcomes.get(&round), Some(&aborted));
}

#[test]
fn a_contribution_that_breaks_its_check_lanes_voids_the_round() {
    let mut pair = Pair::new(Options::new(7, 5));
    let liar = pair.ids()[LIAR];
    // The liar commits to the vector that it then sends: only the lanes show that it is wrong.
    pair.spoil_lanes(LIAR);
    let round = pair.round(PlanKind::Train);
    assert!(pair.coordinator().expelled.iter().all(|(_, client, _)| *client != liar));
    let aborted = Outcome::Aborted(AbortReason::MasksDidNotCancel);
    assert_eq!(pair.coordinator().outcomes.get(&round), Some(&aborted));
}

#[test]
fn swapped_shares_are_found_out_and_the_sum_is_right_all_the_same() {
    let dropout = |client| pair::Fault::Crash {
        client,
        at: Point::Upload,
        when: When::Before,
        back_after: None,
    };
    let changes: [fn(&mut Reveal); 3] = [
        |reveal| reveal.self_mask_shares.swap(0, 4),
        |reveal| {
            let (one, other) = (&mut reveal.self_mask_shares[1], &mut reveal.key_shares[0]);
            std::mem::swap(one, other);
        },
        |reveal| reveal.self_mask_shares.reverse(),
    ];
    for change in changes {
        let options = Options { delay_ms: 5..=5, faults: vec![dropout(6)], ..Options::new(7, 5) };
        let mut pair = Pair::new(options);
        let round = lies_in(&mut pair, move |mut message| {
            if let FromClient::Reveal(reveal) = &mut message {
                change(reveal);
            }
            vec![message]
        });
        assert_expelled(&pair, round, &Fault::BadShares);
        assert_published(&pair, round, &[0, 1, 2, 3, 4, 5]);
    }
}

#[test]
fn two_different_signatures_over_one_set_expel_and_the_first_one_counts() {
    let (pair, round) = lies(|message| {
        let mut other = message.clone();
        if let FromClient::SurvivorSignature(signed) = &mut other {
            signed.signature.0[40] ^= 1;
            return vec![message, other];
        }
        vec![message]
    });
    assert_expelled(&pair, round, &Fault::Equivocation);
    assert_published(&pair, round, &[0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn two_different_reveals_expel_and_the_first_one_counts() {
    let (pair, round) = lies(|message| {
        let mut other = message.clone();
        if let FromClient::Reveal(reveal) = &mut other {
            reveal.self_mask_shares[0][0] ^= 1;
            return vec![message, other];
        }
        vec![message]
    });
    assert_expelled(&pair, round, &Fault::Equivocation);
    assert_published(&pair, round, &[0, 1, 2, 3, 4, 5, 6]);
}

/// The vector is there in time and its commit comes when the set has been shown without it: with
/// its b never revealed, the vector that the coordinator holds stays closed.
#[test]
fn a_commit_after_the_deadline_changes_no_set_and_opens_no_vector() {
    let mut pair = Pair::new(Options { delay_ms: 5..=5, ..Options::new(7, 5) });
    let (liar, kept) = (pair.ids()[LIAR], Rc::new(RefCell::new(None)));
    let late = Rc::clone(&kept);
    pair.on_message_from(move |from, message| match message {
        FromClient::InputCommit(_) if from == liar => {
            *late.borrow_mut() = Some(message);
            Vec::new()
        }
        message => vec![message],
    });
    let round = pair.prepare();
    pair.train(round, PlanKind::Train);
    let signed = |pair: &Pair| {
        let mut sent = pair.peer(0).sent.iter();
        sent.any(|(_, message)| matches!(message, FromClient::SurvivorSignature(_)))
    };
    while !signed(&pair) {
        pair.run_for(Millis(3));
    }
    let message = kept.borrow_mut().take().expect("it was kept back");
    let before = pair.coordinator().late_messages(round);
    pair.input(round, Input::Message { from: liar, message });
    assert_eq!(pair.coordinator().late_messages(round), before + 1);
    pair.run();
    assert!(pair.coordinator().expelled.is_empty());
    assert_published(&pair, round, &[0, 1, 3, 4, 5, 6]);
    for client in [0, 1, 3, 4, 5, 6] {
        let reveal = pair.peer(client).sent.iter().find_map(|(_, message)| match message {
            FromClient::Reveal(reveal) => Some(reveal),
            _ => None,
        });
        let reveal = reveal.expect("it is in the set");
        assert_eq!((reveal.self_mask_shares.len(), reveal.key_shares.len()), (6, 1));
    }
    assert_sound(&pair);
}
