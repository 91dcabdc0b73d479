//! What the end-to-end tests, the demo and the benches share.

pub mod bench;
#[cfg(feature = "kernels")]
pub mod cpu;
#[cfg(feature = "whole")]
pub mod demo;
#[cfg(feature = "whole")]
pub mod harness;
