//! Who holds whose shares and has a mask with whom: everybody in a complete graph; in a sparse one the
//! neighbours that a beacon draws, which is made of a nonce of every client. Both halves use this.

use roundelay_crypto::digest::Digest;
use roundelay_crypto::graph::{DegreeError, Graph};

use crate::codec;
use crate::ids::{ClientId, RosterIndex};
use crate::plan::RosterPlan;
use crate::signed::Scope;

/// The graph of a round.
#[derive(Debug)]
pub(super) enum Neighbours {
    /// Everybody with everybody; everybody holds a share of its own seeds too.
    Complete,
    /// Drawn; nobody holds a share of its own seeds.
    Sparse(Graph),
}

impl Neighbours {
    /// Drawn from the root of AdvertiseKeys, which covers all nonces.
    pub(super) fn drawn(plan: &RosterPlan, beacon: &Digest) -> Result<Self, DegreeError> {
        let seed = Digest::of("roundelay/round/graph", &[&beacon.0]);
        let clients = u16::try_from(plan.cohort.len()).unwrap_or(u16::MAX);
        Graph::sparse(&seed.0, clients, plan.degree).map(Self::Sparse)
    }

    /// A client's neighbours, in roster order; none where everybody is one.
    pub(super) fn around(&self, client: RosterIndex) -> Option<Vec<RosterIndex>> {
        match self {
            Self::Complete => None,
            Self::Sparse(graph) => Some(graph.neighbours(client.0).map(RosterIndex).collect()),
        }
    }

    /// Those of the members, which stand in roster order, to whom a client deals: its neighbours
    /// without itself.
    pub(super) fn among(&self, client: RosterIndex, members: &[RosterIndex]) -> Vec<RosterIndex> {
        match self.around(client) {
            None => members.iter().copied().filter(|other| *other != client).collect(),
            Some(mut around) => {
                around.retain(|other| members.binary_search(other).is_ok());
                around
            }
        }
    }
}

/// Where a holder's shares lie on a dealer's polynomials, from 1, since the secret is at 0: by its
/// index in a complete graph, by its place among the dealer's neighbours in a sparse one.
pub(super) fn place(around: Option<&[RosterIndex]>, holder: RosterIndex) -> Option<u16> {
    let index = match around {
        None => holder.0,
        Some(around) => u16::try_from(around.binary_search(&holder).ok()?).ok()?,
    };
    Some(index.saturating_add(1))
}

/// What binds a client to its nonce before anyone knows it. A nonce is 32 random bytes, so it hides.
pub(super) fn draw_commitment(scope: &Scope, client: ClientId, nonce: &[u8; 32]) -> Digest {
    Digest::of("roundelay/round/nonce-commitment", &[&codec::canonical(scope), &client.0.0, nonce])
}
