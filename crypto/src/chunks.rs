//! One root over the chunks of an upload, found while they pass: memory for one hash per level.

use crate::digest::Digest;
use crate::tree::{empty, leaf, node};

/// The leaf of one chunk, as [`ChunkRoot::push`] takes it.
pub fn chunk_digest(chunk: &[u8]) -> Digest {
    Digest::of("roundelay/chunk", &[chunk])
}

/// The Merkle root of the chunks pushed so far: the same as [`crate::tree::root`] over their
/// [`chunk_digest`]s.
#[derive(Debug, Clone, Default)]
pub struct ChunkRoot {
    count: u64,
    /// Roots of full subtrees, the largest first: one per bit of `count` that is set.
    subtrees: Vec<Digest>,
}

impl ChunkRoot {
    /// No chunks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next chunk.
    pub fn push(&mut self, chunk: &[u8]) {
        self.push_digest(&chunk_digest(chunk));
    }

    /// The next chunk, by its [`chunk_digest`].
    pub fn push_digest(&mut self, digest: &Digest) {
        let full = self.count.trailing_ones();
        let mut subtree = leaf(digest);
        for _ in 0..full {
            if let Some(left) = self.subtrees.pop() {
                subtree = node(&left, &subtree);
            }
        }
        self.subtrees.push(subtree);
        self.count += 1;
    }

    /// How many chunks were pushed.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The root over all of them.
    pub fn finish(self) -> Digest {
        let join = |right: Digest, left: &Digest| node(left, &right);
        match self.subtrees.split_last() {
            Some((last, others)) => others.iter().rev().fold(*last, join),
            None => empty(),
        }
    }
}

#[cfg(test)]
mod tests;
