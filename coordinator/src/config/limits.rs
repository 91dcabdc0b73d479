//! Bounds on what clients may take up, each with unit, default and cost.

use std::time::Duration;

use serde::Deserialize;

use super::within;

/// Keys in this table; a test holds the sample file to it.
#[cfg(test)]
pub(super) const KEYS: usize = 26;

/// What connections may use, and with it the memory that clients can make the coordinator hold:
///
/// | what | of one connection | of the process |
/// |---|---|---|
/// | sent by the client, not read yet | `idle_window_bytes`; up to `upload_window_bytes` while it uploads | `connections_max` × `idle_window_bytes` + `upload_windows_bytes_total` |
/// | a roster that is put together | one, 4 KiB for each entry that was announced, at most 2 MiB | `rosters_bytes_total` |
/// | sent to the client, not acknowledged | `send_window_bytes` | × `connections_max` |
/// | waiting to be sent, for at most `stall_ms` if the client reads nothing | `outbox_max` × 64 KiB, and 16 rosters and 16 vectors: a roster is shared by all who get it but for boxes (2 MiB), and so is a vector that many get; another holds its next 1 MiB | × `connections_max` |
///
/// A tenant has `connections_per_tenant_max` connections. Honest clients keep the last row at a few
/// frames; an idle connection costs about 40 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Open connections. Default 10,000.
    pub connections_max: u32,
    /// Open connections of one tenant. Default 256.
    pub connections_per_tenant_max: u32,
    /// Handshakes in progress, and connections with a certificate that have not said hello. Default 512. Each costs
    /// about 20 KiB; above it new ones are refused unread.
    pub handshakes_max: u32,
    /// Handshakes that one address (an IPv6 /64 counts as one) may begin at once. Default 512. An
    /// address that proved itself by Retry has as many again, so that nobody can use up the share
    /// of another by forging its address.
    pub address_handshakes_burst: u32,
    /// Handshakes that it may begin in a second from then on. Default 64.
    pub address_handshakes_per_second: u32,
    /// Places among the handshakes that it holds at a time: handshakes in progress, and connections
    /// that have not said hello. Default 128; it holds as many again from where it proved itself by
    /// Retry.
    pub address_handshakes_max: u32,
    /// Connections without a certificate, which may only enrol. Default 128. They take no place
    /// among the handshakes once theirs is done; above it they are sent away as `busy`.
    pub enrolments_max: u32,
    /// Such connections of one address. Default 32.
    pub address_enrolments_max: u32,
    /// Addresses that are counted one by one. Default 65,536, which costs 6 MiB at most; beyond
    /// it, unknown addresses share one count until others have been silent for a while.
    pub addresses_max: u32,
    /// Handshakes in progress above which new addresses must first prove that they receive what
    /// is sent to them (QUIC Retry, one more round trip). Default 128.
    pub retry_above: u32,
    /// Bytes kept for a handshake before it is taken up. Default 16 KiB each.
    pub handshake_bytes: u32,
    /// Time for a handshake, in milliseconds. Default 5,000.
    pub handshake_ms: u32,
    /// Time for the handshake and the first frame together (the hello, or the request of an
    /// enrolment), in milliseconds. Default 8,000.
    pub hello_ms: u32,
    /// Time in which a frame that has begun must end, in milliseconds. Default 10,000.
    pub frame_ms: u32,
    /// Time for a whole roster, in milliseconds. Default 30,000.
    pub roster_ms: u32,
    /// All rosters that are being put together. Default 256 MiB; above it they wait in their
    /// streams.
    pub rosters_bytes_total: u32,
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
    /// Bytes that a client may have in flight at most while it uploads. Default 4 MiB: 40 MB/s at a round
    /// trip of 100 ms.
    pub upload_window_bytes: u32,
    /// What all uploads together may have in flight beyond their idle windows, in even shares.
    /// Default 32 MiB; uploads beyond it go on with the idle window.
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
            address_handshakes_burst: 512,
            address_handshakes_per_second: 64,
            address_handshakes_max: 128,
            enrolments_max: 128,
            address_enrolments_max: 32,
            addresses_max: 65_536,
            retry_above: 128,
            handshake_bytes: 16 << 10,
            handshake_ms: 5_000,
            hello_ms: 8_000,
            frame_ms: 10_000,
            roster_ms: 30_000,
            rosters_bytes_total: 256 << 20,
            stall_ms: 15_000,
            idle_ms: 30_000,
            streams_max: 16,
            outbox_max: 256,
            idle_window_bytes: 64 << 10,
            upload_window_bytes: 4 << 20,
            upload_windows_bytes_total: 32 << 20,
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
            ("address_handshakes_burst", self.address_handshakes_burst, 1, 65_535),
            ("address_handshakes_per_second", self.address_handshakes_per_second, 1, 65_535),
            ("address_handshakes_max", self.address_handshakes_max, 1, 65_536),
            ("enrolments_max", self.enrolments_max, 1, 65_536),
            ("address_enrolments_max", self.address_enrolments_max, 1, 65_536),
            ("addresses_max", self.addresses_max, 1, 16 << 20),
            ("retry_above", self.retry_above, 0, 65_536),
            ("handshake_bytes", self.handshake_bytes, 4 << 10, 1 << 20),
            ("handshake_ms", self.handshake_ms, 100, 60_000),
            ("hello_ms", self.hello_ms, 100, 60_000),
            ("frame_ms", self.frame_ms, 100, 600_000),
            ("roster_ms", self.roster_ms, 100, 600_000),
            ("rosters_bytes_total", self.rosters_bytes_total, 4 << 20, u32::MAX),
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
