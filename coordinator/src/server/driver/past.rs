//! What of a federation's past stays stored: the states of its newest versions and of version 0, the
//! aggregates of its newest results, and the rows of its newest rounds and versions. All else is
//! pruned, behind the publication of a result: first the rows, in the task's own transaction under
//! its fence, and once that is durable the blobs that no row names any more. A crash between the two
//! leaves blobs that the next start finds on the federation's shelf and deletes.

use std::collections::{BTreeMap, BTreeSet};

use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::{FederationId, ModelVersion, RoundNumber};

use crate::store::{Model, Round, RoundState, Write};

/// How much of a federation's past is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// The newest model versions whose states stay, and the newest results whose aggregates do. At
    /// least 2: clients fetch the newest state, and the next one may be published meanwhile.
    pub versions: usize,
    /// The newest rounds that are over, and the newest model versions, whose rows stay. At least
    /// `versions`.
    pub rounds: usize,
}

/// The rows of a federation that may be pruned one day, and the blobs that they name.
pub(super) struct Past {
    federation: FederationId,
    keep: Keep,
    /// Version 0, where every lineage begins. It stays.
    first: Option<Model>,
    /// Rows of later versions.
    versions: BTreeSet<ModelVersion>,
    /// Those whose state is stored.
    states: BTreeMap<ModelVersion, Model>,
    /// Rows of rounds that are over.
    rounds: BTreeSet<RoundNumber>,
    /// Those whose aggregate is stored.
    results: BTreeMap<RoundNumber, Round>,
    /// Rounds that are not over.
    running: BTreeSet<RoundNumber>,
}

/// What goes: rows by these writes, and the blobs that they named once those are durable.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Pruned {
    pub(super) writes: Vec<Write>,
    pub(super) blobs: Vec<Digest>,
}

impl Past {
    pub(super) fn new(
        federation: FederationId,
        keep: Keep,
        models: Vec<Model>,
        rounds: Vec<Round>,
    ) -> Self {
        let mut past = Self {
            federation,
            keep,
            first: None,
            versions: BTreeSet::new(),
            states: BTreeMap::new(),
            rounds: BTreeSet::new(),
            results: BTreeMap::new(),
            running: BTreeSet::new(),
        };
        for model in models {
            past.model(model);
        }
        rounds.into_iter().for_each(|round| past.round(round));
        past
    }

    /// The blobs that rows name.
    pub(super) fn named(&self) -> impl Iterator<Item = Digest> {
        let models = self.first.iter().chain(self.states.values());
        let states = models.filter_map(|model| model.blob);
        states.chain(self.results.values().filter_map(|round| round.aggregate))
    }

    /// The row of a version whose state is stored.
    pub(super) fn find(&self, version: ModelVersion) -> Option<&Model> {
        if version == ModelVersion(0) { self.first.as_ref() } else { self.states.get(&version) }
    }

    /// A model's row is written. Returns the blob that only the row before it named.
    pub(super) fn model(&mut self, model: Model) -> Option<Digest> {
        let (version, blob) = (model.version, model.blob);
        let before = if version == ModelVersion(0) {
            self.first.replace(model)
        } else {
            self.versions.insert(version);
            if blob.is_some() { self.states.insert(version, model) } else { None }
        };
        before.and_then(|before| before.blob).filter(|before| Some(*before) != blob)
    }

    /// A round's row is written.
    pub(super) fn round(&mut self, round: Round) {
        let number = round.round;
        if round.state == RoundState::Running {
            self.running.insert(number);
            return;
        }
        self.running.remove(&number);
        self.rounds.insert(number);
        if round.aggregate.is_some() {
            self.results.insert(number, round);
        }
    }

    /// Lets go of what is beyond the limits.
    pub(super) fn prune(&mut self) -> Pruned {
        let mut pruned = Pruned::default();
        self.prune_models(&mut pruned);
        self.prune_rounds(&mut pruned);
        pruned
    }

    fn prune_models(&mut self, pruned: &mut Pruned) {
        let federation = self.federation;
        if let Some(below) = newest(&mut self.versions, self.keep.rounds, None) {
            pruned.writes.push(Write::DeleteModels { federation, below });
        }
        while self.states.len() > self.keep.versions
            && let Some((version, mut model)) = self.states.pop_first()
        {
            pruned.blobs.extend(model.blob.take());
            if self.versions.contains(&version) {
                pruned.writes.push(Write::PutModel { federation, model: Box::new(model) });
            }
        }
    }

    fn prune_rounds(&mut self, pruned: &mut Pruned) {
        let (federation, running) = (self.federation, self.running.first().copied());
        if let Some(below) = newest(&mut self.rounds, self.keep.rounds, running) {
            pruned.writes.push(Write::DeleteRounds { federation, below });
        }
        while self.results.len() > self.keep.versions
            && let Some((number, mut round)) = self.results.pop_first()
        {
            pruned.blobs.extend(round.aggregate.take());
            if self.rounds.contains(&number) {
                pruned.writes.push(Write::PutRound { federation, round: Box::new(round) });
            }
        }
    }
}

