//! How many handshakes one address may ask for: a token bucket for each IPv4 address and each
//! IPv6 /64 (what one site gets), in a table of bounded size.
//!
//! The address of a first packet is easily forged, so whoever floods could use up the tokens of
//! somebody else. Each address therefore has two buckets. The first is for attempts that prove
//! nothing; once it is empty the address must show by Retry that it receives what is sent to it,
//! which costs the coordinator nothing to ask. The second is for attempts that have shown that, and
//! only its owner can empty it. An address for which the table has no room shares one entry with
//! all others of its kind.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Limits;

/// How often a full table is searched for entries that are not needed any more.
const SWEEP: Duration = Duration::from_secs(1);

/// What is done about an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Its handshake may begin.
    Admit,
    /// It must first prove its address.
    Prove,
    /// It has had its share for now.
    Refuse,
}

/// What is counted together: an IPv4 address, or the first 64 bits of an IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Site {
    V4([u8; 4]),
    V6([u16; 4]),
}

impl Site {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}

/// Tokens of one address, as they were at a moment.
#[derive(Debug, Clone, Copy)]
struct Buckets {
    unproven: f32,
    proven: f32,
    at: Instant,
}

/// The addresses that have asked for handshakes lately.
pub struct Addresses {
    burst: f32,
    per_second: f32,
    entries_max: usize,
    table: Mutex<Table>,
}

struct Table {
    entries: HashMap<Site, Buckets>,
    others: Buckets,
    swept: Instant,
}

impl Addresses {
    /// A table without entries.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let whole = |count: u32| f32::from(u16::try_from(count).unwrap_or(u16::MAX));
        let (burst, now) = (whole(limits.address_handshakes_burst), Instant::now());
        let others = Buckets { unproven: burst, proven: burst, at: now };
        Self {
            burst,
            per_second: whole(limits.address_handshakes_per_second),
            entries_max: limits.addresses_max as usize,
            table: Mutex::new(Table { entries: HashMap::new(), others, swept: now }),
        }
    }

    /// Judges an attempt from `address`, and charges for it if it is admitted. `is_proven`: the
    /// address was shown to be the sender's.
    pub fn judge(&self, address: IpAddr, is_proven: bool, now: Instant) -> Verdict {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let site = Site::of(address);
        if !table.entries.contains_key(&site) && table.entries.len() >= self.entries_max {
            self.sweep(&mut table, now);
        }
        let (known, len) = (table.entries.contains_key(&site), table.entries.len());
        let buckets = if known || len < self.entries_max {
            let full = Buckets { unproven: self.burst, proven: self.burst, at: now };
            table.entries.entry(site).or_insert(full)
        } else {
            &mut table.others
        };
        *buckets = self.refilled(*buckets, now);
        let bucket = if is_proven { &mut buckets.proven } else { &mut buckets.unproven };
        match (*bucket >= 1.0, is_proven) {
            (true, _) => {
                *bucket -= 1.0;
                Verdict::Admit
            }
            (false, false) => Verdict::Prove,
            (false, true) => Verdict::Refuse,
        }
    }

    fn refilled(&self, buckets: Buckets, now: Instant) -> Buckets {
        let gained = now.saturating_duration_since(buckets.at).as_secs_f32() * self.per_second;
        let filled = |tokens: f32| (tokens + gained).min(self.burst);
        Buckets { unproven: filled(buckets.unproven), proven: filled(buckets.proven), at: now }
    }

    /// An entry whose buckets are full again says no more than none.
    fn sweep(&self, table: &mut Table, now: Instant) {
        if now.saturating_duration_since(table.swept) < SWEEP {
            return;
        }
        table.swept = now;
        table.entries.retain(|_, buckets| {
            let Buckets { unproven, proven, .. } = self.refilled(*buckets, now);
            unproven < self.burst || proven < self.burst
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(burst: u32, per_second: u32, entries: u32) -> Addresses {
        Addresses::new(&Limits {
            address_handshakes_burst: burst,
            address_handshakes_per_second: per_second,
            addresses_max: entries,
            ..Limits::default()
        })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_burst_then_must_prove_itself_and_then_has_its_rate() {
        let (addresses, now) = (addresses(3, 2, 10), Instant::now());
        let from = ip("192.0.2.1");
        let judge = |proven, at| addresses.judge(from, proven, at);
        for _ in 0..3 {
            assert_eq!(judge(false, now), Verdict::Admit);
        }
        assert_eq!(judge(false, now), Verdict::Prove);
        for _ in 0..3 {
            assert_eq!(judge(true, now), Verdict::Admit, "forged packets did not use these up");
        }
        assert_eq!(judge(true, now), Verdict::Refuse);
        let later = now + Duration::from_millis(500);
        assert_eq!(judge(true, later), Verdict::Admit);
        assert_eq!(judge(true, later), Verdict::Refuse);
        assert_eq!(addresses.judge(ip("192.0.2.2"), true, now), Verdict::Admit);
    }

    #[test]
    fn one_ipv6_site_is_one_address_and_a_mapped_ipv4_address_is_the_ipv4_one() {
        let (addresses, now) = (addresses(1, 1, 10), Instant::now());
        assert_eq!(addresses.judge(ip("2001:db8:0:1::1"), true, now), Verdict::Admit);
        assert_eq!(addresses.judge(ip("2001:db8:0:1:ffff::2"), true, now), Verdict::Refuse);
        assert_eq!(addresses.judge(ip("2001:db8:0:2::1"), true, now), Verdict::Admit);
        assert_eq!(addresses.judge(ip("192.0.2.1"), true, now), Verdict::Admit);
        assert_eq!(addresses.judge(ip("::ffff:192.0.2.1"), true, now), Verdict::Refuse);
    }

    #[test]
    fn a_flood_from_ever_new_addresses_neither_grows_the_table_nor_shuts_out_known_ones() {
        let (addresses, now) = (addresses(2, 1, 100), Instant::now());
        let known = ip("192.0.2.1");
        assert_eq!(addresses.judge(known, true, now), Verdict::Admit);
        let flood = |at| {
            let judged = (0..10_000_u32)
                .map(|number| addresses.judge(IpAddr::from(number.to_be_bytes()), false, at));
            judged.filter(|verdict| *verdict == Verdict::Admit).count()
        };
        assert_eq!(flood(now), 99 + 2, "the rest of the table, and the share of all others");
        assert_eq!(addresses.table.lock().unwrap().entries.len(), 100);
        assert_eq!(addresses.judge(known, true, now), Verdict::Admit);
        let later = now + Duration::from_secs(5);
        assert_eq!(addresses.judge(ip("198.51.100.1"), false, later), Verdict::Admit);
        assert_eq!(addresses.table.lock().unwrap().entries.len(), 1, "the old ones were swept");
    }
}
