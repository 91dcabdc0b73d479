//! The rounds of Roundelay as pure state machines, with their messages, manifest, schema, model
//! lineage and server optimisers.
//!
//! No sockets, no clock, no randomness of its own: `now` and random bytes come in as arguments,
//! effects go out as data. Three drivers run these machines: `pair` (tests), the simulator, and
//! QUIC (coordinator and client).
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)
)]

pub mod bounded;
pub mod close;
pub mod codec;
pub mod contribution;
pub mod enrol;
pub mod error;
pub mod exit;
pub mod ids;
pub mod layout;
pub mod limits;
pub mod lineage;
pub mod manifest;
pub mod message;
pub mod metrics;
pub mod model;
pub mod optimiser;
#[cfg(any(test, feature = "testing"))]
pub mod pair;
pub mod plain;
pub mod plan;
pub mod privacy;
mod randomness;
pub mod round;
pub mod schema;
pub mod session;
pub mod signed;
pub mod statistics;
pub mod suggestion;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod text;
pub mod time;
pub mod transcript;

// Sample values and frozen files for the unit tests.
#[cfg(test)]
#[path = "../tests/fixtures/fixtures.rs"]
mod fixtures;
