//! Who is planned for a round: a union of the manifest's fixed groups, drawn by a seed.
//!
//! Fixed groups keep an observer of several releases from isolating a client by taking them apart
//! (So et al. 2021). A group is planned whole, absent members included: they cost a higher
//! threshold, so a group with nobody there is left out, and a group with few is left out where the
//! floors could not be reached with it. *Over-selection* plans more clients than are wanted, so
//! that dropouts leave enough.

use std::collections::BTreeSet;

use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::ClientId;
use roundelay_protocol::round::horizontal::terms::Terms;

/// How many clients a round takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Selection {
    /// Clients wanted in the sum; none takes everyone who is there.
    pub clients_wanted: Option<u16>,
    /// Clients planned beyond those, in thousandths of them.
    pub over_selection_permille: u16,
}

/// A group with what is there of it.
struct Group {
    clients: Vec<ClientId>,
    ready: usize,
}

impl Selection {
    /// A cohort in which enough clients are `ready` to reach the floors, without any of the
    /// clients in `spent`; none if there is no such union of groups. The same `seed` draws the
    /// same groups.
    ///
    /// Whoever is not in it takes the result over from those who are, and trusts no fewer than c + 1
    /// of the whole federation: a cohort that could leave fewer would shut everyone else out for
    /// good. Only where some are spent already do the others go on by themselves.
    #[must_use]
    pub fn cohort(
        &self,
        terms: &Terms,
        ready: &BTreeSet<ClientId>,
        spent: &BTreeSet<ClientId>,
        seed: &Digest,
    ) -> Option<BTreeSet<ClientId>> {
        let mut groups = drawn(candidates(terms, ready, spent), seed);
        let can_be_believed = |clients| !spent.is_empty() || leaves_attesters(terms, clients);
        if let Some(wanted) = self.planned() {
            keep_enough(&mut groups, wanted, can_be_believed);
        }
        loop {
            let cohort: BTreeSet<_> =
                groups.iter().flat_map(|group| group.clients.iter().copied()).collect();
            if cohort.is_empty() {
                return None;
            }
            if can_be_believed(cohort.len()) && reaches_floors(terms, &cohort, ready) {
                return Some(cohort);
            }
            remove_emptiest(&mut groups);
        }
    }

    fn planned(&self) -> Option<usize> {
        let wanted = usize::from(self.clients_wanted?);
        Some(wanted + (wanted * usize::from(self.over_selection_permille)).div_ceil(1000))
    }
}

/// Whether those of the cohort who are ready could make a survivor set.
#[must_use]
pub fn reaches_floors(
    terms: &Terms,
    cohort: &BTreeSet<ClientId>,
    ready: &BTreeSet<ClientId>,
) -> bool {
    let present: BTreeSet<ClientId> = cohort.intersection(ready).copied().collect();
    // Under `whole_groups` a group with an absent member cannot be in a survivor set at all.
    let counted = if terms.rules().whole_groups {
        terms.groups().whole(&present).len()
    } else {
        present.len()
    };
    let floors = terms.floors(cohort.len());
    floors.is_ok_and(|floors| counted >= usize::from(floors.members_min()))
}

/// Whether every survivor set of such a cohort has enough members for the others to believe them.
fn leaves_attesters(terms: &Terms, clients: usize) -> bool {
    let floors = terms.floors(clients);
    floors.is_ok_and(|floors| usize::from(floors.members_min()) >= terms.attesters_min())
}

fn candidates(terms: &Terms, ready: &BTreeSet<ClientId>, spent: &BTreeSet<ClientId>) -> Vec<Group> {
    let counted = |clients: Vec<ClientId>| {
        let ready = clients.iter().filter(|client| ready.contains(client)).count();
        Group { clients, ready }
    };
    let free = |group: &Group| {
        group.ready > 0 && !group.clients.iter().any(|client| spent.contains(client))
    };
    terms.groups().to_vec().into_iter().map(counted).filter(free).collect()
}

/// In the order of a lot for each group.
fn drawn(mut groups: Vec<Group>, seed: &Digest) -> Vec<Group> {
    groups.sort_by_cached_key(|group| {
        let first = group.clients.first().map_or([0; 32], |client| client.0.0);
        Digest::of("roundelay/selection/lot", &[&seed.0, &first])
    });
    groups
}

/// Drops the groups drawn last once enough clients are there, and those that are planned are enough
/// to be believed.
fn keep_enough(groups: &mut Vec<Group>, wanted: usize, can_be_believed: impl Fn(usize) -> bool) {
    let (mut there, mut planned) = (0, 0);
    groups.retain(|group| {
        let needed = there < wanted || !can_be_believed(planned);
        if needed {
            there += group.ready;
            planned += group.clients.len();
        }
        needed
    });
}

/// Removes the group of which the smallest share is there; of equals, the one drawn last.
fn remove_emptiest(groups: &mut Vec<Group>) {
    let share = |group: &Group| group.ready * 1_000_000 / group.clients.len().max(1);
    let emptiest = (0..groups.len()).rev().min_by_key(|&at| share(&groups[at]));
    if let Some(at) = emptiest {
        groups.remove(at);
    }
}

#[cfg(test)]
mod tests;
