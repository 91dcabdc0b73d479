//! What clients may have in flight for their uploads: one fixed budget, shared by all connections.
//!
//! An upload that is being read has a share of the budget, the same for each, and at most what one
//! upload may have. It grows while there is room and is taken back bit by bit when others come, and
//! towards the upload's end, when the rest is allowed already. Nothing that a client was allowed can
//! be called back: it counts until as many bytes have been read behind it. So the sum over all
//! clients never exceeds the budget, however many upload and whatever they send; each connection's
//! idle window comes on top. An upload beyond the budget is not refused, it goes on with the idle
//! window alone; and one that waits for its turn is not read and has no share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::transport::Connection;
use crate::config::Limits;

#[cfg(test)]
mod tests;

/// A share is changed by no less: each change costs the peer a frame.
const STEP_BYTES: u64 = 64 << 10;

/// The budget of upload windows, shared by all connections.
#[derive(Clone)]
pub struct Windows(Arc<Shared>);

struct Shared {
    total: u64,
    idle: u32,
    /// Most bytes of one connection beyond its idle window.
    share_max: u64,
    budget: Mutex<Budget>,
}

struct Budget {
    free: u64,
    /// Uploads that are being read.
    uploads: u64,
}

/// What one connection holds of the budget. Dropped with the connection, it gives all of it back.
pub struct Account {
    windows: Windows,
    connection: Arc<dyn Connection>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// Bytes that its uploads have still to bring.
    missing: u64,
    /// The window beyond the idle one.
    share: u64,
    /// Taken back from the share, and not covered yet by bytes that were read.
    owed: u64,
}

/// An upload that is being read.
pub struct Reading {
    account: Arc<Account>,
    missing: u64,
}

impl Windows {
    /// The budget that the limits set.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let total = u64::from(limits.upload_windows_bytes_total);
        let wide = limits.upload_window_bytes.saturating_sub(limits.idle_window_bytes);
        Self(Arc::new(Shared {
            total,
            idle: limits.idle_window_bytes,
            share_max: u64::from(wide),
            budget: Mutex::new(Budget { free: total, uploads: 0 }),
        }))
    }

    /// The account of a connection that has its idle window.
    #[must_use]
    pub fn account(&self, connection: Arc<dyn Connection>) -> Arc<Account> {
        Arc::new(Account { windows: self.clone(), connection, held: Mutex::default() })
    }

    /// Bytes that no connection holds.
    #[cfg(test)]
    pub(super) fn free(&self) -> u64 {
        lock(&self.0.budget).free
    }
}

impl Account {
    /// Begins to read an upload of so many bytes.
    #[must_use]
    pub fn read(self: &Arc<Self>, bytes: u64) -> Reading {
        let mut held = lock(&self.held);
        held.missing = held.missing.saturating_add(bytes);
        lock(&self.windows.0.budget).uploads += 1;
        self.balance(&mut held);
        Reading { account: Arc::clone(self), missing: bytes }
    }

    /// Brings the share to what it is to be now.
    fn balance(&self, held: &mut Held) {
        let shared = &*self.windows.0;
        let mut budget = lock(&shared.budget);
        let even = shared.total / budget.uploads.max(1);
        // The idle window brings the end of an upload by itself.
        let needed = held.missing.saturating_sub(u64::from(shared.idle));
        let wanted = even.min(shared.share_max).min(needed);
        if wanted < held.share && (held.share - wanted >= STEP_BYTES || wanted == 0) {
            held.owed += held.share - wanted;
            held.share = wanted;
        } else if wanted > held.share {
            let more = (wanted - held.share).min(budget.free);
            if more < STEP_BYTES.min(wanted - held.share) {
                return;
            }
            budget.free -= more;
            held.share += more;
        } else {
            return;
        }
        let window = u64::from(shared.idle) + held.share;
        self.connection.allow_in_flight(u32::try_from(window).unwrap_or(u32::MAX));
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let held = self.held.get_mut().unwrap_or_else(PoisonError::into_inner);
        lock(&self.windows.0.budget).free += held.share + held.owed;
    }
}

impl Reading {
    /// So many bytes of the upload were read.
    pub fn took(&mut self, bytes: usize) {
        let (account, bytes) = (&self.account, bytes as u64);
        let mut held = lock(&account.held);
        let expected = bytes.min(self.missing);
        self.missing -= expected;
        held.missing -= expected;
        let covered = bytes.min(held.owed);
        held.owed -= covered;
        lock(&account.windows.0.budget).free += covered;
        account.balance(&mut held);
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut held = lock(&self.account.held);
        held.missing -= self.missing;
        lock(&self.account.windows.0.budget).uploads -= 1;
        self.account.balance(&mut held);
    }
}

/// An account is locked before the budget.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
