//! Kernels for x86-64: keystream and addition in one pass over registers.
//!
//! These modules are the only ones of the crate that hold unsafe code: calls of functions that
//! need instructions which were found at run time, and loads and stores of whole vectors.

pub(super) use aesni::AesNi;
pub(super) use vaes::Vaes;

mod aesni;
mod schedule;
mod vaes;
