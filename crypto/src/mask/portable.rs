//! The portable kernel, on the `aes` and `ctr` crates: a keystream into a buffer, then the buffer
//! added. It is what the other kernels are held against.

use aes::Aes256Enc;
use ctr::cipher::{InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper};
use zeroize::Zeroizing;

use super::kernel::{Engine, STRIP_BYTES};
use super::words::apply;
use super::{MaskKey, Ring, Sign};

/// `aes` and `ctr`, with whatever instructions those crates find by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Portable;

impl Engine for Portable {
    /// The crate wipes its round keys by itself.
    type Schedule = Aes256Enc;
    /// A strip of keystream.
    type Scratch = Zeroizing<Vec<u8>>;

    fn schedule(&self, key: &MaskKey) -> Aes256Enc {
        Aes256Enc::new(key.seed.expose().into())
    }

    fn scratch(&self) -> Self::Scratch {
        Zeroizing::new(vec![0; STRIP_BYTES])
    }

    fn add(
        &self,
        scratch: &mut Self::Scratch,
        strip: &mut [u8],
        ring: Ring,
        (sign, cipher): &(Sign, Aes256Enc),
        block: u64,
    ) {
        let Some(stream) = scratch.get_mut(..strip.len()) else { return };
        write_keystream(cipher, block.into(), stream);
        apply(strip, ring, stream, *sign);
    }
}

/// The keystream from block number `block` on.
pub(super) fn write_keystream(cipher: &Aes256Enc, block: u128, stream: &mut [u8]) {
    let core = ctr::CtrCore::<_, ctr::flavors::Ctr128BE>::inner_iv_init(
        cipher,
        &block.to_be_bytes().into(),
    );
    // A counter of 128 bits does not come round within an upload.
    StreamCipherCoreWrapper::from_core(core).unchecked_write_keystream(stream);
}
