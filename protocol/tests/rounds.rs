//! Whole rounds through both halves, in virtual time.

#[path = "rounds/checks.rs"]
mod checks;
#[path = "rounds/dropouts.rs"]
mod dropouts;
#[path = "rounds/frozen.rs"]
mod frozen;
#[path = "rounds/properties.rs"]
mod properties;
#[path = "rounds/returns.rs"]
mod returns;
#[path = "rounds/sparse.rs"]
mod sparse;
#[path = "rounds/whole.rs"]
mod whole;
