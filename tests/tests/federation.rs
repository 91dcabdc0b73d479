//! Federations of real processes over QUIC on loopback.

#[path = "federation/small.rs"]
mod small;

#[path = "federation/exact.rs"]
mod exact;
#[path = "federation/killed.rs"]
mod killed;
#[path = "federation/refused.rs"]
mod refused;
