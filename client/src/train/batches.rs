//! The order in which rows are trained on: a shuffle per epoch, drawn from the client's seed and
//! the version of the model, so that a round that failed can be repeated to the bit.

use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::ModelVersion;

/// Draws the batches of one round.
pub(super) struct Batches {
    order: Vec<u32>,
    rng: ChaCha8Rng,
}

impl Batches {
    /// Batches over `rows` rows.
    pub(super) fn new(rows: usize, seed: u64, version: ModelVersion) -> Self {
        let label = "roundelay batches";
        let digest = Digest::of(label, &[&seed.to_le_bytes(), &version.0.to_le_bytes()]);
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        Self { order: (0..rows).collect(), rng: ChaCha8Rng::from_seed(digest.0) }
    }

    /// A seed for whatever else is random in the round.
    pub(super) fn seed(&mut self) -> u64 {
        self.rng.random()
    }

    /// Shuffles anew and returns the order of an epoch.
    pub(super) fn epoch(&mut self) -> &[u32] {
        self.order.shuffle(&mut self.rng);
        &self.order
    }
}
