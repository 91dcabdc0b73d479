//! Whole rounds through both halves, in virtual time.

#[path = "rounds/checks.rs"]
mod checks;
#[path = "rounds/dropouts.rs"]
mod dropouts;
#[path = "rounds/returns.rs"]
mod returns;
#[path = "rounds/whole.rs"]
mod whole;
