//! The coordinator of a pair: its machines, its records, and the work that they ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use roundelay_crypto::digest::Digest;

use super::network::Delivery;
use super::{Fault, Pair, work};
use crate::error::Fault as Misdeed;
use crate::ids::{ClientId, RoundNumber};
use crate::layout::Layout;
use crate::message::{BoxRoster, Published, ToClient};
use crate::plan::{PlanKind, RosterPlan, TrainingPlan};
use crate::round::horizontal::client::Standing;
use crate::round::horizontal::coordinator::{
    Action, Input, Outcome, Record, Round, Timing, UnmaskOutcome, UnmaskPlan, stored_boxes,
};
use crate::round::horizontal::terms::Terms;
use crate::time::Time;
use crate::transcript::aggregate_digest;

/// The coordinator.
pub struct Coordinator {
    /// The records of each round, in their order.
    pub records: BTreeMap<RoundNumber, Vec<Record>>,
    /// Clients that it expelled, and why.
    pub expelled: Vec<(RoundNumber, ClientId, Misdeed)>,
    /// How its rounds ended.
    pub outcomes: BTreeMap<RoundNumber, Outcome>,
    /// The vectors that it was sent, as the network saw them.
    pub uploads: Vec<(RoundNumber, ClientId, Vec<u8>)>,
    /// Rises with every restart.
    pub(super) life: u64,
    terms: Arc<Terms>,
    timing: Timing,
    is_up: bool,
    persisted: usize,
    machines: BTreeMap<RoundNumber, Round>,
    plans: BTreeMap<RoundNumber, TrainingPlan>,
    accumulators: BTreeMap<RoundNumber, Accumulator>,
    /// Stored sums and aggregates, by their hashes.
    blobs: BTreeMap<Digest, Vec<u8>>,
    standing: Standing,
}

struct Accumulator {
    layout: Layout,
    active: Vec<ClientId>,
    vectors: BTreeMap<ClientId, Vec<u8>>,
    settled: BTreeSet<ClientId>,
    is_closed: bool,
}

impl Coordinator {
    pub(super) fn new(terms: Arc<Terms>, timing: Timing, standing: Standing) -> Self {
        Self {
            records: BTreeMap::new(),
            expelled: Vec::new(),
            outcomes: BTreeMap::new(),
            uploads: Vec::new(),
            life: 0,
            terms,
            timing,
            is_up: true,
            persisted: 0,
            machines: BTreeMap::new(),
            plans: BTreeMap::new(),
            accumulators: BTreeMap::new(),
            blobs: BTreeMap::new(),
            standing,
        }
    }

    /// What the coordinator published last.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// A published aggregate, by its hash.
    #[must_use]
    pub fn aggregate(&self, hash: &Digest) -> Option<&[u8]> {
        self.blobs.get(hash).map(Vec::as_slice)
    }

    /// What was published in a round, if anything was.
    #[must_use]
    pub fn published(&self, round: RoundNumber) -> Option<&Published> {
        match self.outcomes.get(&round)? {
            Outcome::Published(published) => Some(published),
            Outcome::Aborted(_) => None,
        }
    }

    /// Messages that the machine of a round dropped.
    #[must_use]
    pub fn late_messages(&self, round: RoundNumber) -> u64 {
        self.machines.get(&round).map_or(0, Round::late_messages)
    }

    /// The plan that an honest coordinator would make now for a round that has begun.
    ///
    /// # Panics
    /// If there is no such round, or the task has no such plan.
    #[must_use]
    pub fn training_plan(&self, round: RoundNumber, kind: PlanKind) -> TrainingPlan {
        let Some(Record::Planned(roster)) = self.records.get(&round).and_then(|r| r.first()) else {
            panic!("round {round} has not begun");
        };
        TrainingPlan {
            kind,
            model_version: self.standing.model_version,
            model: match kind {
                PlanKind::Statistics => self.terms.data_version(),
                PlanKind::Train | PlanKind::Evaluate => self.standing.state,
            },
            hyperparameters: *self.terms.hyperparameters(),
            layout: self.terms.layout(kind, &roster.cohort).expect("a kind of the task"),
            active: Vec::new(),
            opened: Vec::new(),
            previous_transcript: self.standing.transcript,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.is_up
    }

    pub(super) fn plan(&mut self, round: RoundNumber, plan: TrainingPlan) {
        self.plans.insert(round, plan);
    }

    pub(super) fn start(
        &mut self,
        plan: RosterPlan,
        absent: &[ClientId],
        now: Time,
    ) -> Vec<Action> {
        let (round, mut actions) = (plan.round, Vec::new());
        let terms = Arc::clone(&self.terms);
        let machine = Round::start(terms, plan, self.timing, absent, now, &mut actions);
        self.machines.insert(round, machine.expect("the plan is the manifest's"));
        actions
    }

    pub(super) fn handle(&mut self, round: RoundNumber, input: Input, now: Time) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(machine) = self.machines.get_mut(&round) {
            machine.handle(now, input, &mut actions);
        }
        actions
    }

