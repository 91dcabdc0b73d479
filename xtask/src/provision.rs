//! What the build and the demo take from Python wheels: libtorch, and scikit-learn's `digits`
//! table. Versions and hashes are pinned; a finished download survives an interruption.

mod digits;
mod libtorch;
mod wheels;

pub(crate) use digits::digits;
pub(crate) use libtorch::libtorch;
