//! When rounds are planned and how long their stages may take.

use std::path::PathBuf;

use roundelay_protocol::round::horizontal::coordinator::Timing;
use roundelay_protocol::time::Millis;
use serde::Deserialize;

use super::{Limits, within};
use crate::engine::scheduler::Pace;
use crate::engine::selection::Selection;
use crate::installation::HOLDER;
use crate::server::driver::{DriverSettings, Keep};

/// Memory of a connection, but for what it has not read yet.
const CONNECTION_BYTES: u64 = 64 << 10;

/// Keys in this table; a test holds the sample file to it. `clients_wanted` has no default.
#[cfg(test)]
pub(super) const KEYS: usize = 14;

/// Rounds of all federations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rounds {
    /// Clients wanted in a sum. Default: everyone who is there.
    pub clients_wanted: Option<u16>,
    /// Clients planned beyond those, in thousandths of them. Default 200.
    pub over_selection_permille: u32,
    /// How long a start waits for more clients after the last one came or went, once there are
    /// enough, in milliseconds. Default 2,000; four times as long at most.
    pub assembly_ms: u32,
    /// Wait before a failed round is tried again, in milliseconds; doubled each time. Default 500.
    pub retry_ms: u32,
    /// The longest such wait. Default 30,000.
    pub retry_ms_max: u32,
    /// Rounds that may fail for one goal before the federation waits for its operator. Default 8.
    pub failures_max: u32,
    /// Deadline of AdvertiseKeys, in milliseconds. Default 15,000.
    pub advertise_keys_ms: u32,
    /// Deadline of ShareKeys. Default 15,000.
    pub share_keys_ms: u32,
    /// Deadline of MaskedInput: local training and upload. Default 600,000.
    pub masked_input_ms: u32,
    /// Deadline of ConsistencyCheck. Default 30,000.
    pub consistency_check_ms: u32,
    /// Deadline of Unmasking. Default 120,000: clients that have signed a survivor set over a
    /// model never open another over it, so an abort here costs more than a wait.
    pub unmasking_ms: u32,
    /// How long a client whose connection went is waited for once all others have answered.
    /// Default 5,000.
    pub grace_ms: u32,
    /// Memory for vectors on their way, in bytes, over all rounds: the upload windows, what would
    /// take back unfinished uploads, and what many clients are sent at once. Connections, and what
    /// rounds keep of their clients' boxes, count too, up to half of it. Above it uploads are spooled
    /// to disk, and vectors read for each client anew. Default 256 MiB, at least twice
    /// `limits.upload_windows_bytes_total`.
    pub memory_bytes: u32,
    /// The newest model versions whose states are kept, and the newest results whose aggregates are.
    /// Version 0 is kept too; the others can't be exported any more. Default 8, at least 2.
    pub versions_kept: u32,
    /// The newest rounds and model versions that are listed: of those before them nothing is kept but
    /// what the audit log says. Default 1,000, at least `versions_kept` and 16.
    pub rounds_kept: u32,
}

impl Default for Rounds {
    fn default() -> Self {
        Self {
            clients_wanted: None,
            over_selection_permille: 200,
            assembly_ms: 2_000,
            retry_ms: 500,
            retry_ms_max: 30_000,
            failures_max: 8,
            advertise_keys_ms: 15_000,
            share_keys_ms: 15_000,
            masked_input_ms: 600_000,
            consistency_check_ms: 30_000,
            unmasking_ms: 120_000,
            grace_ms: 5_000,
            memory_bytes: 256 << 20,
            versions_kept: 8,
            rounds_kept: 1_000,
        }
    }
}

impl Rounds {
    pub(super) fn check(&self, limits: &Limits) -> Result<(), String> {
        const DAY_MS: u32 = 24 * 3600 * 1000;
        let memory_bytes_min = limits.upload_windows_bytes_total.saturating_mul(2);
        let ranges = [
            ("over_selection_permille", self.over_selection_permille, 0, 10_000),
            ("assembly_ms", self.assembly_ms, 0, DAY_MS),
            ("retry_ms", self.retry_ms, 1, DAY_MS),
            ("retry_ms_max", self.retry_ms_max, self.retry_ms, DAY_MS),
            ("failures_max", self.failures_max, 1, 1_000_000),
            ("advertise_keys_ms", self.advertise_keys_ms, 10, DAY_MS),
            ("share_keys_ms", self.share_keys_ms, 10, DAY_MS),
            ("masked_input_ms", self.masked_input_ms, 10, 7 * DAY_MS),
            ("consistency_check_ms", self.consistency_check_ms, 10, DAY_MS),
            ("unmasking_ms", self.unmasking_ms, 10, DAY_MS),
            ("grace_ms", self.grace_ms, 0, DAY_MS),
            ("memory_bytes", self.memory_bytes, memory_bytes_min, u32::MAX),
            ("versions_kept", self.versions_kept, 2, 1_000_000),
            ("rounds_kept", self.rounds_kept, self.versions_kept.max(16), 1_000_000),
        ];
        if self.clients_wanted.is_some_and(|wanted| wanted < 3) {
            return Err("`rounds.clients_wanted` must be at least 3".to_owned());
        }
        ranges.into_iter().try_for_each(|(key, value, min, max)| {
            within(&format!("rounds.{key}"), value, min, max)
        })
    }

    /// How the driver drives, with its spools in a folder.
    #[must_use]
    pub fn settings(&self, limits: &Limits, spool: PathBuf) -> DriverSettings {
        let ms = |ms: u32| Millis(u64::from(ms));
        let over = u16::try_from(self.over_selection_permille).unwrap_or(u16::MAX);
        let selection =
            Selection { clients_wanted: self.clients_wanted, over_selection_permille: over };
        let pace = Pace {
            selection,
            assembly: ms(self.assembly_ms),
            retry: ms(self.retry_ms),
            retry_max: ms(self.retry_ms_max),
            failures_max: self.failures_max,
        };
        let timing = Timing {
            advertise_keys: ms(self.advertise_keys_ms),
            share_keys: ms(self.share_keys_ms),
            masked_input: ms(self.masked_input_ms),
            consistency_check: ms(self.consistency_check_ms),
            unmasking: ms(self.unmasking_ms),
            grace: ms(self.grace_ms),
        };
        let windows = limits.upload_windows_bytes_total;
        let budget_bytes = u64::from(self.memory_bytes.saturating_sub(windows));
        let count = |count| usize::try_from(count).unwrap_or(usize::MAX);
        let keep = Keep { versions: count(self.versions_kept), rounds: count(self.rounds_kept) };
        let connection_bytes = CONNECTION_BYTES + u64::from(limits.idle_window_bytes);
        let holder = HOLDER.to_owned();
        DriverSettings { holder, budget_bytes, connection_bytes, keep, spool, pace, timing }
    }
}
