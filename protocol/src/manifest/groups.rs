//! Fixed groups: a cohort is a union of them, so that no combination of the sums of several model
//! versions isolates fewer clients than one group (So et al. 2023).

use std::collections::{BTreeMap, BTreeSet};

use super::Manifest;
use crate::ids::ClientId;

/// The fixed groups of a manifest: a pure function of its member list and rules.
///
/// There are as many as there can be if each is to be a possible cohort by itself, which makes
/// every union of them a possible cohort; their sizes differ by at most one. Clients are dealt to
/// them in the order of tenant and id, which spreads the clients of one tenant as evenly as it can,
/// so that no group is one tenant's alone where that can be avoided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Groups {
    of: BTreeMap<ClientId, usize>,
    sizes: Vec<usize>,
}

impl Manifest {
    /// The fixed groups.
    #[must_use]
    pub fn groups(&self) -> Groups {
        let clients: Vec<_> = self
            .members
            .iter()
            .flat_map(|member| {
                let of_tenant: BTreeSet<_> = member
                    .clients
                    .iter()
                    .map(|identity| ClientId(identity.fingerprint()))
                    .collect();
                of_tenant
            })
            .collect();
        let size_min = self.rules.cohort_min(clients.len()).unwrap_or(clients.len());
        let count = (clients.len() / size_min.max(1)).max(1);
        let mut sizes = vec![0; count];
        let mut of = BTreeMap::new();
        for (client, group) in clients.into_iter().zip((0..count).cycle()) {
            if let Some(size) = sizes.get_mut(group) {
                *size += 1;
            }
            of.insert(client, group);
        }
        Groups { of, sizes }
    }
}

impl Groups {
    /// The groups, each sorted by id.
    #[must_use]
    pub fn to_vec(&self) -> Vec<Vec<ClientId>> {
        let mut groups = vec![Vec::new(); self.sizes.len()];
        for (client, group) in &self.of {
            if let Some(group) = groups.get_mut(*group) {
                group.push(*client);
            }
        }
        groups
    }

    /// Whether the clients are a union of groups.
    #[must_use]
    pub fn is_union(&self, clients: impl IntoIterator<Item = ClientId>) -> bool {
        let clients: BTreeSet<_> = clients.into_iter().collect();
        self.whole(&clients) == clients
    }

    /// Those of the clients whose whole group is among them.
    #[must_use]
    pub fn whole(&self, clients: &BTreeSet<ClientId>) -> BTreeSet<ClientId> {
        let group_of = |client: &ClientId| self.of.get(client).copied();
        let mut present = vec![0; self.sizes.len()];
        for group in clients.iter().filter_map(group_of) {
            if let Some(count) = present.get_mut(group) {
                *count += 1;
            }
        }
        let is_whole = |group: usize| present.get(group) == self.sizes.get(group);
        clients.iter().copied().filter(|client| group_of(client).is_some_and(is_whole)).collect()
    }
}
