//! Simulated federations: the real round machines of coordinator and client in virtual time.

pub mod partition;
