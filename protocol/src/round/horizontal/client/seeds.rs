//! The secrets that a round starts from: four independent seeds, drawn once, in memory alone.

use rand_core::CryptoRng;
use roundelay_crypto::secret::{Secret, Seed};

use crate::randomness::Stream;

/// Fresh seeds of one round.
pub(super) struct RoundSeeds {
    /// k_u: mask keys and encapsulation messages; shared, and opened if this client drops out.
    pub(super) key: Seed,
    /// b_u: the self mask; shared, and opened if this client survives.
    pub(super) self_mask: Seed,
    /// The keys that open boxes.
    pub(super) boxes: Seed,
    /// Coefficients of shares, and encapsulation messages of boxes.
    pub(super) noise: Stream,
}

impl RoundSeeds {
    pub(super) fn random(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let mut draw = || Secret::random(rng);
        Self { key: draw(), self_mask: draw(), boxes: draw(), noise: Stream::new(draw()) }
    }
}
