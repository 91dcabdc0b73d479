//! The secrets that a round starts from: four independent seeds, drawn once, in memory alone.

use std::convert::Infallible;

use rand_core::{CryptoRng, TryCryptoRng, TryRng};
use roundelay_crypto::kdf;
use roundelay_crypto::secret::{Secret, Seed};

/// Fresh seeds of one round.
pub(super) struct RoundSeeds {
    /// k_u: mask keys and encapsulation messages; shared, and opened if this client drops out.
    pub(super) key: Seed,
    /// b_u: the self mask; shared, and opened if this client survives.
    pub(super) self_mask: Seed,
    /// The keys that open boxes.
    pub(super) boxes: Seed,
    /// Coefficients of shares, and encapsulation messages of boxes.
    pub(super) noise: Noise,
}

impl RoundSeeds {
    pub(super) fn random(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let mut draw = || Secret::random(rng);
        Self { key: draw(), self_mask: draw(), boxes: draw(), noise: Noise::new(draw()) }
    }
}

/// Random bytes from a seed: HKDF-SHA256 in counter mode, 64 bytes a block.
pub(super) struct Noise {
    seed: Seed,
    block: u64,
}

impl Noise {
    fn new(seed: Seed) -> Self {
        Self { seed, block: 0 }
    }

    fn next_block(&mut self) -> Secret<[u8; 64]> {
        let number = self.block.to_le_bytes();
        self.block += 1;
        kdf::derive(&self.seed, "roundelay/round/noise", &[&number])
    }
}

impl TryRng for Noise {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for piece in bytes.chunks_mut(64) {
            let block = self.next_block();
            for (to, from) in piece.iter_mut().zip(block.expose()) {
                *to = *from;
            }
        }
        Ok(())
    }
}

impl TryCryptoRng for Noise {}
