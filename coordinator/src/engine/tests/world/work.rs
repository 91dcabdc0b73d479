//! The work of rounds: masked sums, unmasking, the next model.

use roundelay_crypto::mask::MaskKey;
use roundelay_crypto::secret::Secret;
use roundelay_protocol::lineage::State as ModelState;

use super::*;
use crate::accumulator::{Shape, open};

impl World {
    pub(super) fn work(&mut self, effect: Effect) {
        match effect {
            Effect::OpenUploads { round, layout, active } => {
                self.accumulators.insert(round, Accumulator::new(Shape::all(&layout), active));
            }
            Effect::Settle { round, client } => {
                self.accumulators[&round].settle(client);
                self.settled.push((round, client));
            }
            Effect::Discard { round, client } => {
                if let Some(accumulator) = self.accumulators.get(&round) {
                    accumulator.discard(client);
                }
            }
            Effect::StoreSum { round, clients } => {
                let sum = self.accumulators[&round].seal(&clients).unwrap().to_vec();
                let hash = Digest::of("sum", &[&sum]);
                self.disk.sums.insert(hash, sum);
                self.done(Event::SumStored { round, sum: hash });
            }
            Effect::Unmask { round, plan } => {
                let outcome = self.unmask(round, plan);
                self.done(Event::Unmasked { round, outcome });
            }
            Effect::Apply { round, plan, survivors, .. } => {
                let applied = self.apply(round, &plan, survivors);
                self.done(Event::Applied { round, applied });
            }
            Effect::Close(round) => {
                self.accumulators.remove(&round);
            }
            _ => {}
        }
    }

    fn done(&mut self, event: Event) {
        let life = self.life;
        self.post(Millis(1), Delivery::Work { life, event });
    }

    fn unmask(&mut self, round: RoundNumber, plan: UnmaskPlan) -> UnmaskOutcome {
        let (layout, survivors) = (plan.layout.clone(), u32::from(plan.survivors));
        let mut sum = self.disk.sums[&plan.sum].clone();
        let keys: Vec<MaskKey> = plan.mask_keys().unwrap();
        let noise = Secret::random(&mut self.rng);
        let outcome = open(&mut sum, &layout, survivors, &keys, noise);
        self.aggregates.insert(round, Arc::new(sum));
        outcome
    }

    fn apply(&mut self, round: RoundNumber, plan: &TrainingPlan, survivors: u16) -> Applied {
        let task = &self.setup.terms.manifest().task;
        let state = &self.disk.progress.as_ref().map_or(plan.model, |progress| progress.state);
        let state = ModelState::from_bytes(task, &self.disk.states[state]).unwrap();
        let (sum, survivors) = (&self.aggregates[&round], u32::from(survivors));
        let advanced = state.advance(task, plan.kind, &plan.layout, sum, survivors).unwrap();
        let hash = advanced.state.hash();
        self.disk.aggregates.insert(round, Arc::clone(&self.aggregates[&round]));
        self.disk.states.insert(hash, advanced.state.to_bytes());
        Applied { state: hash, metrics: advanced.metrics }
    }
}
