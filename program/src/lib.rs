//! What all programs of Roundelay have in common at their edges: how they read their arguments,
//! write answers and errors, and where a test may kill them. The crates below are pure and have no
//! process, and the crates beside each other import none of one another, so it stands here.
//!
//! | module | what lives there |
//! |---|---|
//! | [`line`](mod@line) | a line on standard output or standard error, to a reader that may be gone |
//! | [`log`] | what a log filter may say |
//! | [`answer`] | answers for people or for programs |
//! | [`file`](mod@file) | files that people name: opened only if they are files, read up to a bound |
//! | [`failure`] | how a program reads its arguments, and how it fails |
//! | [`failpoint`] | named places where a test may kill it |

#[cfg(feature = "cli")]
pub mod answer;
pub mod failpoint;
#[cfg(feature = "cli")]
pub mod failure;
pub mod file;
pub mod line;
pub mod log;
#[cfg(feature = "cli")]
mod usage;

#[cfg(feature = "cli")]
pub use answer::{Output, answer, say};
#[cfg(feature = "cli")]
pub use failure::{Failure, main};
