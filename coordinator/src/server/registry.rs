//! The connections that are open, by client: for quotas, for closing those of a revoked client,
//! and for telling everyone that the coordinator stops.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use roundelay_protocol::close::CloseCode;
use roundelay_protocol::ids::TenantId;
use roundelay_protocol::session::ToClient;

use super::closing::Closing;
use super::driver::Outbox;
use super::post::Post;
use crate::authority::Peer;

/// Open connections of enrolled clients, at most one each.
pub struct Registry {
    per_tenant_max: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    connections: BTreeMap<Peer, (u64, Arc<Post>)>,
    per_tenant: BTreeMap<TenantId, usize>,
    next: u64,
}

/// A connection's place in the registry; it leaves when this is dropped.
pub struct Entry {
    registry: Arc<Registry>,
    peer: Peer,
    number: u64,
}

impl Registry {
    /// A registry that takes so many connections of one tenant.
    #[must_use]
    pub fn new(per_tenant_max: u32) -> Arc<Self> {
        Arc::new(Self { per_tenant_max: per_tenant_max as usize, open: Mutex::default() })
    }

    /// Takes a connection in. An older one of the same client is closed: it is what a client that
    /// lost its network or was restarted has left behind.
    pub fn enter(self: &Arc<Self>, peer: &Peer, connection: Arc<Post>) -> Result<Entry, Closing> {
        let mut open = self.lock();
        let of_tenant = open.per_tenant.get(&peer.tenant).copied().unwrap_or(0);
        let replaces = open.connections.contains_key(peer);
        if of_tenant >= self.per_tenant_max && !replaces {
            let reason = format!("tenant {} has {of_tenant} connections already", peer.tenant);
            return Err(Closing::new(CloseCode::Busy, reason));
        }
        let number = open.next;
        open.next += 1;
        let older = open.connections.insert(peer.clone(), (number, connection));
        if let Some((_, older)) = older {
            older.connection().close(CloseCode::Replaced, "the client has connected anew");
        } else {
            *open.per_tenant.entry(peer.tenant.clone()).or_default() += 1;
        }
        Ok(Entry { registry: Arc::clone(self), peer: peer.clone(), number })
    }

    /// Closes a client's connection; false if it has none.
    pub fn close(&self, peer: &Peer, code: CloseCode, reason: &str) -> bool {
        let connection = self.lock().connections.get(peer).map(|(_, held)| Arc::clone(held));
        let found = connection.is_some();
        if let Some(held) = connection {
            held.connection().close(code, reason);
        }
        found
    }

    /// Whether a client is connected now.
    #[must_use]
    pub fn is_open(&self, peer: &Peer) -> bool {
        self.lock().connections.contains_key(peer)
    }

    /// Open connections.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().connections.len()
    }

    /// Whether nobody is connected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends a notice to everyone; says how many could be told.
    pub fn notify_all(&self, notice: impl Fn() -> ToClient) -> usize {
        let held: Vec<_> =
            self.lock().connections.values().map(|(_, held)| Arc::clone(held)).collect();
        held.iter().filter(|held| held.send(notice())).count()
    }

    fn leave(&self, peer: &Peer, number: u64) {
        let mut open = self.lock();
        if open.connections.get(peer).is_none_or(|(held, _)| *held != number) {
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
        self.registry.leave(&self.peer, self.number);
    }
}
