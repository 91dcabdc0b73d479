//! A coordinator restored from a backup, clients restored from snapshots, and two replicas on one
//! round: each would have a second set opened where the first one was. What stops them is what the
//! clients remember; the weakened variant are clients that have all lost it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use roundelay_protocol::error::{Refusal, Stage};
use roundelay_protocol::ids::{ClientId, RoundNumber};
use roundelay_protocol::message::{AdvertRoster, FromClient, ToClient};
use roundelay_protocol::pair::{Options, Pair};
use roundelay_protocol::plan::PlanKind;
use roundelay_protocol::round::horizontal::client::Input;
use roundelay_protocol::time::Millis;

use crate::checks::assert_published;
use crate::harness::{VICTIM, everybody};

const ALL: [usize; 5] = [0, 1, 2, 3, 4];

/// Everybody signs and reveals over a set without the last client, and the coordinator, restored
/// from a backup of before, plans the next round over the same model with everybody in it.
fn restored(clients_forget: &[usize]) -> (Pair, RoundNumber) {
    let mut pair = Pair::new(Options { delay_ms: 5..=5, ..Options::new(5, 1) });
    let snapshot = pair.peer(0).durable.len();
    let last = pair.ids()[4];
    // The backup is of before the result: it is told to nobody.
    pair.on_message_to(|_, message| match message {
        ToClient::Published(_) => Vec::new(),
        message => vec![message],
    });
    let lost = Rc::new(RefCell::new(0));
    let reveals = Rc::clone(&lost);
    pair.on_message_from(move |from, message| match message {
        FromClient::InputCommit(_) if from == last => Vec::new(),
        // The shares are out, and kept where no backup has them.
        FromClient::Reveal(_) => {
            *reveals.borrow_mut() += 1;
            Vec::new()
        }
        message => vec![message],
    });
    pair.round(PlanKind::Train);
    assert_eq!(*lost.borrow(), 4, "the first set is open");
    for client in clients_forget {
        pair.roll_back(*client, snapshot);
    }
    pair.on_message_from(|_, message| vec![message]);
    pair.on_message_to(|_, message| vec![message]);
    let again = pair.round(PlanKind::Train);
    (pair, again)
}

#[test]
fn a_restored_backup_opens_a_second_set_only_where_all_clients_have_forgotten_the_first() {
    // Two sums over one model, with and without the last client: its vector is their difference.
    let (pair, again) = restored(&ALL);
    assert_published(&pair, again, &ALL);

    let (pair, again) = restored(&[]);
    assert!(pair.coordinator().published(again).is_none());
    for client in ALL {
        let signed = client != 4;
        let declined: Vec<&Refusal> = pair.peer(client).declined(again).collect();
        let expected: &[&Refusal] = if signed { &[&Refusal::SetRule] } else { &[] };
        assert_eq!(declined, expected, "client {client}");
    }
    // One that was restored as well is told by those that were not.
    let (pair, again) = restored(&[0]);
    assert!(pair.coordinator().published(again).is_none());
    let told = Refusal::RolledBack { seen: 1, remembered: 0 };
    assert_eq!(pair.peer(0).declined(again).next(), Some(&told));
}

/// The second replica begins the same round number again with clients that are in the first one's.
#[test]
fn of_two_replicas_on_one_round_one_gets_shares_unless_the_clients_have_forgotten_the_other() {
    let mut pair = Pair::new(Options { delay_ms: 5..=5, ..Options::new(5, 1) });
    let (victim, rosters) = (pair.ids()[VICTIM], Rc::new(RefCell::new(None)));
    let seen = Rc::clone(&rosters);
    pair.on_message_to(move |to: ClientId, message| {
        if let (ToClient::Adverts(roster), true) = (&message, to == victim) {
            *seen.borrow_mut() = Some(Arc::clone(roster));
        }
        vec![message]
    });
    let snapshot = pair.peer(VICTIM).durable.len();
    let round = pair.prepare();
    pair.run_for(Millis(500));
    let plan = || ToClient::RosterPlan(Box::new(everybody(&pair, round)));
    let plan = plan();
    let first: AdvertRoster = rosters.borrow().as_deref().cloned().unwrap();
    let second = AdvertRoster { adverts: first.adverts[..4].to_vec() };
    let shares = |pair: &Pair| {
        let sent = pair.peer(VICTIM).sent.iter().filter_map(|(_, message)| match message {
            FromClient::Shares(shares) => Some(shares.root.0),
            _ => None,
        });
        sent.collect::<BTreeSet<_>>().len()
    };

    // The same plan is the same round; a roster of the other replica's own is not.
    pair.tell(VICTIM, round, Input::Message(plan.clone()));
    assert_eq!(pair.peer(VICTIM).declined(round).count(), 0);
    pair.tell(VICTIM, round, Input::Message(ToClient::Adverts(Arc::new(second))));
    let contradicted = Refusal::Contradicted(Stage::ShareKeys);
    assert_eq!(pair.peer(VICTIM).declined(round).collect::<Vec<_>>(), [&contradicted]);
    assert_eq!(shares(&pair), 1);

    // Killed in between, it remembers that it had advertised, and says so.
    let records = pair.peer(VICTIM).durable.len();
    pair.roll_back(VICTIM, records);
    pair.tell(VICTIM, round, Input::Message(plan.clone()));
    assert_eq!(pair.peer(VICTIM).declined(round).last(), Some(&Refusal::Restarted));
    let adverts = |pair: &Pair| {
        let sent = pair.peer(VICTIM).sent.iter();
        sent.filter(|(_, message)| matches!(message, FromClient::Advert(_))).count()
    };
    assert_eq!(adverts(&pair), 1);

    // Without its records it begins the round a second time.
    pair.roll_back(VICTIM, snapshot);
    pair.tell(VICTIM, round, Input::Message(plan));
    assert_eq!(adverts(&pair), 2, "a client that forgets serves both replicas");
}