    pub(super) fn persist(&mut self, round: RoundNumber, record: Record) {
        self.persisted += 1;
        self.records.entry(round).or_default().push(record);
    }

    /// The boxes of a client, as its records hold them.
    pub(super) fn boxes(&self, round: RoundNumber, client: ClientId) -> BoxRoster {
        let records = self.records.get(&round).map(Vec::as_slice).unwrap_or_default();
        stored_boxes(records, client).expect("records of a round that was prepared")
    }

    /// A vector that arrived whole.
    pub(super) fn upload(
        &mut self,
        round: RoundNumber,
        from: ClientId,
        vector: Vec<u8>,
    ) -> Option<Input> {
        self.uploads.push((round, from, vector.clone()));
        let accumulator = self.accumulators.get_mut(&round)?;
        let taken = accumulator.vectors.contains_key(&from) || !accumulator.active.contains(&from);
        if accumulator.is_closed || taken {
            return None;
        }
        if let Err(error) = accumulator.layout.check_length(vector.len() as u64) {
            let (sent, expected) = (error.bytes, error.expected);
            let fault = Misdeed::WrongLength { sent, expected };
            return Some(Input::UploadRefused { from, fault });
        }
        let root = work::root(&vector, &accumulator.layout);
        accumulator.vectors.insert(from, vector);
        Some(Input::Uploaded { from, root })
    }

    /// Carries out an action that is neither a record nor a message.
    pub(super) fn work(&mut self, round: RoundNumber, action: Action) -> Option<Input> {
        match action {
            Action::Expel { client, fault } => self.expelled.push((round, client, fault)),
            Action::OpenUploads { layout, active } => {
                let (vectors, settled) = (BTreeMap::new(), BTreeSet::new());
                let accumulator =
                    Accumulator { layout, active, vectors, settled, is_closed: false };
                self.accumulators.insert(round, accumulator);
            }
            Action::Settle(client) => {
                if let Some(accumulator) = self.accumulators.get_mut(&round) {
                    accumulator.settled.insert(client);
                }
            }
            Action::Discard(client) => {
                if let Some(accumulator) = self.accumulators.get_mut(&round) {
                    assert!(!accumulator.settled.contains(&client), "a settled vector stays");
                    accumulator.vectors.remove(&client);
                }
            }
            Action::StoreSum(clients) => return self.store_sum(round, &clients),
            Action::Unmask(plan) => return Some(Input::Unmasked(self.unmask(plan))),
            Action::Apply { plan, aggregate, .. } => {
                let bytes = self.aggregate(&aggregate)?;
                return Some(Input::Applied(match plan.kind {
                    PlanKind::Statistics => self.standing.state,
                    kind => work::next_state(kind, plan.model, bytes),
                }));
            }
            Action::Persist(_)
            | Action::Audit(_)
            | Action::StageBegan { .. }
            | Action::Finish(_)
            | Action::Send { .. }
            | Action::Broadcast { .. }
            | Action::ResendBoxes(_)
            | Action::SetDeadline(_) => {}
        }
        None
    }

    fn store_sum(&mut self, round: RoundNumber, clients: &[ClientId]) -> Option<Input> {
        let accumulator = self.accumulators.get_mut(&round)?;
        accumulator.is_closed = true;
        let held: Vec<ClientId> = accumulator.vectors.keys().copied().collect();
        assert_eq!(held, clients, "the accumulator holds exactly the survivors");
        let mut sum = vec![0; usize::try_from(accumulator.layout.total_bytes()).ok()?];
        for vector in accumulator.vectors.values() {
            work::add(&mut sum, &accumulator.layout, vector);
        }
        let hash = Digest::of("pair/sum", &[&sum]);
        self.blobs.insert(hash, sum);
        Some(Input::SumStored(hash))
    }

