//! One whole round of four clients with a dropout, frozen byte for byte: from the seeds that were
//! drawn to the aggregate and the transcript. `vectors/round/check.py` recomputes all of it from
//! the seeds without a line of this crate.

use std::fmt::Write as _;

use roundelay_protocol::codec::canonical;
use roundelay_protocol::message::FromClient;
use roundelay_protocol::pair::{Fault, Options, Pair, Point, When};
use roundelay_protocol::plan::{PlanKind, TrainingPlan};
use roundelay_protocol::round::horizontal::coordinator::Record;
use serde_json::{Value, json};

use crate::checks::assert_published;

const CLIENTS: usize = 4;
const DROPOUT: usize = 1;

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn frozen_round() -> Value {
    let at = Point::Upload;
    let dropout = Fault::Crash { client: DROPOUT, at, when: When::Before, back_after: None };
    let mut pair = Pair::new(Options { faults: vec![dropout], ..Options::new(4, 2026) });
    let round = pair.round(PlanKind::Train);
    assert_published(&pair, round, &[0, 2, 3]);
    let published = pair.coordinator().published(round).unwrap();
    let records = &pair.coordinator().records[&round];
    let plan = records.iter().find_map(|record| match record {
        Record::Training(plan) => Some(plan),
        _ => None,
    });
    let quorum = records.iter().find_map(|record| match record {
        Record::Quorum(quorum) => Some(canonical(&**quorum)),
        _ => None,
    });
    let clients: Vec<Value> = (0..CLIENTS).map(|client| client_of(&pair, client)).collect();
    json!({
        "federation": hex(pair.terms().federation().0),
        "manifest": pair.terms().hash().to_string(),
        "round": round.0,
        "threshold": pair.terms().floors(CLIENTS).unwrap().threshold(),
        "dropout": DROPOUT,
        "plan": plan_of(plan.unwrap()),
        "clients": clients,
        "quorum": hex(quorum.unwrap()),
        "aggregate": hex(pair.coordinator().aggregate(&published.aggregate).unwrap()),
        "state": published.state.to_string(),
        "transcript": published.transcript.to_string(),
    })
}

fn plan_of(plan: &TrainingPlan) -> Value {
    let chunks: Vec<Value> = plan
        .layout
        .chunks()
        .map(|chunk| json!({ "offset": chunk.offset, "bytes": chunk.bytes(), "bits": chunk.ring.bits() }))
        .collect();
    json!({
        "model_version": plan.model_version.0,
        "model": plan.model.to_string(),
        "previous_transcript": plan.previous_transcript.to_string(),
        "hyperparameters": hex(canonical(&plan.hyperparameters)),
        "layout": hex(canonical(&plan.layout)),
        "chunks": chunks,
        "active": plan.active.iter().map(|index| index.0).collect::<Vec<_>>(),
    })
}

/// What one client drew and contributed, and what it sent.
fn client_of(pair: &Pair, client: usize) -> Value {
    let peer = pair.peer(client);
    let (_, contribution) = peer.contributions.first_key_value().unwrap();
    let mut sent = json!({});
    for (_, message) in &peer.sent {
        let (name, text) = match message {
            FromClient::Advert(advert) => ("advert", hex(canonical(&**advert))),
            FromClient::Shares(shares) => ("shares", shares_of(&canonical(&**shares))),
            FromClient::Opened(signature) => ("opened", hex(canonical(signature))),
            FromClient::InputCommit(commit) => ("commit", hex(canonical(commit))),
            FromClient::SurvivorSignature(signed) => ("signature", hex(canonical(signed))),
            FromClient::Reveal(reveal) => ("reveal", hex(canonical(reveal))),
            FromClient::Nonce(_) => panic!("the graph is complete"),
            FromClient::Declined(refusal) => panic!("{refusal}"),
            FromClient::Accusation(accusation) => panic!("{accusation:?}"),
        };
        sent[name] = text.into();
    }
    json!({
        "identity": hex(peer.setup.identity.seed().expose()),
        "randomness": hex(peer.randomness()),
        "contribution": hex(contribution),
        "masked": peer.uploads.first().map(|(_, vector)| hex(vector)),
        "sent": sent,
    })
}

/// Shares are long: their digest stands for them.
fn shares_of(bytes: &[u8]) -> String {
    roundelay_crypto::digest::Digest::of("frozen/shares", &[bytes]).to_string()
}

/// `ROUNDELAY_WRITE_VECTORS=1` writes the file instead: for a new version of the protocol, never
/// to make a test pass.
#[test]
fn a_round_is_frozen_byte_for_byte() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/round/round.json");
    let text = serde_json::to_string_pretty(&frozen_round()).unwrap() + "\n";
    if std::env::var_os("ROUNDELAY_WRITE_VECTORS").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(path).unwrap(), "{path} is frozen");
}
