//! What survives the coordinator.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;

/// What survives the coordinator.
#[derive(Clone, Default)]
pub(in crate::engine::tests) struct Disk {
    pub(in crate::engine::tests) records: BTreeMap<RoundNumber, Vec<Record>>,
    pub(in crate::engine::tests) rounds: BTreeMap<RoundNumber, RoundSummary>,
    pub(in crate::engine::tests) progress: Option<Progress>,
    pub(in crate::engine::tests) models: BTreeMap<ModelVersion, NewModel>,
    pub(in crate::engine::tests) evaluated: BTreeMap<ModelVersion, Metrics>,
    pub(in crate::engine::tests) audit: Vec<Entry>,
    pub(in crate::engine::tests) recovered: Vec<Standing>,
    pub(in crate::engine::tests) state: Option<State>,
    pub(super) aggregates: BTreeMap<RoundNumber, Arc<Vec<u8>>>,
    /// Masked sums, and model states, by their hashes.
    pub(super) sums: BTreeMap<Digest, Vec<u8>>,
    pub(in crate::engine::tests) states: BTreeMap<Digest, Vec<u8>>,
}

impl Disk {
    pub(super) fn keep(&mut self, fact: Fact) {
        match fact {
            Fact::Record(round, record) => self.records.entry(round).or_default().push(*record),
            Fact::Round(summary) => drop(self.rounds.insert(summary.round, summary)),
            Fact::Forget(round) => drop(self.records.remove(&round)),
            Fact::Progress(progress) => self.progress = Some(*progress),
            Fact::Recovered(standing) => self.recovered.push(standing),
            Fact::Model(model) => drop(self.models.insert(model.version, model)),
            Fact::Evaluated(version, metrics) => drop(self.evaluated.insert(version, metrics)),
            Fact::State(state) => self.state = Some(state),
        }
    }
}
