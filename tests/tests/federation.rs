//! Federations of real processes over QUIC on loopback.

#[path = "federation/small.rs"]
mod small;

#[path = "federation/amended.rs"]
mod amended;
#[path = "federation/exact.rs"]
mod exact;
#[path = "federation/full_disk.rs"]
mod full_disk;
#[path = "federation/identity.rs"]
mod identity;
#[path = "federation/joined.rs"]
mod joined;
#[path = "federation/killed.rs"]
mod killed;
#[path = "federation/lying.rs"]
mod lying;
#[path = "federation/moved.rs"]
mod moved;
#[path = "federation/plain.rs"]
mod plain;
#[path = "federation/private.rs"]
mod private;
#[path = "federation/pruned.rs"]
mod pruned;
#[path = "federation/refused.rs"]
mod refused;
#[path = "federation/restored.rs"]
mod restored;
#[path = "federation/stopped.rs"]
mod stopped;
#[path = "federation/told.rs"]
mod told;
