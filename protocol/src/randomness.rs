//! Random bytes from a seed, for machines that draw after they were made and for virtual time.

use std::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};
use roundelay_crypto::kdf;
use roundelay_crypto::secret::{Secret, Seed};

/// Random bytes from a seed: HKDF-SHA256 in counter mode, 64 bytes a block.
pub(crate) struct Stream {
    seed: Seed,
    block: u64,
}

impl Stream {
    pub(crate) fn new(seed: Seed) -> Self {
        Self { seed, block: 0 }
    }

    fn next_block(&mut self) -> Secret<[u8; 64]> {
        let number = self.block.to_le_bytes();
        self.block += 1;
        kdf::derive(&self.seed, "roundelay/randomness", &[&number])
    }
}

impl TryRng for Stream {
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

impl TryCryptoRng for Stream {}
