//! One client of a pair: its machines, its memory, and the work that they ask for.

use std::collections::BTreeMap;

use rand_core::Rng;
use roundelay_crypto::digest::Digest;
use roundelay_crypto::secret::Secret;

use super::coordinator::Coordinator;
use super::work;
use crate::error::Refusal;
use crate::ids::{ClientId, RoundNumber};
use crate::message::{FromClient, Published};
use crate::plan::TrainingPlan;
use crate::privacy::{Account, Ledger};
use crate::randomness::Stream;
use crate::round::horizontal::client::{
    Action, History, Input, LocalFailure, MaskPlan, Outcome, Record, Roots, Round, Setup, Standing,
};
use crate::time::Time;

/// A client.
pub struct Peer {
    /// Its id.
    pub id: ClientId,
    /// What its rounds need; its identity signs in its name.
    pub setup: Setup,
    /// What it remembers.
    pub history: History,
    /// The records that are durable, in their order.
    pub durable: Vec<Record>,
    /// What its data set was durably charged with.
    pub charged: Ledger,
    /// Every message that it sent, delivered or not.
    pub sent: Vec<(RoundNumber, FromClient)>,
    /// Every vector of which a byte left.
    pub uploads: Vec<(RoundNumber, Vec<u8>)>,
    /// What it contributed, before masks.
    pub contributions: BTreeMap<RoundNumber, Vec<u8>>,
    /// How its rounds ended.
    pub outcomes: BTreeMap<RoundNumber, Outcome>,
    pub(super) fails: Option<LocalFailure>,
    pub(super) spoils_lanes: bool,
    pub(super) constant: Option<u8>,
    /// The number of its connection; none while it has no connection.
    pub(super) epoch: Option<u64>,
    /// Whether it connects again when the coordinator is back.
    pub(super) wants_connection: bool,
    /// Rises with every restart.
    pub(super) life: u64,
    /// A result is being applied.
    pub(super) is_applying: bool,
    /// Contributions that wait for it.
    pub(super) waiting: Vec<(RoundNumber, Input)>,
    epochs: u64,
    rounds: BTreeMap<RoundNumber, Round>,
    masked: BTreeMap<RoundNumber, Vec<u8>>,
    /// What all its randomness starts from.
    seed: [u8; 32],
    random: Stream,
}

impl Peer {
    pub(super) fn new(setup: Setup, initial: Standing, random: &mut Stream) -> Self {
        let mut seed = [0; 32];
        random.fill_bytes(&mut seed);
        let mut history = History::new(setup.terms.federation());
        let adopted = history.adopt(initial).expect("a new client stands nowhere");
        Self {
            id: ClientId(setup.identity.public().fingerprint()),
            setup,
            history,
            durable: vec![adopted],
            charged: Ledger::default(),
            sent: Vec::new(),
            uploads: Vec::new(),
            contributions: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            fails: None,
            spoils_lanes: false,
            constant: None,
            epoch: Some(0),
            wants_connection: true,
            life: 0,
            is_applying: false,
            waiting: Vec::new(),
            epochs: 0,
            rounds: BTreeMap::new(),
            masked: BTreeMap::new(),
            random: Stream::new(Secret::new(seed)),
            seed,
        }
    }

    /// What all its randomness starts from: a test may draw the same once more.
    #[must_use]
    pub fn randomness(&self) -> [u8; 32] {
        self.seed
    }

    /// Why it sits a round out, if it does.
    #[must_use]
    pub fn refusal(&self, round: RoundNumber) -> Option<&Refusal> {
        self.rounds.get(&round)?.refusal()
    }

    /// Every reason for which it declined a round.
    pub fn declined(&self, round: RoundNumber) -> impl Iterator<Item = &Refusal> {
        self.sent.iter().filter(move |(sent, _)| *sent == round).filter_map(|(_, message)| {
            match message {
                FromClient::Declined(refusal) => Some(refusal),
                _ => None,
            }
        })
    }

    /// Whether it still holds a machine of a round that is over, or lacks the newest result.
    pub(super) fn has_not_seen_the_end(&self, over: RoundNumber, newest: RoundNumber) -> bool {
        let stands = self.history.standing().map_or(RoundNumber(0), |standing| standing.round);
        self.rounds.contains_key(&over) || over == newest && stands < newest
    }

