//! What every round has to satisfy, however it went.

use roundelay_protocol::ids::RoundNumber;
use roundelay_protocol::pair::Pair;

/// The round was published over exactly these clients, and the aggregate is the plain sum of what
/// they contributed.
pub(crate) fn assert_published(pair: &Pair, round: RoundNumber, survivors: &[usize]) {
    let outcome = pair.host().outcomes.get(&round);
    let published =
        pair.host().published(round).unwrap_or_else(|| panic!("round {round}: {outcome:?}"));
    assert_eq!(usize::from(published.survivors), survivors.len());
    let aggregate = pair.host().aggregate(&published.aggregate).expect("an aggregate");
    let plan = pair.host().training_plan(published.kind);
    assert_eq!(aggregate, plain_sum(pair, round, survivors, &plan.layout));
}

fn plain_sum(
    pair: &Pair,
    round: RoundNumber,
    survivors: &[usize],
    layout: &roundelay_protocol::layout::Layout,
) -> Vec<u8> {
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
