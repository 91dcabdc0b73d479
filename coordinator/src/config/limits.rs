//! Bounds on what clients may take up, each with unit, default and cost.

use std::time::Duration;

use serde::Deserialize;

use super::within;

/// Keys in this table; a test holds the sample file to it.
#[cfg(test)]
pub(super) const KEYS: usize = 19;

/// What connections may use. The memory that a connection can make the coordinator hold is at most
/// `idle_window_bytes` + `send_window_bytes` + 2 MiB of a roster that is put together, and all
/// uploads together `upload_windows_bytes_total`. A tenant has `connections_per_tenant_max` of
/// them. An idle connection that sends nothing costs about 40 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Open connections. Default 10,000.
    pub connections_max: u32,
    /// Open connections of one tenant. Default 256.
    pub connections_per_tenant_max: u32,
    /// Handshakes in progress, and connections that have not said hello. Default 512. Each costs
    /// about 20 KiB; above it new ones are refused unread.
    pub handshakes_max: u32,
    /// Handshakes in progress above which new addresses must first prove that they receive what
    /// is sent to them (QUIC Retry, one more round trip). Default 128.
    pub retry_above: u32,
    /// Bytes kept for a handshake before it is taken up. Default 16 KiB each.
    pub handshake_bytes: u32,
    /// Time for a handshake, in milliseconds. Default 5,000.
    pub handshake_ms: u32,
    /// Time from the handshake to the first frame, in milliseconds. Default 5,000.
    pub hello_ms: u32,
    /// Time in which a frame that has begun must end, in milliseconds. Default 10,000.
    pub frame_ms: u32,
    /// Time for a whole roster, in milliseconds. Default 30,000.
    pub roster_ms: u32,
    /// Longest pause inside a vector, in milliseconds. Default 15,000. (What a slow upload may
    /// take in all is the deadline of its stage.)
    pub stall_ms: u32,
    /// Silence after which a connection is lost, in milliseconds. Default 30,000; clients send
    /// something every 10,000.
    pub idle_ms: u32,
    /// Unidirectional streams of a client that are open at a time. Default 16.
    pub streams_max: u32,
    /// Messages to one client that wait to be sent. Default 256; a client that reads slower than
    /// that loses its connection.
    pub outbox_max: u32,
    /// Bytes that a client may have in flight while it uploads nothing. Default 64 KiB.
    pub idle_window_bytes: u32,
    /// Bytes that a client may have in flight while it uploads. Default 4 MiB: 40 MB/s at a round
    /// trip of 100 ms.
    pub upload_window_bytes: u32,
    /// All upload windows together. Default 256 MiB; uploads beyond it go on with the idle window.
    pub upload_windows_bytes_total: u32,
    /// Bytes sent to a client and not acknowledged yet. Default 1 MiB.
    pub send_window_bytes: u32,
    /// The UDP socket's buffers in the kernel. Default 8 MiB each way; the kernel may grant less
    /// (`sysctl net.core.rmem_max net.core.wmem_max`), which is warned of.
    pub socket_bytes: u32,
    /// Bytes of all rosters and control frames that a connection may send in a minute. Default
    /// 64 MiB; a cohort of 512 needs 2 MiB in a round.
    pub control_bytes_per_minute: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            connections_per_tenant_max: 256,
            handshakes_max: 512,
            retry_above: 128,
            handshake_bytes: 16 << 10,
            handshake_ms: 5_000,
            hello_ms: 5_000,
            frame_ms: 10_000,
            roster_ms: 30_000,
            stall_ms: 15_000,
            idle_ms: 30_000,
            streams_max: 16,
            outbox_max: 256,
            idle_window_bytes: 64 << 10,
            upload_window_bytes: 4 << 20,
            upload_windows_bytes_total: 256 << 20,
            send_window_bytes: 1 << 20,
            socket_bytes: 8 << 20,
            control_bytes_per_minute: 64 << 20,
        }
    }
}

impl Limits {
    pub(super) fn check(&self) -> Result<(), String> {
        let ranges = [
            ("connections_max", self.connections_max, 1, 1_000_000),
            ("connections_per_tenant_max", self.connections_per_tenant_max, 1, 1_000_000),
            ("handshakes_max", self.handshakes_max, 1, 65_536),
            ("retry_above", self.retry_above, 0, 65_536),
            ("handshake_bytes", self.handshake_bytes, 4 << 10, 1 << 20),
            ("handshake_ms", self.handshake_ms, 100, 60_000),
            ("hello_ms", self.hello_ms, 100, 60_000),
            ("frame_ms", self.frame_ms, 100, 600_000),
            ("roster_ms", self.roster_ms, 100, 600_000),
            ("stall_ms", self.stall_ms, 100, 600_000),
            ("idle_ms", self.idle_ms, 1_000, 600_000),
            ("streams_max", self.streams_max, 2, 1_024),
            ("outbox_max", self.outbox_max, 16, 65_536),
            ("idle_window_bytes", self.idle_window_bytes, 16 << 10, 16 << 20),
            ("upload_window_bytes", self.upload_window_bytes, 64 << 10, 256 << 20),
            ("upload_windows_bytes_total", self.upload_windows_bytes_total, 1 << 20, u32::MAX),
            ("send_window_bytes", self.send_window_bytes, 64 << 10, 256 << 20),
            ("socket_bytes", self.socket_bytes, 64 << 10, 256 << 20),
            ("control_bytes_per_minute", self.control_bytes_per_minute, 1 << 20, u32::MAX),
        ];
        ranges.into_iter().try_for_each(|(key, value, min, max)| {
            within(&format!("limits.{key}"), value, min, max)
        })
    }

    /// Milliseconds of a limit as a duration.
    #[must_use]
    pub fn duration(ms: u32) -> Duration {
        Duration::from_millis(u64::from(ms))
    }
}
