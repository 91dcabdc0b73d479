//! The clocks of the daemon: the wall clock for people and peers, a monotonic one for deadlines.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use roundelay_protocol::time::Time;

/// This machine's wall clock in milliseconds since 1970; 0 where it is set before that.
#[must_use]
pub fn unix_ms() -> u64 {
    unix_ms_of(SystemTime::now())
}

/// A moment in milliseconds since 1970; 0 before that.
#[must_use]
pub fn unix_ms_of(moment: SystemTime) -> u64 {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A monotonic clock that starts at zero, as the round machines want it.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the start.
    #[must_use]
    pub fn now(&self) -> Time {
        Time(u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// The moment of a time on this clock.
    #[must_use]
    pub fn instant(&self, at: Time) -> Instant {
        // Far beyond any deadline: the sum of two instants could overflow.
        const FAR: u64 = 1 << 40;
        self.0 + Duration::from_millis(at.0.min(FAR))
    }
}
