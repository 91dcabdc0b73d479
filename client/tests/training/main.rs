//! Training on real and made-up rows by every trainer, in one binary so that libtorch links once.

#[cfg(feature = "daemon")]
mod cli;
mod linear;
mod mnist;
#[cfg(feature = "daemon")]
mod process;
#[cfg(feature = "torch")]
mod script;
#[path = "../../../tests/src/harness/skip.rs"]
#[allow(unreachable_pub, reason = "the file is public in the package that it belongs to")]
mod skip;
mod standard;
mod support;
#[cfg(feature = "torch")]
mod torch;
