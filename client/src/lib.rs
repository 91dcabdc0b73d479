//! The tenant's client: it trains on data that never leaves the tenant and sends only what is
//! masked, encrypted or public by construction.
//!
//! | module | what lives there | built |
//! |---|---|---|
//! | [`engine`] | what a client decides, pure: pinned manifest, history, rounds, model lineage | always |
//! | `data`, `train` | reading local data; the trainers | always |
//! | `outbound`, `gate` | the only way out: types that may be sent, and the ledger of what was | `daemon` |
//! | `checkpoint`, `identity` | files of the state directory: atomic, locked, 0600 where secret | `daemon` |
//! | `session` | the QUIC connection to the coordinator, pinned to its certificate authority | `daemon` |
//! | `enrol`, `cli`, `daemon`, `config` | the verbs of `roundelay-client` | `daemon` |
//! | `sdk` | [`engine`] and `session` for a program that brings a trainer of its own | `daemon` |
//!
//! With `default-features = false` only the pure part is built: no socket, no file of its own, no
//! clock. The simulator builds it so.

// Pure, always built.
pub mod data;
pub mod engine;
pub mod train;

// Sockets, files and clocks.
#[cfg(feature = "daemon")]
pub mod checkpoint;
#[cfg(feature = "daemon")]
pub mod cli;
#[cfg(feature = "daemon")]
pub mod clock;
#[cfg(feature = "daemon")]
pub mod config;
#[cfg(feature = "daemon")]
mod daemon;
#[cfg(feature = "daemon")]
pub mod enrol;
#[cfg(feature = "daemon")]
pub mod gate;
#[cfg(feature = "daemon")]
pub mod identity;
#[cfg(feature = "daemon")]
pub mod outbound;
#[cfg(feature = "daemon")]
pub mod sdk;
#[cfg(feature = "daemon")]
pub mod session;
