//! Differential privacy of a federation: what a manifest promises ([`Privacy`]), what one round costs
//! and how costs add up ([`accountant`]), and who has spent how much ([`Ledger`]).
//!
//! ```text
//! update ─▶ L2 clip ─▶ rotation ─▶ × scale ─▶ randomised rounding ─▶ + noise ─▶ words of the ring
//!                                                                               │ summed under masks
//! mean   ◀─────────── inverse rotation ◀─ ÷ (scale · survivors) ◀───────────────┘
//! ```
//! What is protected is the whole contribution of one client to one round: two neighbouring data sets
//! differ in one client, whose contribution is there or is zero. That the client took part is no
//! secret: its signature stands in the transcript.

pub mod accountant;
