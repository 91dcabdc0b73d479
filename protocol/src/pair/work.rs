//! The heavy work of both sides, on small vectors.

use roundelay_crypto::chunks::ChunkRoot;
use roundelay_crypto::digest::Digest;
use roundelay_crypto::mask::{self, MaskKey};

use crate::layout::Layout;
use crate::plan::PlanKind;

/// Adds masks to a vector, chunk by chunk.
pub(super) fn add_masks(vector: &mut [u8], layout: &Layout, keys: &[MaskKey]) {
    for chunk in layout.chunks() {
        if let Some(words) = vector.get_mut(chunk.range()) {
            mask::add_masks(words, chunk.ring, keys, chunk.offset as u64);
        }
    }
}

/// Adds one vector to another in the rings of a layout.
pub(super) fn add(sum: &mut [u8], layout: &Layout, vector: &[u8]) {
    for chunk in layout.chunks() {
        if let (Some(sum), Some(words)) = (sum.get_mut(chunk.range()), vector.get(chunk.range())) {
            mask::add_words(sum, chunk.ring, words);
        }
    }
}

/// The root over a vector's chunks.
pub(super) fn root(vector: &[u8], layout: &Layout) -> Digest {
    let mut root = ChunkRoot::new();
    layout
        .chunks()
        .filter_map(|chunk| vector.get(chunk.range()))
        .for_each(|words| root.push(words));
    root.finish()
}

/// The state after a round: a stand-in for the server optimiser, which is no part of a round.
pub(super) fn next_state(kind: PlanKind, state: Digest, aggregate: &[u8]) -> Digest {
    match kind {
        PlanKind::Train => Digest::of("pair/state", &[&state.0, aggregate]),
        PlanKind::Statistics | PlanKind::Evaluate => state,
    }
}