    fn unmask(&mut self, plan: UnmaskPlan) -> UnmaskOutcome {
        let (layout, survivors) = (plan.layout.clone(), u32::from(plan.survivors));
        let mut sum = self.blobs.get(&plan.sum).cloned().expect("a stored sum");
        let keys = match plan.mask_keys() {
            Ok(keys) => keys,
            Err(client) => return UnmaskOutcome::KeysDiffer(client),
        };
        work::add_masks(&mut sum, &layout, &keys);
        if layout.check_lanes(&sum, survivors).is_err() {
            return UnmaskOutcome::Dirty;
        }
        let hash = aggregate_digest(&sum);
        self.blobs.insert(hash, sum);
        UnmaskOutcome::Clean(hash)
    }

    pub(super) fn finish(&mut self, round: RoundNumber, outcome: Outcome) {
        if let Outcome::Published(published) = &outcome
            && round > self.standing.round
        {
            let model_version = match published.kind {
                PlanKind::Train => published.model_version.next(),
                PlanKind::Statistics | PlanKind::Evaluate => published.model_version,
            };
            let Published { state, transcript, .. } = **published;
            self.standing = Standing { round, model_version, state, transcript };
        }
        self.outcomes.insert(round, outcome);
    }
}

impl Pair {
    /// Whether the coordinator dies here; then it comes back later, from its records.
    pub(super) fn coordinator_crashes(&mut self) -> bool {
        let persisted = self.coordinator.persisted;
        let planned = self.faults.iter().position(|fault| {
            matches!(fault, Fault::RestartCoordinator { after_records, .. }
                if after_records + 1 == persisted)
        });
        let Some(planned) = planned else { return false };
        let Fault::RestartCoordinator { down, .. } = self.faults.swap_remove(planned) else {
            return false;
        };
        self.coordinator.is_up = false;
        self.coordinator.life += 1;
        self.coordinator.machines.clear();
        self.coordinator.accumulators.clear();
        for client in 0..self.peers.len() {
            self.disconnect(client);
        }
        self.network.at(self.now + down, Delivery::RestoreCoordinator);
        true
    }

    pub(super) fn restore_coordinator(&mut self) {
        self.coordinator.is_up = true;
        for round in self.coordinator.records.keys().copied().collect::<Vec<_>>() {
            if self.coordinator.outcomes.contains_key(&round) {
                continue;
            }
            let records = self.coordinator.records.get(&round).cloned().unwrap_or_default();
            let trained = records.iter().any(|record| matches!(record, Record::Training(_)));
            let (terms, timing) = (Arc::clone(&self.coordinator.terms), self.coordinator.timing);
            let mut actions = Vec::new();
            let machine = Round::restore(terms, timing, records, self.now, &mut actions);
            self.coordinator.machines.insert(round, machine.expect("records of this round"));
            self.carry_out(round, actions);
            if let Some(plan) = self.coordinator.plans.get(&round).filter(|_| !trained).cloned() {
                self.input(round, Input::Train(Box::new(plan)));
            }
        }
        for client in 0..self.peers.len() {
            if self.peers.get(client).is_some_and(|peer| peer.wants_connection) {
                self.reconnect(client);
            }
        }
    }

    /// A client's connection goes.
    pub(super) fn disconnect(&mut self, client: usize) {
        let Some(peer) = self.peers.get_mut(client) else { return };
        let (id, was) = (peer.id, peer.epoch.take());
        if was.is_some() && self.coordinator.is_up {
            for round in self.coordinator.machines.keys().copied().collect::<Vec<_>>() {
                self.input(round, Input::Lost(id));
            }
        }
    }

    /// A client's connection comes.
    pub(super) fn reconnect(&mut self, client: usize) {
        let Some(peer) = self.peers.get_mut(client) else { return };
        peer.wants_connection = true;
        if !self.coordinator.is_up || peer.is_connected() {
            return;
        }
        peer.connect();
        let id = peer.id;
        let unseen: Vec<(RoundNumber, ToClient)> = self
            .coordinator
            .outcomes
            .iter()
            .filter(|(round, _)| {
                peer.has_not_seen_the_end(**round, self.coordinator.standing.round)
            })
            .map(|(round, outcome)| (*round, outcome.message()))
            .collect();
        for (round, message) in unseen {
            self.coordinator_sends(round, &[id], &message);
        }
        for round in self.coordinator.machines.keys().copied().collect::<Vec<_>>() {
            self.input(round, Input::Returned(id));
        }
    }
}
