//! `roundelay-coordinator`.
fn main() {}
