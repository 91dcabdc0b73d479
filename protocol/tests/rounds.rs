//! Whole rounds through both halves, in virtual time.

#[path = "rounds/checks.rs"]
mod checks;
#[path = "rounds/whole.rs"]
mod whole;
