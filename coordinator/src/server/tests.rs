//! Real endpoints on loopback: a coordinator in this process, and clients that speak QUIC to it,
//! well or badly.

mod connections;
mod enrolments;
mod floods;
mod handshakes;
pub(crate) mod harness;
pub(crate) mod manifests;
mod rounds;
mod stopping;
