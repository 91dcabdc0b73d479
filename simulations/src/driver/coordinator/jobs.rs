//! The coordinator's heavy work: the sum is sealed and stored, the masks come off, the server
//! optimiser steps. A job is done at once, at the moment at which its result would be there.

use std::sync::Arc;

use roundelay_coordinator::accumulator::{Accumulator, Shape, unmask};
use roundelay_crypto::digest::Digest;
use roundelay_protocol::error::AbortReason;
use roundelay_protocol::ids::{ClientId, RoundNumber};
use roundelay_protocol::lineage::{Advanced, State};
use roundelay_protocol::metrics::Metrics;
use roundelay_protocol::plan::{PlanKind, TrainingPlan};
use roundelay_protocol::round::horizontal::coordinator::{UnmaskOutcome, UnmaskPlan};
use roundelay_protocol::transcript::aggregate_digest;

use super::{Coordinator, Turn};
use crate::bug::Bug;
use crate::store::Stored;
use crate::watch::Observed;

/// Work that takes a while.
#[derive(Debug)]
pub enum Job {
    /// Seal and store the sum over exactly these clients.
    StoreSum(Arc<Accumulator>, Vec<ClientId>),
    /// Take the masks off a stored sum.
    Unmask(Box<UnmaskPlan>),
    /// Step from an aggregate to the next state.
    Apply {
        /// What the round computes.
        plan: Box<TrainingPlan>,
        /// The aggregate.
        aggregate: Arc<[u8]>,
        /// Clients in it.
        survivors: u16,
    },
}

/// What a job gave.
pub(super) enum Done {
    Stored(Digest),
    Unmasked(UnmaskOutcome, Arc<[u8]>),
    Applied { state: Arc<State>, stored: Stored, metrics: Option<Metrics> },
    Failed(AbortReason),
}

impl Coordinator {
    pub(super) fn run(&mut self, round: RoundNumber, job: Job, turn: &mut Turn<'_>) -> Done {
        match job {
            Job::StoreSum(accumulator, clients) => self.store_sum(&accumulator, &clients),
            Job::Unmask(plan) => self.take_masks_off(round, *plan, turn),
            Job::Apply { plan, aggregate, survivors } => self.apply(&plan, &aggregate, survivors),
        }
    }

    fn store_sum(&mut self, accumulator: &Accumulator, clients: &[ClientId]) -> Done {
        match accumulator.seal(clients) {
            Ok(mut sum) => {
                if self.bug == Some(Bug::DoubleCount) {
                    // As if one word of an upload had been added once more.
                    sum.first_mut().into_iter().for_each(|byte| *byte = byte.wrapping_add(3));
                }
                Done::Stored(self.rows.put(&sum))
            }
            Err(_) => Done::Failed(AbortReason::Internal),
        }
    }

    fn take_masks_off(
        &mut self,
        round: RoundNumber,
        plan: UnmaskPlan,
        turn: &mut Turn<'_>,
    ) -> Done {
        let Some(stored) = self.rows.blob(&plan.sum) else {
            return Done::Failed(AbortReason::Internal);
        };
        let mut sum = stored.to_vec();
        let (layout, survivors) = (plan.layout.clone(), plan.survivors);
        let keys = match plan.mask_keys() {
            Ok(keys) => keys,
            Err(client) => {
                return Done::Unmasked(UnmaskOutcome::KeysDiffer(client), Arc::default());
            }
        };
        unmask(&mut sum, &Shape::all(&layout), &keys);
        turn.watch.see(turn.now, &Observed::Unmasked { round, words: &sum });
        match layout.check_lanes(&sum, u32::from(survivors)) {
            Ok(()) => Done::Unmasked(UnmaskOutcome::Clean(aggregate_digest(&sum)), sum.into()),
            Err(_) => Done::Unmasked(UnmaskOutcome::Dirty, Arc::default()),
        }
    }

    fn apply(&mut self, plan: &TrainingPlan, aggregate: &Arc<[u8]>, survivors: u16) -> Done {
        let Some(life) = &self.life else { return Done::Failed(AbortReason::Internal) };
        let (task, survivors) = (self.population.task(), u32::from(survivors));
        let advanced = life.model.advance(task, plan.kind, &plan.layout, aggregate, survivors);
        let Ok(Advanced { state, metrics }) = advanced else {
            return Done::Failed(AbortReason::Internal);
        };
        let changes = plan.kind != PlanKind::Evaluate;
        let blob = changes.then(|| self.rows.put(&state.to_bytes()));
        let stored = Stored { state: blob, aggregate: self.rows.put(aggregate) };
        Done::Applied { state: Arc::new(state), stored, metrics }
    }
}
