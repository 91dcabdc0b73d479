//! Cryptography of Roundelay: what a secure aggregation round is made of, as pure functions.
//!
//! Nothing here reads a clock, a file, a socket or the system's randomness: random bytes come in
//! from an [`rand_core::CryptoRng`] that the caller owns, so that a simulator can replay a round
//! from its seed. Secrets live in [`secret::Secret`], which cannot be printed, cloned or
//! serialised and is wiped when dropped.
//!
//! | module | for |
//! |---|---|
//! | [`secret`], [`digest`], [`kdf`] | the words all others are spelt in |
//! | [`identity`], [`agreement`] | who signs (Ed25519), who shares a key (X25519 + ML-KEM-768) |
//! | [`sealed`], [`envelope`] | AES-256-GCM boxes between clients and around stored values |
//! | [`mask`], [`quantize`] | AES-256-CTR masks over integer words, and the words themselves |
//! | [`shamir`], [`graph`] | shares of seeds, and the numbers that say how many are needed |
//! | [`tree`], [`chunks`] | Merkle roots over lists and over uploads |
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)
)]

pub mod agreement;
pub mod chunks;
pub mod digest;
pub mod envelope;
pub mod graph;
pub mod identity;
pub mod kdf;
pub mod mask;
pub mod quantize;
pub mod sealed;
pub mod secret;
pub mod shamir;
pub mod tree;

mod prefix;
#[cfg(feature = "serde")]
mod tuple;
#[cfg(test)]
mod vectors;
