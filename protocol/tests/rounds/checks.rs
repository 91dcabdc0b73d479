//! What every round has to satisfy, however it went.

use std::collections::{BTreeMap, BTreeSet};

use roundelay_protocol::ids::RoundNumber;
use roundelay_protocol::layout::Layout;
use roundelay_protocol::message::FromClient;
use roundelay_protocol::pair::Pair;
use roundelay_protocol::round::horizontal::client::Event;

/// The round was published over exactly these clients, and the aggregate is the plain sum of what
/// they contributed.
pub(crate) fn assert_published(pair: &Pair, round: RoundNumber, survivors: &[usize]) {
    let outcome = pair.coordinator().outcomes.get(&round);
    let published =
        pair.coordinator().published(round).unwrap_or_else(|| panic!("round {round}: {outcome:?}"));
    assert_eq!(usize::from(published.survivors), survivors.len());
    let aggregate = pair.coordinator().aggregate(&published.aggregate).expect("an aggregate");
    let plan = pair.coordinator().training_plan(round, published.kind);
    assert_eq!(aggregate, plain_sum(pair, round, survivors, &plan.layout));
}

fn plain_sum(pair: &Pair, round: RoundNumber, survivors: &[usize], layout: &Layout) -> Vec<u8> {
    let mut sum = vec![0; usize::try_from(layout.total_bytes()).unwrap()];
    for survivor in survivors {
        let contribution = &pair.peer(*survivor).contributions[&round];
        for chunk in layout.chunks() {
            let bytes = chunk.ring.bytes();
            let words = sum[chunk.range()].chunks_mut(bytes);
            for (word, other) in words.zip(contribution[chunk.range()].chunks(bytes)) {
                let total = read(word).wrapping_add(read(other));
                word.copy_from_slice(&total.to_le_bytes()[..bytes]);
            }
        }
    }
    sum
}

/// Plain integers, so that the check shares nothing with the kernels that it checks.
fn read(word: &[u8]) -> u64 {
    word.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// What holds after any number of rounds, whatever went wrong: every client signed at most one set
/// per round and model, revealed only after signing, and all that follow the model agree.
pub(crate) fn assert_sound(pair: &Pair) {
    for client in 0..pair.ids().len() {
        let peer = pair.peer(client);
        let (mut signed, mut sets, mut uploading) = (BTreeSet::new(), BTreeMap::new(), None);
        for record in &peer.durable {
            match &record.event {
                Event::Uploading { kind, model, contribution, .. } => {
                    uploading = Some(((*kind, *model), *contribution));
                }
                Event::Signed { set } => {
                    assert!(signed.insert(record.round), "one signature for a round");
                    let (release, contribution) = uploading.expect("uploaded first");
                    let one = *sets.entry(release).or_insert((*set, contribution));
                    assert_eq!(one, (*set, contribution), "one opened set and sum for a model");
                }
                Event::Revealed => assert!(signed.contains(&record.round), "signed first"),
                _ => {}
            }
        }
        let standing = peer.history.standing().expect("a standing");
        if standing.round == pair.coordinator().standing().round {
            assert_eq!(*standing, pair.coordinator().standing());
        }
        assert_one_message_per_stage(pair, client);
    }
}

/// Whatever a client sends twice is the same both times.
fn assert_one_message_per_stage(pair: &Pair, client: usize) {
    let mut first = BTreeMap::new();
    for (round, message) in &pair.peer(client).sent {
        if !matches!(message, FromClient::Declined(_) | FromClient::Accusation(_)) {
            let stage = std::mem::discriminant(message);
            let known = first.entry((*round, format!("{stage:?}"))).or_insert(message);
            assert_eq!(*known, message, "client {client}");
        }
    }
}
