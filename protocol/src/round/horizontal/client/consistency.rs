//! ConsistencyCheck: this client signs the survivor set, once for a round and never again.

use std::collections::BTreeMap;
use std::sync::Arc;

use roundelay_crypto::secret::Seed;

use super::history::set_digest;
use super::unmask::Unmask;
use super::{Action, Core, Event, Seat, Turn};
use crate::error::{Refusal, Stage};
use crate::ids::RosterIndex;
use crate::message::{FromClient, InputCommit, SurvivorSet, SurvivorSignature};
use crate::plan::TrainingPlan;
use crate::round::horizontal::keys::Holding;
use crate::signed::Statement;
use crate::transcript::{TrainingContext, set_root};

/// Waits for the survivor set.
pub(super) struct Consistency {
    pub(super) seat: Seat,
    /// b_u.
    pub(super) self_mask: Seed,
    /// Shares of every member of A that is a neighbour, in a complete graph this client's own too.
    pub(super) holdings: BTreeMap<RosterIndex, Holding>,
    pub(super) context: TrainingContext,
    pub(super) plan: Box<TrainingPlan>,
    pub(super) commit: InputCommit,
}

impl Consistency {
    /// Streams the stored vector and commits to it; byte for byte the same each time.
    pub(super) fn upload(&self, turn: &mut Turn<'_>) {
        turn.actions.push(Action::Upload);
        turn.actions.push(Action::Send(FromClient::InputCommit(self.commit.clone())));
    }

    pub(super) fn survivors(
        self,
        core: &Core,
        set: Arc<SurvivorSet>,
        turn: &mut Turn<'_>,
    ) -> Result<Unmask, Refusal> {
        turn.history.rises(Stage::ConsistencyCheck, core.scope.round)?;
        let survivors = set.inputs.iter().filter_map(|(index, _)| self.seat.client_at(*index));
        let (kind, model, survivors) =
            (self.plan.kind, self.plan.model, survivors.collect::<Vec<_>>());
        turn.history.may_sign(kind, model, core.scope.round, &survivors)?;
        self.check(core, &set)?;
        let root = set_root(&self.context, &set);
        let statement = Statement::Survivors { context: &self.context, set: &root };
        let signature = core.scope.sign(&core.setup.identity, &statement);
        Event::met(survivors.iter().copied())
            .into_iter()
            .for_each(|event| turn.remember(core, event));
        turn.remember(core, Event::Signed { set: set_digest(&survivors) });
        turn.reply(FromClient::SurvivorSignature(SurvivorSignature { signature }));
        let Self { seat, self_mask, holdings, context, plan, .. } = self;
        Ok(Unmask { seat, self_mask, holdings, context, plan, set, root })
    }

    fn check(&self, core: &Core, set: &SurvivorSet) -> Result<(), Refusal> {
        let survivors: Vec<RosterIndex> = set.inputs.iter().map(|(index, _)| *index).collect();
        let sorted = survivors.is_sorted_by(|one, next| one < next);
        let active = &self.plan.active;
        let known = survivors.iter().all(|index| active.binary_search(index).is_ok());
        if !sorted || !known || !self.seat.is_allowed_set(core, &survivors) {
            return Err(Refusal::BadSurvivorSet);
        }
        let own = set.inputs.iter().find(|(index, _)| *index == self.seat.own);
        let (_, root) = own.ok_or(Refusal::NotInSurvivorSet)?;
        if *root != self.commit.root {
            return Err(Refusal::RootAltered);
        }
        let present = u16::try_from(survivors.len()).unwrap_or(u16::MAX);
        let required = self.seat.floors.survivors_min(active.len());
        if present < required {
            return Err(Refusal::TooFewSurvivors { present, required });
        }
        self.seat.require_neighbours(&survivors)
    }
}
