//! Resuming a round from the records that were persisted: they are replayed through the same
//! transitions, in silence; then the stage asks again for what it still waits for.

use std::sync::Arc;

use super::advertise::AdvertiseKeys;
use super::core::{Core, Turn};
use super::machine::{Round, Stage};
use super::*;
use crate::round::horizontal::terms::{PlanError, Terms};

/// Why records do not make a round.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The first record is not the plan.
    #[error("the records of the round do not begin with its plan")]
    NoPlan,
    /// The plan does not fit the terms.
    #[error("the round was planned under another manifest: {0}")]
    OtherTerms(#[from] PlanError),
    /// A record has no place where it stands.
    #[error("record {0} of the round has no place where it stands")]
    Misplaced(usize),
}

impl Round {
    /// Resumes a round from its records, in the order in which they were persisted. Everybody is
    /// asked again for what the round waits for; the driver inputs `Lost` for whom it doesn't see.
    /// A round that was over is only finished again.
    ///
    /// # Errors
    /// The records are not those of a round under these terms.
    pub fn restore(
        terms: Arc<Terms>,
        timing: Timing,
        records: impl IntoIterator<Item = Record>,
        now: Time,
        actions: &mut Vec<Action>,
    ) -> Result<Self, RestoreError> {
        let mut records = records.into_iter().enumerate();
        let Some((_, Record::Planned(plan))) = records.next() else {
            return Err(RestoreError::NoPlan);
        };
        let floors = terms.check(&plan)?;
        let mut core = Core::new(terms, plan, floors, timing);
        let mut silence = Vec::new();
        let mut turn = Turn { now, actions: &mut silence };
        let mut stage = Stage::AdvertiseKeys(AdvertiseKeys::begin(&core, &mut turn));
        for (position, record) in records {
            let misplaced = RestoreError::Misplaced(position);
            if let Record::Finished(outcome) = record {
                actions.push(Action::Finish(outcome));
                return Ok(Self { core, stage: Stage::Finished });
            }
            stage = replay(stage, &mut core, record, &mut turn).ok_or(misplaced)?;
            turn.actions.clear();
        }
        let mut turn = Turn { now, actions };
        let stage = resume(stage, &mut core, &mut turn);
        Ok(Self { core, stage })
    }
}

fn replay(stage: Stage, core: &mut Core, record: Record, turn: &mut Turn<'_>) -> Option<Stage> {
    if let Record::Left(index, _) = &record {
        core.leave(*index);
    }
    match stage {
        Stage::AdvertiseKeys(stage) => stage.replay(core, record, turn),
        Stage::Drawing(stage) => stage.replay(core, record, turn),
        Stage::ShareKeys(stage) => stage.replay(core, record, turn),
        Stage::Opening(stage) => stage.replay(core, record, turn),
        Stage::MaskedInput(stage) => stage.replay(core, record, turn),
        Stage::ConsistencyCheck(stage) => stage.replay(core, record, turn),
        Stage::Unmasking(stage) => stage.replay(record),
        _ => None,
    }
}

fn resume(stage: Stage, core: &mut Core, turn: &mut Turn<'_>) -> Stage {
    match stage {
        Stage::AdvertiseKeys(stage) => stage.resume(core, turn),
        Stage::Drawing(stage) => stage.resume(core, turn),
        Stage::ShareKeys(stage) => stage.resume(core, turn),
        Stage::Opening(stage) => stage.resume(core, turn),
        Stage::MaskedInput(stage) => stage.resume(core, turn),
        Stage::ConsistencyCheck(stage) => stage.resume(core, turn),
        Stage::Unmasking(stage) => stage.resume(core, turn),
        stage => stage,
    }
}
