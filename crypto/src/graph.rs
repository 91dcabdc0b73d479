//! Who shares masks with whom, and how many of them it takes: graphs, thresholds, quorums.

use crate::digest::Digest;

pub use parameters::{Assurance, COMPLETE_CLIENTS_MAX, Parameters, ParametersError};

mod integer;
mod parameters;
mod sparse;

/// The graph of a round's clients: an edge is a pair of clients with a common mask.
/// Clients are numbered from zero, in the order of the roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    clients: u16,
    circle: Option<Circle>,
}

/// Clients on a circle; each is a neighbour of the `reach` next ones on either side: the Harary
/// graph H(2 · reach, n), of all graphs with that connectivity one with the fewest edges.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Circle {
    reach: u16,
    client_at: Vec<u16>,
    place_of: Vec<u16>,
}

/// Why there is no such graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{clients} clients on a circle have an even degree from 2 to {}, not {degree}",
    clients.saturating_sub(1) / 2 * 2
)]
pub struct DegreeError {
    /// n.
    pub clients: u16,
    /// As asked for.
    pub degree: u16,
}

impl Graph {
    /// Everybody with everybody: the only graph for a malicious coordinator.
    pub fn complete(clients: u16) -> Self {
        Self { clients, circle: None }
    }

    /// Everybody with `degree` others: clients on a circle in an order drawn from `seed`, each with
    /// the next degree / 2 on either side (SecAgg+, Bell et al. 2020, section 3.1, with the
    /// permutation instead of the edges drawn).
    ///
    /// The same three arguments give the same graph everywhere: the order is a Fisher-Yates shuffle
    /// by the 32-bit words of the digests of `seed` with 0, 1, 2, …, words that would favour some
    /// orders left out.
    pub fn sparse(seed: &[u8; 32], clients: u16, degree: u16) -> Result<Self, DegreeError> {
        if degree < 2 || degree >= clients || !degree.is_multiple_of(2) {
            return Err(DegreeError { clients, degree });
        }
        let client_at = shuffled(seed, clients);
        let mut places: Vec<(u16, u16)> = client_at.iter().copied().zip(0..clients).collect();
        places.sort_unstable();
        let place_of = places.into_iter().map(|(_, place)| place).collect();
        let circle = Circle { reach: degree / 2, client_at, place_of };
        Ok(Self { clients, circle: Some(circle) })
    }

    /// How many clients there are.
    pub fn clients(&self) -> u16 {
        self.clients
    }

    /// The neighbours of client `client`, in ascending order.
    pub fn neighbours(&self, client: u16) -> impl Iterator<Item = u16> + use<> {
        match &self.circle {
            None => (0..self.clients).filter(|other| *other != client).collect(),
            Some(circle) => circle.neighbours(client),
        }
        .into_iter()
    }
}

impl Circle {
    fn neighbours(&self, client: u16) -> Vec<u16> {
        let Some(place) = self.place_of.get(usize::from(client)) else { return Vec::new() };
        let (place, reach) = (usize::from(*place), usize::from(self.reach));
        // Once round and `reach` places back; the client itself stands in the middle.
        let start = place + self.client_at.len() - reach;
        let around = self.client_at.iter().cycle().skip(start % self.client_at.len());
        let mut found: Vec<u16> =
            around.take(2 * reach + 1).copied().filter(|other| *other != client).collect();
        found.sort_unstable();
        found
    }
}

fn shuffled(seed: &[u8; 32], clients: u16) -> Vec<u16> {
    let mut words = (0_u32..).flat_map(|block| {
        let digest = Digest::of("roundelay/graph", &[seed, &block.to_le_bytes()]);
        digest.0.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect::<Vec<_>>()
    });
    let mut order: Vec<u16> = (0..clients).collect();
    for last in (1..order.len()).rev() {
        let choices = last as u64 + 1;
        // The words below the largest multiple of `choices` fall on every choice equally often.
        let fair = (1 << 32) / choices * choices;
        let word = words.find(|word| u64::from(*word) < fair).map_or(0, u64::from);
        let chosen = usize::try_from(word % choices).unwrap_or(last);
        order.swap(last, chosen);
    }
    order
}

#[cfg(test)]
mod tests;
