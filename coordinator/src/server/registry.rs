//! The connections that are open, by client: for quotas, for closing those of a revoked client,
//! and for telling everyone that the coordinator stops.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use roundelay_protocol::close::CloseCode;
use roundelay_protocol::ids::TenantId;
use roundelay_protocol::session::ToClient;

use super::admission::Purpose;
use super::closing::Closing;
use super::driver::Outbox;
use super::post::Post;
use crate::authority::Peer;

/// Open connections of enrolled clients, at most one each for a purpose.
pub struct Registry {
    per_tenant_max: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    connections: BTreeMap<Peer, BTreeMap<Purpose, (u64, Arc<Post>)>>,
    /// Clients with a connection.
    per_tenant: BTreeMap<TenantId, usize>,
    next: u64,
}

/// A connection's place in the registry; it leaves when this is dropped.
pub struct Entry {
    registry: Arc<Registry>,
    peer: Peer,
    purpose: Purpose,
    number: u64,
}

impl Registry {
    /// A registry that takes in so many clients of one tenant.
    #[must_use]
    pub fn new(per_tenant_max: u32) -> Arc<Self> {
        Arc::new(Self { per_tenant_max: per_tenant_max as usize, open: Mutex::default() })
    }

    /// Takes a connection in. An older one of the same client for the same purpose is closed: it is
    /// what a client that lost its network or was restarted has left behind.
    pub fn enter(
        self: &Arc<Self>,
        peer: &Peer,
        purpose: Purpose,
        connection: Arc<Post>,
    ) -> Result<Entry, Closing> {
        let mut open = self.lock();
        let of_tenant = open.per_tenant.get(&peer.tenant).copied().unwrap_or(0);
        let is_known = open.connections.contains_key(peer);
        if of_tenant >= self.per_tenant_max && !is_known {
            let reason = format!("tenant {} has {of_tenant} connections already", peer.tenant);
            return Err(Closing::new(CloseCode::Busy, reason));
        }
        let number = open.next;
        open.next += 1;
        if !is_known {
            *open.per_tenant.entry(peer.tenant.clone()).or_default() += 1;
        }
        let held = open.connections.entry(peer.clone()).or_default();
        if let Some((_, older)) = held.insert(purpose, (number, connection)) {
            older.connection().close(CloseCode::Replaced, "the client has connected anew");
        }
        Ok(Entry { registry: Arc::clone(self), peer: peer.clone(), purpose, number })
    }

    /// Closes a client's connections; false if it has none.
    pub fn close(&self, peer: &Peer, code: CloseCode, reason: &str) -> bool {
        let held: Vec<_> = {
            let open = self.lock();
            let held = open.connections.get(peer).into_iter().flat_map(BTreeMap::values);
            held.map(|(_, held)| Arc::clone(held)).collect()
        };
        held.iter().for_each(|held| held.connection().close(code, reason));
        !held.is_empty()
    }

    /// Whether a client's daemon is connected now.
    #[must_use]
    pub fn is_open(&self, peer: &Peer) -> bool {
        let open = self.lock();
        open.connections.get(peer).is_some_and(|held| held.contains_key(&Purpose::Rounds))
    }

    /// Open connections.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().connections.values().map(BTreeMap::len).sum()
    }

    /// Whether nobody is connected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends a notice to everyone; says how many could be told.
    pub fn notify_all(&self, notice: impl Fn() -> ToClient) -> usize {
        let held: Vec<_> = {
            let open = self.lock();
            let held = open.connections.values().flat_map(BTreeMap::values);
            held.map(|(_, held)| Arc::clone(held)).collect()
        };
        held.iter().filter(|held| held.send(notice())).count()
    }

    fn leave(&self, peer: &Peer, purpose: Purpose, number: u64) {
        let mut open = self.lock();
        let Some(held) = open.connections.get_mut(peer) else { return };
        if held.get(&purpose).is_some_and(|(held, _)| *held == number) {
            held.remove(&purpose);
        }
        if !held.is_empty() {
            return;
        }
        open.connections.remove(peer);
        if let Some(left) = open.per_tenant.get_mut(&peer.tenant) {
            *left -= 1;
            if *left == 0 {
                open.per_tenant.remove(&peer.tenant);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.registry.leave(&self.peer, self.purpose, self.number);
    }
}
