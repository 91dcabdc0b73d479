//! A client refuses every lie of a coordinator: with its reason, and with nothing secret sent.
//! Every [`Refusal`] has its test here, or in `returns` (restarts) and `attacks` (the set rule).

use std::sync::Arc;

use roundelay_crypto::identity::IdentityKey;
use roundelay_protocol::error::Refusal;
use roundelay_protocol::ids::RoundNumber;
use roundelay_protocol::message::{FromClient, ToClient};
use roundelay_protocol::pair::{Options, Pair, Point};
use roundelay_protocol::plan::{PlanKind, RosterPlan};

#[path = "refusals/advertise.rs"]
mod advertise;
#[path = "refusals/end.rs"]
mod end;
#[path = "refusals/open.rs"]
mod open;
#[path = "refusals/order.rs"]
mod order;
#[path = "refusals/share.rs"]
mod share;
#[path = "refusals/survivors.rs"]
mod survivors;
#[path = "refusals/train.rs"]
mod train;

/// The client that is lied to.
pub(crate) const VICTIM: usize = 1;
const CLIENTS: u8 = 5;

/// A round in which every message to the victim passes through `lie`.
pub(crate) fn lied_to(lie: impl FnMut(ToClient) -> Vec<ToClient> + 'static) -> (Pair, RoundNumber) {
    let mut pair = Pair::new(Options::new(CLIENTS, 11));
    let round = lie_in(&mut pair, lie);
    (pair, round)
}

/// A round in a network that keeps everything in order, so that the first of two contradicting
/// messages arrives first.
pub(crate) fn lied_to_in_order(
    lie: impl FnMut(ToClient) -> Vec<ToClient> + 'static,
) -> (Pair, RoundNumber) {
    let mut pair = Pair::new(Options { delay_ms: 5..=5, ..Options::new(CLIENTS, 11) });
    let round = lie_in(&mut pair, lie);
    (pair, round)
}

fn lie_in(
    pair: &mut Pair,
    mut lie: impl FnMut(ToClient) -> Vec<ToClient> + 'static,
) -> RoundNumber {
    let victim = pair.ids()[VICTIM];
    pair.on_message_to(move |to, message| if to == victim { lie(message) } else { vec![message] });
    pair.round(PlanKind::Train)
}

/// The victim refused for this reason; before that it sent exactly the messages of these points,
/// and after it nothing.
pub(crate) fn assert_refused(
    pair: &Pair,
    round: RoundNumber,
    reason: &Refusal,
    sent_before: &[Point],
) {
    let peer = pair.peer(VICTIM);
    let declined: Vec<&Refusal> = peer.declined(round).collect();
    assert_eq!(declined.first(), Some(&reason));
    let sent: Vec<&FromClient> =
        peer.sent.iter().filter(|(sent, _)| *sent == round).map(|(_, message)| message).collect();
    let ends = |m: &FromClient| matches!(m, FromClient::Declined(_) | FromClient::Accusation(_));
    let before = sent.iter().take_while(|message| !ends(message));
    let points: Vec<Point> = before.map(|message| point(message)).collect();
    let messages: Vec<Point> =
        sent_before.iter().copied().filter(|point| *point != Point::Upload).collect();
    assert_eq!(points, messages, "{reason:?}");
    let after = sent.iter().skip(points.len());
    assert!(after.clone().all(|message| ends(message)), "silence after refusing");
    let uploaded = peer.uploads.iter().any(|(uploaded, _)| *uploaded == round);
    assert_eq!(uploaded, sent_before.contains(&Point::Upload), "{reason:?}");
}

fn point(message: &FromClient) -> Point {
    match message {
        FromClient::Advert(_) => Point::Advert,
        FromClient::Shares(_) => Point::Shares,
        FromClient::Opened(_) => Point::Opened,
        FromClient::InputCommit(_) => Point::Commit,
        FromClient::SurvivorSignature(_) => Point::Signature,
        FromClient::Reveal(_) => Point::Reveal,
        FromClient::Declined(_) | FromClient::Accusation(_) => {
            unreachable!("only messages before the refusal are asked for")
        }
    }
}

/// The plan that an honest coordinator makes for everybody.
fn everybody(pair: &Pair, round: RoundNumber) -> RosterPlan {
    pair.terms().roster_plan(round, &pair.terms().clients().collect()).unwrap()
}

/// The identity of a client that lies together with the coordinator.
fn colluder(pair: &Pair, client: usize) -> Arc<IdentityKey> {
    Arc::clone(&pair.peer(client).setup.identity)
}
