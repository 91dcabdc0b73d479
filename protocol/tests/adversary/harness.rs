//! A coordinator under the test's control: an honest round up to the lie, one message changed, and
//! everything that the client sends looked at.
//!
//! [`assert_refused`] is what every refusal is held to. It asks for the reason code, for silence
//! after it, and searches all that was sent for bytes of every secret: what the client drew at
//! random (its seeds, and what it would have contributed), and what its honest twin, the same
//! client in the same round without the lie, went on to send: the masked vector, the signature over
//! the survivor set, the shares and b_u.

use std::collections::BTreeSet;
use std::sync::Arc;

use roundelay_crypto::identity::IdentityKey;
use roundelay_crypto::kdf;
use roundelay_crypto::secret::Secret;
use roundelay_protocol::codec;
use roundelay_protocol::error::Refusal;
use roundelay_protocol::ids::{RosterIndex, RoundNumber};
use roundelay_protocol::message::{Advert, AdvertRoster, FromClient, ToClient};
use roundelay_protocol::pair::{Options, Pair, Peer, Point};
use roundelay_protocol::plan::{PlanKind, RosterPlan, TrainingPlan};
use roundelay_protocol::transcript::{TrainingContext, adverts_root, plan_root, shares_root};

/// The client that is lied to.
pub(crate) const VICTIM: usize = 1;
const CLIENTS: u16 = 5;

pub(crate) const SHARED: &[Point] = &[Point::Advert, Point::Shares];
pub(crate) const OPENED: &[Point] = &[Point::Advert, Point::Shares, Point::Opened];
pub(crate) const UPLOADED: &[Point] =
    &[Point::Advert, Point::Shares, Point::Opened, Point::Upload, Point::Commit];
pub(crate) const SIGNED: &[Point] =
    &[Point::Advert, Point::Shares, Point::Opened, Point::Upload, Point::Commit, Point::Signature];

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

pub(crate) fn lie_in(
    pair: &mut Pair,
    mut lie: impl FnMut(ToClient) -> Vec<ToClient> + 'static,
) -> RoundNumber {
    let victim = pair.ids()[VICTIM];
    pair.on_message_to(move |to, message| if to == victim { lie(message) } else { vec![message] });
    pair.round(PlanKind::Train)
}

/// The victim refused for this reason; before that it sent exactly the messages of these points,
/// after it nothing, and no byte of what it would have released later.
pub(crate) fn assert_refused(
    pair: &Pair,
    round: RoundNumber,
    reason: &Refusal,
    sent_before: &[Point],
) {
    assert_refused_without_twin(pair, round, reason, sent_before);
    let sent = all_sent(pair.peer(VICTIM), round);
    let held_back = held_back(pair, round, sent_before);
    let all_is_out = sent_before.contains(&Point::Reveal);
    assert!(all_is_out || held_back.len() > 10, "there is something to look for");
    assert!(!contains(&sent, &held_back), "something of the honest continuation left: {reason:?}");
}

/// The same where no twin of the same options goes on, or draws the same: the manifest itself is the
/// lie, or rounds overlap.
pub(crate) fn assert_refused_without_twin(
    pair: &Pair,
    round: RoundNumber,
    reason: &Refusal,
    sent_before: &[Point],
) {
    assert_stops(pair, round, reason, sent_before);
    let accused = messages(pair.peer(VICTIM), round);
    assert!(!accused.iter().any(|message| matches!(message, FromClient::Accusation(_))));
}

/// The same where a box that its sender signed does not open: one accusation, which shows what
/// opens the victim's boxes, and no other secret.
pub(crate) fn assert_refused_with_proof(
    pair: &Pair,
    round: RoundNumber,
    reason: &Refusal,
    sent_before: &[Point],
) {
    assert_stops(pair, round, reason, sent_before);
    let accusations = messages(pair.peer(VICTIM), round).into_iter().filter_map(|m| match m {
        FromClient::Accusation(accusation) => Some(accusation.boxes),
        _ => None,
    });
    let [shown] = accusations.collect::<Vec<_>>()[..] else { panic!("one accusation") };
    let [key, self_mask, boxes, noise] = drawn_first(pair.peer(VICTIM));
    assert_eq!(shown, boxes);
    assert!(![key, self_mask, noise].contains(&shown));
    let sent = all_sent(pair.peer(VICTIM), round);
    assert!(!contains(&sent, &held_back(pair, round, sent_before)), "{reason:?}");
}

/// The reason, what was sent before it, nothing after it, and nothing that the client drew.
fn assert_stops(pair: &Pair, round: RoundNumber, reason: &Refusal, sent_before: &[Point]) {
    let peer = pair.peer(VICTIM);
    let declined: Vec<&Refusal> = peer.declined(round).collect();
    assert_eq!(declined.first(), Some(&reason));
    let sent = messages(peer, round);
    let ends = |m: &FromClient| matches!(m, FromClient::Declined(_) | FromClient::Accusation(_));
    let before = sent.iter().take_while(|message| !ends(message));
    let points: Vec<Point> = before.filter_map(|message| Point::of(message)).collect();
    let expected: Vec<Point> =
        sent_before.iter().copied().filter(|point| *point != Point::Upload).collect();
    assert_eq!(points, expected, "{reason:?}");
    let after = sent.iter().skip(points.len());
    assert!(after.clone().all(|message| ends(message)), "silence after refusing");
    let uploaded = peer.uploads.iter().any(|(uploaded, _)| *uploaded == round);
    assert_eq!(uploaded, sent_before.contains(&Point::Upload), "{reason:?}");
    // b_u is drawn too, and its client's to give in the last stage.
    let all_is_out = sent_before.contains(&Point::Reveal);
    let secret_left = contains(&all_sent(peer, round), &drawn(peer));
    assert_eq!(secret_left, all_is_out, "a secret left: {reason:?}");
}

