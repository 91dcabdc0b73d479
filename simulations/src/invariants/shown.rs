//! The plans and sets of rounds as they were shown: what several invariants look up.

use std::collections::BTreeMap;
use std::sync::Arc;

use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::{ClientId, RoundNumber};
use roundelay_protocol::message::{SurvivorSet, ToClient};
use roundelay_protocol::plan::{PlanKind, RosterPlan, TrainingPlan};

use crate::watch::Observed;

/// All rounds that the coordinator has spoken of.
#[derive(Debug, Default)]
pub struct Shown {
    rounds: BTreeMap<RoundNumber, Round>,
}

/// One of them, as it was shown first.
#[derive(Debug, Default)]
pub struct Round {
    /// Its roster plan.
    pub roster: Option<Box<RosterPlan>>,
    /// Its training plan.
    pub training: Option<Box<TrainingPlan>>,
    /// Its survivor set.
    pub set: Option<Arc<SurvivorSet>>,
}

impl Shown {
    /// Takes in what the coordinator tells.
    pub fn take(&mut self, seen: &Observed<'_>) {
        let Observed::Told { round, message, .. } = seen else { return };
        let round = self.rounds.entry(*round).or_default();
        match message {
            ToClient::RosterPlan(plan) if round.roster.is_none() => {
                round.roster = Some(plan.clone());
            }
            ToClient::TrainingPlan(plan) if round.training.is_none() => {
                round.training = Some(plan.clone());
            }
            ToClient::SurvivorSet(set) if round.set.is_none() => round.set = Some(Arc::clone(set)),
            _ => {}
        }
    }

    /// A round.
    #[must_use]
    pub fn round(&self, round: RoundNumber) -> Option<&Round> {
        self.rounds.get(&round)
    }

    /// What the set rule counts by: kind and model of a round.
    #[must_use]
    pub fn subject(&self, round: RoundNumber) -> Option<(PlanKind, Digest)> {
        let plan = self.round(round)?.training.as_ref()?;
        Some((plan.kind, plan.model))
    }
}

impl Round {
    /// The clients of the survivor set.
    #[must_use]
    pub fn survivors(&self) -> Option<Vec<ClientId>> {
        let (roster, set) = (self.roster.as_ref()?, self.set.as_ref()?);
        set.inputs.iter().map(|(index, _)| roster.client_at(*index)).collect()
    }
}
