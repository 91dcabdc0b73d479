//! The end of a round: the masks come off, the result is applied, and its transcript announced.

use super::consistency::Survivors;
use super::core::{Core, Turn};
use super::machine::{Event, Stage};
use super::*;
use crate::transcript::transcript_root;

/// Waits until the masks are off.
pub(super) struct Removing {
    pub(super) survivors: Survivors,
    /// Root of ConsistencyCheck.
    pub(super) quorum: Digest,
}

/// Waits until the result is applied.
pub(super) struct Applying {
    /// All but the state and the transcript are known.
    published: Box<Published>,
    quorum: Digest,
}

impl Removing {
    pub(super) fn handle(self, core: &mut Core, event: Event, turn: &mut Turn<'_>) -> Stage {
        match event {
            Event::Unmasked(UnmaskOutcome::Clean(aggregate)) => self.apply(aggregate, turn),
            Event::Unmasked(UnmaskOutcome::Dirty) => {
                core.abort(AbortReason::MasksDidNotCancel, turn)
            }
            Event::Unmasked(UnmaskOutcome::KeysDiffer(client)) => {
                if let Some(index) = core.plan.index_of(client) {
                    core.expel(index, Fault::BadEncapsulation, turn);
                }
                core.abort(AbortReason::SeedNotRebuilt, turn)
            }
            _ => Stage::Removing(Box::new(self)),
        }
    }

    fn apply(self, aggregate: Digest, turn: &mut Turn<'_>) -> Stage {
        let plan = self.survivors.work.plan.clone();
        let survivors = u16::try_from(self.survivors.set.inputs.len()).unwrap_or(u16::MAX);
        let published = Box::new(Published {
            kind: plan.kind,
            model_version: plan.model_version,
            survivors,
            aggregate,
            state: Digest([0; 32]),
            transcript: Digest([0; 32]),
        });
        turn.push(Action::Apply { plan, aggregate, survivors });
        Stage::Applying(Applying { published, quorum: self.quorum })
    }
}

impl Applying {
    pub(super) fn handle(mut self, core: &mut Core, event: Event, turn: &mut Turn<'_>) -> Stage {
        let Event::Applied(state) = event else {
            return Stage::Applying(self);
        };
        self.published.state = state;
        self.published.transcript = transcript_root(&self.quorum, &self.published);
        core.finish(Outcome::Published(self.published), turn)
    }
}
