//! The coordinator: it hosts the federations of many tenants, carries their rounds, and holds only
//! masked vectors, ciphertexts and published sums.
//!
//! | module | what lives there | built |
//! |---|---|---|
//! | [`engine`] | what a federation does next, pure: cohorts, rounds, lineage | always |
//! | [`accumulator`] | masked sums, undo data and unmasking with the bulk kernels | always; its spools: `server` |
//! | [`parameters`] | the numbers of a round before there is one | always |
//! | [`store`], [`blobs`], [`keys`] | rows of one tenant, sealed blobs by hash, the file-backed key | `server` |
//! | [`server`] | QUIC: endpoint, connections, enrolment, and the driver of the engine | `server` |
//! | [`installation`] | the data folder with its lock, store, keys, authority | `server` |
//! | [`authority`], [`clients`] | certificates; who is enrolled | `server` |
//! | [`federations`] | manifests, drafted and signed | `server` |
//! | [`notice`], [`clock`] | signed redirects; the wall clock | `server` |
//! | [`admin`], [`cli`], [`config`], [`telemetry`] | the verbs of `roundelay-coordinator` | `server` |
//!
//! With `default-features = false` only the pure part is built: no socket, no file, no clock. The
//! simulator builds it so.

// Pure, always built.
pub mod accumulator;
pub mod engine;
pub mod parameters;

// Sockets, files and clocks.
#[cfg(feature = "server")]
pub mod admin;
#[cfg(feature = "server")]
pub mod authority;
#[cfg(feature = "server")]
pub mod blobs;
#[cfg(all(test, feature = "server"))]
#[path = "../../tests/src/harness/children.rs"]
#[allow(unreachable_pub, reason = "the file is public in the package that it belongs to")]
mod children;
#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "server")]
pub mod clients;
#[cfg(feature = "server")]
pub mod clock;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod federations;
#[cfg(feature = "server")]
pub mod installation;
#[cfg(feature = "server")]
pub mod keys;
#[cfg(feature = "server")]
pub mod notice;
#[cfg(feature = "server")]
pub mod server;
#[cfg(all(test, feature = "server"))]
#[path = "../../tests/src/harness/skip.rs"]
#[allow(unreachable_pub, reason = "the file is public in the package that it belongs to")]
mod skip;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "server")]
pub mod telemetry;

#[cfg(test)]
mod testing;
