//! A client in these tests, and what carries out its effects.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use roundelay_crypto::identity::IdentityKey;
use roundelay_protocol::ids::{ClientId, ModelVersion, RoundNumber};
use roundelay_protocol::lineage::State;
use roundelay_protocol::manifest::Task;
use roundelay_protocol::privacy::Account;
use roundelay_protocol::round::horizontal::client::{Record, Setup};
use roundelay_protocol::round::horizontal::terms::Terms;
use roundelay_protocol::session::VectorKind;
use roundelay_protocol::time::{Millis, Time};

use super::super::super::{Effect, Event, Federation, Input};
use super::federation::rows;
use super::{Step, World};
use crate::data::{Data, Source};
use crate::train::{LocalTrainer, Options, Trainer, Uninterrupted};

/// A client: its engine, what is durable, and its trainer.
pub(crate) struct Site {
    pub(crate) id: ClientId,
    pub(crate) engine: Federation,
    pub(crate) records: Vec<Record>,
    pub(crate) stored: Option<Arc<State>>,
    pub(crate) events: Vec<Event>,
    pub(crate) deadline: Option<Time>,
    pub(crate) connected: bool,
    pub(super) trainer: LocalTrainer,
    pub(super) setup: Setup,
    pub(super) vectors: BTreeMap<RoundNumber, Vec<u8>>,
    pub(super) allowed: Vec<(VectorKind, u64)>,
}

impl Site {
    pub(super) fn new(
        index: usize,
        terms: &Arc<Terms>,
        identity: Arc<IdentityKey>,
        task: &Task,
        initial: State,
    ) -> Self {
        let id = ClientId(identity.public().fingerprint());
        let pinned: Arc<BTreeSet<ClientId>> = Arc::new(terms.clients().collect());
        let terms = Arc::clone(terms);
        let setup = Setup {
            terms,
            identity,
            pinned,
            patience: Millis(60_000),
            account: Account::default(),
        };
        let (inputs, labels) = rows(index);
        let data = Data::from_memory(&task.schema, &inputs, &labels, 20).unwrap();
        let mut trainer = LocalTrainer::with_data(data, Options::new(Source::new("")));
        let summary = trainer.prepare(task).unwrap();
        let (engine, effects) =
            Federation::new(setup.clone(), summary.schema, &[], None, Arc::new(initial));
        let records = effects
            .into_iter()
            .map(|effect| match effect {
                Effect::Persist(record) => record,
                other => panic!("{other:?}"),
            })
            .collect();
        Self {
            id,
            engine,
            records,
            stored: None,
            events: Vec::new(),
            deadline: None,
            connected: true,
            trainer,
            setup,
            vectors: BTreeMap::new(),
            allowed: Vec::new(),
        }
    }

    /// Versions that were told as published, in order.
    pub(crate) fn published_versions(&self) -> Vec<ModelVersion> {
        let published = |event: &Event| match event {
            Event::Published { version, .. } => Some(*version),
            _ => None,
        };
        self.events.iter().filter_map(published).collect()
    }
}

impl World {
    pub(super) fn carry_out(&mut self, site: usize, effects: Vec<Effect>) {
        for effect in effects {
            self.effect(site, effect);
        }
    }

    fn effect(&mut self, index: usize, effect: Effect) {
        let site = &mut self.sites[index];
        let id = site.id;
        match effect {
            Effect::Persist(record) => site.records.push(record),
            Effect::Send { round, message } => self.said(index, round, message),
            Effect::Train(work) => {
                let round = work.round;
                let result = work.run(&mut site.trainer, &Uninterrupted);
                let result = match &mut self.on_work {
                    Some(change) => change(index, result),
                    None => result,
                };
                if let Ok(contribution) = &result {
                    let words = contribution.words().to_vec();
                    self.plain.entry(round).or_default().insert(index, words);
                }
                self.queue.push_back(Step::ToSite(index, Input::Trained { round, result }));
            }
            Effect::Mask(work) => {
                let masked = work.run();
                let (round, result) = (masked.round(), Ok(masked.roots()));
                site.vectors.insert(round, masked.words().to_vec());
                self.queue.push_back(Step::ToSite(index, Input::Masked { round, result }));
            }
            Effect::Upload(round) => {
                let vector = site.vectors[&round].clone();
                if site.connected {
                    self.upload(round, id, vector);
                }
            }
            Effect::Derive(derivation) => {
                let derived = Input::Derived(derivation.run());
                self.queue.push_back(Step::ToSite(index, derived));
            }
            Effect::Expect { kind, bytes_max } => site.allowed.push((kind, bytes_max)),
            Effect::Attest { standing, signature } => {
                self.attestations.push((id, standing, signature));
                for asked in std::mem::take(&mut self.asked) {
                    self.give_attested(asked);
                }
            }
            Effect::FetchAttested => self.give_attested(index),
            Effect::GiveState(state) => self.given.push(state),
            Effect::Fetch(kind) => {
                if site.connected {
                    self.vector(index, kind);
                }
            }
            Effect::Save(state) => site.stored = Some(state),
            Effect::SetDeadline(deadline) => site.deadline = deadline,
            Effect::Tell(event) => site.events.push(event),
            Effect::Forget(round) => {
                site.vectors.remove(&round);
            }
            // The account is the test's own: it outlives the engine.
            Effect::Charge | Effect::Cancel(_) => {}
        }
    }
}
