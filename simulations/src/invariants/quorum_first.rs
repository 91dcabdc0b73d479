//! No client reveals a share before a quorum has signed the survivor set, and none outside the set
//! reveals anything (Bonawitz et al. 2017, the consistency round; horizontal.md, Unmasking).

use std::collections::{BTreeMap, BTreeSet};

use roundelay_protocol::ids::RoundNumber;
use roundelay_protocol::message::FromClient;

use super::{Invariant, Scene, ensure};
use crate::network::ClientNumber;
use crate::watch::Observed;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct QuorumFirst {
    signed: BTreeMap<RoundNumber, BTreeSet<ClientNumber>>,
}

impl Invariant for QuorumFirst {
    fn name(&self) -> &'static str {
        "quorum_first"
    }

    fn observe(&mut self, scene: &Scene<'_>, seen: &Observed<'_>) -> Result<(), String> {
        let Observed::Said { client, round, message } = seen else { return Ok(()) };
        match message {
            FromClient::SurvivorSignature(_) => {
                self.signed.entry(*round).or_default().insert(*client);
                Ok(())
            }
            FromClient::Reveal(reveal) => {
                let shares = (reveal.self_mask_shares.len(), reveal.key_shares.len());
                self.reveals(scene, *client, *round, shares)
            }
            _ => Ok(()),
        }
    }
}

impl QuorumFirst {
    fn reveals(
        &self,
        scene: &Scene<'_>,
        client: ClientNumber,
        round: RoundNumber,
        (of_survivors, of_dropouts): (usize, usize),
    ) -> Result<(), String> {
        let unseen = || format!("c{client} reveals shares of round {round}, which has no set");
        let shown = scene.shown.round(round).ok_or_else(unseen)?;
        let cohort = shown.roster.as_ref().ok_or_else(unseen)?.cohort.len();
        let active = shown.training.as_ref().ok_or_else(unseen)?.active.len();
        let survivors = shown.survivors().ok_or_else(unseen)?;
        let floors = scene.population.terms().floors(cohort).map_err(|error| error.to_string())?;
        let (quorum, signed) = (usize::from(floors.quorum()), self.signed.get(&round));
        let signatures = signed.map_or(0, BTreeSet::len);
        ensure(signatures >= quorum, || {
            format!("c{client} reveals in round {round} with {signatures} signatures of {quorum}")
        })?;
        let own = scene.population.residents()[client].id;
        let allowed = survivors.contains(&own) && signed.is_some_and(|set| set.contains(&client));
        ensure(allowed, || format!("c{client} reveals in round {round} and did not sign its set"))?;
        let (all, degree) = (of_survivors + of_dropouts, usize::from(floors.degree()));
        let computed = if degree + 1 == cohort {
            of_survivors == survivors.len() && all == active
        } else {
            // Of its neighbours, whom the beacon drew.
            of_survivors <= survivors.len() && all <= degree.min(active)
        };
        ensure(computed, || format!("c{client} reveals other shares than the set of round {round}"))
    }
}