/// Cuts a set down to its newest `keep` and whatever is at `stays` or behind it. Returns the first
/// that stays, if any went.
fn newest<T: Ord + Copy>(all: &mut BTreeSet<T>, keep: usize, stays: Option<T>) -> Option<T> {
    let oldest = *all.iter().rev().nth(keep.checked_sub(1)?)?;
    let below = stays.map_or(oldest, |stays| stays.min(oldest));
    let kept = all.split_off(&below);
    let went = std::mem::replace(all, kept);
    (!went.is_empty()).then_some(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEDERATION: FederationId = FederationId([7; 16]);

    fn blob(kind: u8, number: u64) -> Digest {
        let mut name = [kind; 32];
        name[..8].copy_from_slice(&number.to_le_bytes());
        Digest(name)
    }

    fn model(version: u64) -> Model {
        Model {
            version: ModelVersion(version),
            parent: version.checked_sub(1).map(ModelVersion),
            round: Some(RoundNumber(version)),
            state: Digest([1; 32]),
            blob: Some(blob(1, version)),
            transcript: None,
            survivors: 3,
            created_unix_ms: 1,
            metrics: None,
        }
    }

    fn round(number: u64, state: RoundState) -> Round {
        let published = state == RoundState::Published;
        Round {
            round: RoundNumber(number),
            kind: None,
            model_version: None,
            state,
            began_unix_ms: 1,
            ended_unix_ms: None,
            cohort: 3,
            survivors: 3,
            dropouts: 0,
            aggregate: published.then(|| blob(2, number)),
            left: Vec::new(),
        }
    }

    fn past(versions: usize, rounds: usize) -> Past {
        Past::new(FEDERATION, Keep { versions, rounds }, vec![model(0)], Vec::new())
    }

    /// Publishes these versions, each by the round of its number, and prunes behind each.
    fn publish(past: &mut Past, numbers: std::ops::RangeInclusive<u64>) -> Vec<Pruned> {
        let publish = |number| {
            past.round(round(number, RoundState::Published));
            assert_eq!(past.model(model(number)), None);
            past.prune()
        };
        numbers.map(publish).collect()
    }

    #[test]
    fn each_result_beyond_the_window_takes_one_state_and_one_aggregate_with_it_and_its_rows_stay() {
        let mut past = past(3, 100);
        let pruned = publish(&mut past, 1..=20);
        assert!(pruned[..3].iter().all(|pruned| *pruned == Pruned::default()));
        for (number, pruned) in (1..).zip(&pruned[3..]) {
            assert_eq!(pruned.blobs, [blob(1, number), blob(2, number)]);
            let [Write::PutModel { model: row, .. }, Write::PutRound { round: over, .. }] =
                &pruned.writes[..]
            else {
                panic!("{pruned:?}");
            };
            assert_eq!(**row, Model { blob: None, ..model(number) });
            let without = Round { aggregate: None, ..round(number, RoundState::Published) };
            assert_eq!(**over, without);
        }
        let named: BTreeSet<_> = past.named().collect();
        let kept = (18..=20).flat_map(|number| [blob(1, number), blob(2, number)]);
        assert_eq!(named, kept.chain([blob(1, 0)]).collect(), "and version 0");
    }

    #[test]
    fn rows_go_in_the_end_and_what_is_stored_does_not_grow() {
        let mut past = past(2, 5);
        publish(&mut past, 1..=5);
        for pruned in publish(&mut past, 6..=50) {
            assert_eq!(pruned.blobs.len(), 2);
            let deletes = |write: &&Write| {
                matches!(write, Write::DeleteModels { .. } | Write::DeleteRounds { .. })
            };
            assert_eq!(pruned.writes.iter().filter(deletes).count(), 2);
        }
        assert_eq!((past.versions.len(), past.rounds.len()), (5, 5));
        assert_eq!((past.states.len(), past.results.len()), (2, 2));
    }

    #[test]
    fn rounds_that_failed_count_as_rows_and_one_that_runs_keeps_its_own() {
        let mut past = past(2, 4);
        past.round(round(1, RoundState::Running));
        let aborted = RoundState::Aborted(roundelay_protocol::error::AbortReason::Restarted);
        for number in 2..=20 {
            past.round(round(number, aborted.clone()));
            assert_eq!(past.prune(), Pruned::default());
        }
        past.round(round(1, RoundState::Published));
        let below = RoundNumber(17);
        assert_eq!(past.prune().writes, [Write::DeleteRounds { federation: FEDERATION, below }]);
        assert!(past.named().any(|name| name == blob(2, 1)), "its aggregate is the newest");
    }

    #[test]
    fn smaller_limits_take_effect_at_the_next_start_in_one_go() {
        let models = (0..=30).map(model).collect();
        let rounds = (1..=30).map(|number| round(number, RoundState::Published)).collect();
        let keep = Keep { versions: 2, rounds: 10 };
        let mut past = Past::new(FEDERATION, keep, models, rounds);
        let pruned = past.prune();
        assert_eq!(pruned.blobs.len(), 28 + 28);
        let [first, rest @ ..] = &pruned.writes[..] else { panic!("nothing") };
        assert_eq!(*first, Write::DeleteModels { federation: FEDERATION, below: ModelVersion(21) });
        // Eight rows that stay lose their state, eight their aggregate; the other rows go.
        assert_eq!(rest.len(), 8 + 1 + 8);
        assert_eq!(past.prune(), Pruned::default());
    }

    #[test]
    fn a_row_that_replaces_another_frees_the_state_of_that_one() {
        let mut past = past(3, 10);
        let standardised = Model { blob: Some(blob(3, 0)), ..model(0) };
        assert_eq!(past.model(standardised.clone()), Some(blob(1, 0)));
        assert_eq!(past.model(standardised), None, "it was only evaluated");
    }
}