fn messages(peer: &Peer, round: RoundNumber) -> Vec<&FromClient> {
    peer.sent.iter().filter(|(sent, _)| *sent == round).map(|(_, message)| message).collect()
}

/// Every byte that the client sent in a round, without the key that an accusation shows.
fn all_sent(peer: &Peer, round: RoundNumber) -> Vec<Vec<u8>> {
    let encoded = messages(peer, round).into_iter().map(|message| match message {
        FromClient::Accusation(accusation) => codec::encode(&accusation.delivery),
        message => codec::encode(message),
    });
    let uploads = peer.uploads.iter().filter(|(uploaded, _)| *uploaded == round);
    encoded.chain(uploads.map(|(_, vector)| vector.clone())).collect()
}

/// Pieces of secrets; what was sent is searched for them at every offset.
type Pieces = BTreeSet<[u8; PIECE_BYTES]>;
const PIECE_BYTES: usize = 16;

fn pieces(bytes: &[u8]) -> impl Iterator<Item = [u8; PIECE_BYTES]> {
    bytes.as_chunks().0.iter().copied()
}

fn contains(sent: &[Vec<u8>], secrets: &Pieces) -> bool {
    let mut windows = sent.iter().flat_map(|bytes| bytes.windows(PIECE_BYTES));
    windows.any(|window| secrets.contains(window))
}

/// The blocks of the client's randomness, of which each thing that it draws takes its own.
fn blocks(peer: &Peer) -> impl Iterator<Item = Secret<[u8; 64]>> {
    let seed = Secret::new(peer.randomness());
    (0..64_u64)
        .map(move |block| kdf::derive(&seed, "roundelay/randomness", &[&block.to_le_bytes()]))
}

/// The seeds of the first round: k_u, b_u, those of its box keys, and of all other randomness.
pub(crate) fn drawn_first(peer: &Peer) -> [[u8; 32]; 4] {
    let first: Vec<[u8; 32]> =
        blocks(peer).take(4).map(|block| block.expose()[..32].try_into().unwrap()).collect();
    first.try_into().unwrap()
}

/// All that the client has drawn, and more: its seeds and its contributions before their masks.
fn drawn(peer: &Peer) -> Pieces {
    blocks(peer).flat_map(|block| pieces(block.expose()).collect::<Vec<_>>()).collect()
}

/// What the victim's honest twin sent from the point of the lie on.
fn held_back(pair: &Pair, round: RoundNumber, sent_before: &[Point]) -> Pieces {
    let mut twin = pair.twin();
    for _ in 0..round.0.max(1) {
        twin.round(PlanKind::Train);
    }
    let (victim, twin) = (pair.peer(VICTIM), twin.peer(VICTIM));
    if let Some(advert) = messages(victim, round).first()
        && matches!(advert, FromClient::Advert(_))
    {
        assert_eq!(messages(twin, round).first(), Some(advert), "the twin draws the same");
    }
    let mut secrets = Pieces::new();
    for message in messages(twin, round.max(RoundNumber(1))) {
        match message {
            FromClient::SurvivorSignature(signed) if !sent_before.contains(&Point::Signature) => {
                secrets.extend(pieces(&signed.signature.0));
            }
            FromClient::Reveal(reveal) if !sent_before.contains(&Point::Reveal) => {
                let shares = reveal.self_mask_shares.iter().chain(&reveal.key_shares);
                shares.chain(&reveal.own_self_mask).for_each(|s| secrets.extend(pieces(s)));
            }
            _ => {}
        }
    }
    if !sent_before.contains(&Point::Upload) {
        twin.uploads.iter().for_each(|(_, vector)| secrets.extend(pieces(vector)));
    }
    secrets
}

/// The plan that an honest coordinator makes for everybody.
pub(crate) fn everybody(pair: &Pair, round: RoundNumber) -> RosterPlan {
    pair.terms().roster_plan(round, &pair.terms().clients().collect()).unwrap()
}

/// The identity of a client that lies together with the coordinator.
pub(crate) fn colluder(pair: &Pair, client: usize) -> Arc<IdentityKey> {
    Arc::clone(&pair.peer(client).setup.identity)
}

/// What the masks and signatures of a round are bound to for whoever was shown this training plan,
/// where all clients have advertised and shared.
pub(crate) fn context(pair: &Pair, round: RoundNumber, plan: &TrainingPlan) -> TrainingContext {
    let roster = everybody(pair, round);
    let (mut adverts, mut roots) = (Vec::new(), Vec::new());
    for (client, index) in (0..pair.ids().len()).zip((0..).map(RosterIndex)) {
        for message in messages(pair.peer(client), round) {
            match message {
                FromClient::Advert(advert) => adverts.push((index, Advert::clone(advert))),
                FromClient::Shares(shares) => roots.push((index, shares.root)),
                _ => {}
            }
        }
    }
    let adverts = adverts_root(&plan_root(&roster), &AdvertRoster { adverts });
    let shares = shares_root(&adverts, roots.iter().map(|(index, root)| (*index, root)));
    let prepared: Vec<RosterIndex> = roots.iter().map(|(index, _)| *index).collect();
    TrainingContext::new(&roster, shares, &prepared, plan)
}
