//! Simulated federations: the real machines of coordinator and client in virtual time, in one
//! process, without sockets and without a clock.
//!
//! | module | what lives there |
//! |---|---|
//! | [`scenario`] | what one run is about, drawn from its seed |
//! | [`population`] | the clients, their manifest, and what each puts in, known in the plain |
//! | [`network`] | links as a machine: latency, jitter, order, lost connections |
//! | [`faults`] | what goes wrong, and when |
//! | [`store`] | exactly what survives a crash |
//! | [`driver`] | the drivers of the real engines |
//! | [`world`] | the run: what is due next |
//! | [`watch`], [`invariants`] | the log of a run; what must hold in every one |
//! | [`report`], [`seeds`] | what a run has come to, and what many have |
//! | [`cli`] | the verbs of `roundelay-simulate` |
//! | [`bug`] | mistakes to plant in the drivers, to see them found |
//! | [`partition`] | splits of one data set over clients |

pub mod agenda;
pub mod bug;
pub mod cli;
pub mod driver;
pub mod faults;
pub mod invariants;
pub mod network;
pub mod packet;
pub mod partition;
pub mod population;
pub mod report;
pub mod scenario;
pub mod seeds;
pub mod store;
pub mod watch;
pub mod world;
