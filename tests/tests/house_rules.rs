//! The rules of the house, held by tests and not by review: who may import whom, which crates stay
//! pure, how long a file or a function may be, and how tests are named.

#[path = "house/arrows.rs"]
mod arrows;
#[path = "house/length.rs"]
mod length;
#[path = "house/purity.rs"]
mod purity;
#[path = "house/sources.rs"]
mod sources;
