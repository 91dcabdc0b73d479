//! The connection to the coordinator: dialled over QUIC, pinned to the authority of enrolment and
//! not to an address, kept alive, moved by signed notices, and found again after it was lost.

pub mod backoff;
pub mod connection;
pub mod notice;
mod quic;
pub(crate) mod tls;

pub use quic::QuicDialer;
