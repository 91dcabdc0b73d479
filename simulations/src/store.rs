//! What survives a crash: exactly what was made durable before it, nothing else. A batch is there
//! as a whole or not at all, as a transaction of the coordinator's store is.

use std::collections::BTreeMap;
use std::sync::Arc;

use roundelay_coordinator::engine::audit::State;
use roundelay_coordinator::engine::federation::Progress;
use roundelay_coordinator::engine::rounds::{Interrupted, RoundState};
use roundelay_coordinator::engine::{Fact, NewModel};
use roundelay_crypto::digest::Digest;
use roundelay_protocol::ids::{ClientId, ModelVersion, RoundNumber};
use roundelay_protocol::lineage::Standing;
use roundelay_protocol::message::BoxRoster;
use roundelay_protocol::round::horizontal::client;
use roundelay_protocol::round::horizontal::coordinator::{Record, stored_boxes};
use roundelay_protocol::time::Time;

/// The coordinator's store: rows of one federation, and blobs by their hash.
#[derive(Debug, Clone)]
pub struct Rows {
    /// Whether rounds run.
    pub state: State,
    /// What the engine knows between rounds; none before its first fact.
    pub progress: Option<Progress>,
    /// Versions that rounds have made, each with the blob of its state.
    pub models: BTreeMap<ModelVersion, (NewModel, Digest)>,
    rounds: BTreeMap<RoundNumber, Round>,
    blobs: BTreeMap<Digest, Arc<[u8]>>,
}

/// The blobs of a result that is being published.
#[derive(Debug, Clone, Copy)]
pub struct Stored {
    /// Of the state; none where the round leaves the state as it is.
    pub state: Option<Digest>,
    /// Of the aggregate.
    pub aggregate: Digest,
}

/// How a round stands, with its records.
#[derive(Debug, Clone)]
struct Round {
    began: Time,
    cohort: u16,
    state: RoundState,
    records: Vec<Record>,
    aggregate: Option<Digest>,
}

impl Default for Rows {
    fn default() -> Self {
        Self {
            state: State::Stopped,
            progress: None,
            models: BTreeMap::new(),
            rounds: BTreeMap::new(),
            blobs: BTreeMap::new(),
        }
    }
}

impl Rows {
    /// One transaction. `results` are the blobs that its facts are about.
    pub fn transact(&mut self, facts: Vec<Fact>, results: &BTreeMap<RoundNumber, Stored>) {
        facts.into_iter().for_each(|fact| self.take(fact, results));
    }

    fn take(&mut self, fact: Fact, results: &BTreeMap<RoundNumber, Stored>) {
        match fact {
            Fact::Record(round, record) => self.round(round).records.push(*record),
            Fact::Round(summary) => {
                let aggregate = results.get(&summary.round).map(|stored| stored.aggregate);
                let round = self.round(summary.round);
                (round.began, round.cohort) = (Time(summary.began_ms), summary.cohort);
                (round.state, round.aggregate) = (summary.state, aggregate);
            }
            Fact::Forget(round) => self.round(round).records = Vec::new(),
            Fact::Progress(progress) => self.progress = Some(*progress),
            Fact::Model(model) => {
                let blob = results.get(&model.round).and_then(|stored| stored.state);
                self.models.extend(blob.map(|blob| (model.version, (model, blob))));
            }
            Fact::Recovered(Standing { round, model_version: version, state, transcript }) => {
                let aggregate = Digest([0; 32]);
                let model = NewModel {
                    version,
                    parent: None,
                    round,
                    state,
                    aggregate,
                    transcript,
                    survivors: 0,
                };
                self.take(Fact::Model(model), results);
            }
            Fact::Evaluated(..) => {}
            Fact::State(state) => self.state = state,
        }
    }

    fn round(&mut self, number: RoundNumber) -> &mut Round {
        self.rounds.entry(number).or_insert_with(|| Round {
            began: Time(0),
            cohort: 0,
            state: RoundState::Running,
            records: Vec::new(),
            aggregate: None,
        })
    }

    /// The boxes of a client, as a round's records hold them; none once the round is over.
    #[must_use]
    pub fn boxes(&self, round: RoundNumber, client: ClientId) -> Option<BoxRoster> {
        stored_boxes(&self.rounds.get(&round)?.records, client)
    }

    /// The aggregate of a published round.
    #[must_use]
    pub fn aggregate(&self, round: RoundNumber) -> Option<Arc<[u8]>> {
        self.blob(&self.rounds.get(&round)?.aggregate?)
    }

    /// Rounds that were not over.
    #[must_use]
    pub fn interrupted(&self) -> Vec<Interrupted> {
        let running = self.rounds.iter().filter(|(_, round)| round.state == RoundState::Running);
        running
            .map(|(number, round)| Interrupted {
                round: *number,
                began: round.began,
                cohort: round.cohort,
                records: round.records.clone(),
            })
            .collect()
    }

    /// Stores bytes under their hash.
    pub fn put(&mut self, content: &[u8]) -> Digest {
        let hash = Digest::of("roundelay/blob", &[content]);
        self.blobs.insert(hash, content.into());
        hash
    }

    /// The bytes of a hash.
    #[must_use]
    pub fn blob(&self, hash: &Digest) -> Option<Arc<[u8]>> {
        self.blobs.get(hash).cloned()
    }

    /// Forgets bytes.
    pub fn delete(&mut self, hash: &Digest) {
        self.blobs.remove(hash);
    }
}

/// The files of one client: its history and the newest model state.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// Every record, in order.
    pub history: Vec<client::Record>,
    /// One state; a newer one takes its place.
    pub state: Option<Vec<u8>>,
}