    pub(super) fn is_connected(&self) -> bool {
        self.epoch.is_some()
    }

    pub(super) fn connect(&mut self) {
        self.epochs += 1;
        self.epoch = Some(self.epochs);
    }

    /// The process dies: what is not durable is gone.
    pub(super) fn crash(&mut self) {
        self.life += 1;
        self.rounds.clear();
        self.masked.clear();
        self.applied();
        self.setup.account = Account::new(self.charged.clone());
        self.history = History::replay(self.setup.terms.federation(), &self.durable);
    }

    /// Nothing is being applied any more; what waited for it may go on.
    pub(super) fn applied(&mut self) -> Vec<(RoundNumber, Input)> {
        self.is_applying = false;
        std::mem::take(&mut self.waiting)
    }

    pub(super) fn handle(&mut self, round: RoundNumber, input: Input, now: Time) -> Vec<Action> {
        let mut actions = Vec::new();
        if !self.rounds.contains_key(&round) {
            if !matches!(input, Input::Message(_)) || self.outcomes.contains_key(&round) {
                return actions;
            }
            let machine = Round::new(&self.setup, round, &mut self.random);
            self.rounds.insert(round, machine);
        }
        if let Some(machine) = self.rounds.get_mut(&round) {
            machine.handle(now, input, &mut self.history, &mut actions);
        }
        actions
    }

    /// Its machine of a round, to lie from within.
    #[cfg(test)]
    pub(super) fn machine(&mut self, round: RoundNumber) -> Option<&mut Round> {
        self.rounds.get_mut(&round)
    }

    /// Its disk is as it was when it held so many records.
    pub(super) fn roll_back(&mut self, records: usize) {
        self.durable.truncate(records);
        self.crash();
    }

    pub(super) fn finish(&mut self, round: RoundNumber, outcome: Outcome) {
        self.rounds.remove(&round);
        self.outcomes.insert(round, outcome);
    }

    /// A random contribution in the layout of the plan: the same for the same model, as of a trainer
    /// that repeats itself.
    pub(super) fn contribute(&mut self, round: RoundNumber, plan: &TrainingPlan) -> Input {
        if let Some(failure) = self.fails {
            return Input::ContributionFailed(failure);
        }
        let mut contribution = self.random_vector(plan);
        if self.spoils_lanes {
            contribution.iter_mut().rev().take(1).for_each(|byte| *byte ^= 1);
        }
        self.contributions.insert(round, contribution);
        Input::Contributed
    }

    fn random_vector(&self, plan: &TrainingPlan) -> Vec<u8> {
        let layout = &plan.layout;
        let subject: [&[u8]; 3] = [&self.seed, &[plan.kind as u8], &plan.model.0];
        let mut random = Stream::new(Secret::new(Digest::of("pair/contribution", &subject).0));
        let mut vector = layout.blank();
        for chunk in layout.chunks() {
            if let Some(payload) = vector.get_mut(chunk.payload()) {
                match self.constant {
                    Some(byte) => payload.fill(byte),
                    None => random.fill_bytes(payload),
                }
            }
        }
        vector
    }

    pub(super) fn mask(&mut self, round: RoundNumber, plan: &MaskPlan) -> Roots {
        let mut vector = self.contributions.get(&round).cloned().unwrap_or_default();
        let plain = work::root(&vector, &plan.layout);
        work::add_masks(&mut vector, &plan.layout, &plan.keys);
        let masked = work::root(&vector, &plan.layout);
        self.masked.insert(round, vector);
        Roots { masked, plain }
    }

    pub(super) fn upload(&mut self, round: RoundNumber) -> Option<Vec<u8>> {
        let vector = self.masked.get(&round)?.clone();
        self.uploads.push((round, vector.clone()));
        Some(vector)
    }

    /// Applies a result to what this client holds; what it lacks it takes over from its peers.
    pub(super) fn apply(&self, published: &Published, coordinator: &Coordinator) -> Input {
        let aggregate = coordinator.aggregate(&published.aggregate);
        let Some(aggregate) = aggregate else { return Input::Applied(None) };
        let stands = self.history.standing();
        let derived = stands
            .filter(|standing| standing.model_version == published.model_version)
            .map(|standing| work::next_state(published.kind, standing.state, aggregate));
        Input::Applied(derived.or(Some(published.state)))
    }
}
