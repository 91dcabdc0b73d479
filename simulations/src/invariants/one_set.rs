//! Nothing is opened for two different sets: one survivor set is shown for a round, whatever
//! crashes in between, and over one (kind, model) no client's contribution is in two sets of which
//! anything is revealed, unless they are the same (horizontal.md, "Set rule"; what two would reveal:
//! So et al. 2021, Pasquini et al. 2022).

use std::collections::{BTreeMap, BTreeSet};

use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::{ClientId, RoundNumber};
use roundelay_protocol::message::{FromClient, ToClient};
use roundelay_protocol::plan::PlanKind;

use super::{Invariant, Scene, ensure};
use crate::watch::Observed;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct OneSet {
    /// The survivors of every round over a model in which somebody revealed shares.
    revealed: BTreeMap<(PlanKind, Digest), BTreeMap<RoundNumber, BTreeSet<ClientId>>>,
}

impl Invariant for OneSet {
    fn name(&self) -> &'static str {
        "one_set"
    }

    fn observe(&mut self, scene: &Scene<'_>, seen: &Observed<'_>) -> Result<(), String> {
        match seen {
            Observed::Told { round, message: ToClient::SurvivorSet(set), .. } => {
                let first = scene.shown.round(*round).and_then(|one| one.set.as_ref());
                ensure(first == Some(set), || format!("round {round} shows a second survivor set"))
            }
            Observed::Said { round, message: FromClient::Reveal(_), .. } => {
                self.reveal(scene, *round)
            }
            _ => Ok(()),
        }
    }
}

impl OneSet {
    fn reveal(&mut self, scene: &Scene<'_>, round: RoundNumber) -> Result<(), String> {
        let unseen = || format!("shares of round {round} are revealed without a plan and a set");
        let subject = scene.shown.subject(round).ok_or_else(unseen)?;
        let set = scene.shown.round(round).and_then(|one| one.survivors()).ok_or_else(unseen)?;
        let set: BTreeSet<ClientId> = set.into_iter().collect();
        let sets = self.revealed.entry(subject).or_default();
        let collides = |known: &BTreeSet<ClientId>| *known != set && !known.is_disjoint(&set);
        let twice = sets.iter().find(|(other, known)| **other != round && collides(known));
        let twice = twice.map_or(round, |(other, _)| *other);
        sets.insert(round, set);
        ensure(twice == round, || {
            format!("rounds {twice} and {round} reveal shares over one model for a common client")
        })
    }
}
