//! Exit statuses, all in one place.

use crate::admin::Kind;

/// It worked.
pub const OK: u8 = 0;
/// A fault of the coordinator or of the machine, such as a full disk.
pub const INTERNAL: u8 = 1;
/// The command line, a file or a value is wrong.
pub const USAGE: u8 = 2;
/// What was asked for is not there.
pub const NOT_FOUND: u8 = 3;
/// It is there already, or does not go in this state; a port or a folder is in use.
pub const CONFLICT: u8 = 4;
/// Stored data is damaged.
pub const DAMAGED: u8 = 5;
/// The coordinator cannot be reached, or does not run.
pub const UNREACHABLE: u8 = 6;

/// As `--help` says it.
pub const HELP: &str = "Exit status: 0 done, 1 internal error, 2 wrong usage, file or value, \
3 not found, 4 conflict or in use, 5 damaged data, 6 coordinator not reachable";

/// The status of a failed verb.
#[must_use]
pub fn of(kind: Kind) -> u8 {
    match kind {
        Kind::Internal => INTERNAL,
        Kind::Invalid => USAGE,
        Kind::NotFound => NOT_FOUND,
        Kind::Conflict => CONFLICT,
        Kind::Damaged => DAMAGED,
        Kind::Unreachable => UNREACHABLE,
    }
}
