//! The coordinator's wall clock, in the unit that the store and the wire use. The pure parts never
//! read it: their `now` is an argument.

use std::time::{Duration, SystemTime};

/// Milliseconds since 1970.
#[must_use]
pub fn now_unix_ms() -> u64 {
    unix_ms(SystemTime::now())
}

/// Milliseconds since 1970 at a moment; 0 for one before.
#[must_use]
pub fn unix_ms(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The moment so many milliseconds after 1970.
#[must_use]
pub fn at_unix_ms(unix_ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(unix_ms)
}
