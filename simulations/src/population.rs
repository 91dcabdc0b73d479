//! The clients of one federation: their keys, the manifest that names them, and what each of them
//! knows. Their contributions are small and known in the plain, so that every published sum can be
//! held against the sum of what its survivors put in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};
use roundelay_client::train::{Control, DataSummary, TrainError, Trainer, Update};
use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::IdentityKey;
use roundelay_crypto::secret::Secret;
use roundelay_protocol::contribution;
use roundelay_protocol::ids::{ClientId, FederationId, ModelVersion, TenantId};
use roundelay_protocol::layout::{Layout, ValueError};
use roundelay_protocol::limits::MEMBERS_MAX;
use roundelay_protocol::lineage::{LineageError, State};
use roundelay_protocol::manifest::{
    AmendmentRule, CoordinatorTrust, Hyperparameters, Manifest, ManifestError, Member,
    Quantisation, Rules, Task,
};
use roundelay_protocol::metrics::Metrics;
use roundelay_protocol::model::ModelSpec;
use roundelay_protocol::optimiser::OptimiserSpec;
use roundelay_protocol::plan::{PlanKind, TrainingPlan};
use roundelay_protocol::privacy::Account;
use roundelay_protocol::round::horizontal::client;
use roundelay_protocol::round::horizontal::terms::Terms;
use roundelay_protocol::schema::{Column, ColumnKind, Schema};
use roundelay_protocol::statistics::{ColumnStatistics, Standardisation};

use crate::network::ClientNumber;
use crate::scenario::{PATIENCE, Scenario};

/// Why a scenario has no federation. Whoever wrote it is at fault.
#[derive(Debug, thiserror::Error)]
pub enum PopulationError {
    /// The manifest can't be.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Its model can't be.
    #[error(transparent)]
    Lineage(#[from] LineageError),
}

/// All clients of one federation.
#[derive(Debug)]
pub struct Population {
    terms: Arc<Terms>,
    initial: Arc<State>,
    residents: Vec<Resident>,
    numbers: BTreeMap<ClientId, ClientNumber>,
    seed: u64,
}

/// One client.
#[derive(Debug)]
pub struct Resident {
    /// Fingerprint of its identity.
    pub id: ClientId,
    /// Its tenant.
    pub tenant: TenantId,
    key_seed: [u8; 32],
}

impl Population {
    /// The population of a scenario: one tenant for each client, or as many clients for each as it
    /// takes.
    pub fn new(scenario: &Scenario) -> Result<Self, PopulationError> {
        let mut rng = scenario.rng("population");
        let of_a_tenant = scenario.clients.div_ceil(MEMBERS_MAX).max(1);
        let residents: Vec<_> = (0..scenario.clients)
            .map(|number| resident(tenant(number / of_a_tenant), rng.random()))
            .collect();
        let manifest = manifest(scenario, &residents, FederationId(rng.random()));
        manifest.validate()?;
        let initial = Arc::new(State::initial(&manifest.task, None)?);
        let numbers = (0..).zip(&residents).map(|(number, one)| (one.id, number)).collect();
        let terms = Arc::new(Terms::new(manifest));
        Ok(Self { terms, initial, residents, numbers, seed: scenario.seed })
    }

    /// What the manifest says about rounds.
    #[must_use]
    pub fn terms(&self) -> &Arc<Terms> {
        &self.terms
    }

    /// What is learned.
    #[must_use]
    pub fn task(&self) -> &Task {
        &self.terms.manifest().task
    }

    /// Version 0 of the model.
    #[must_use]
    pub fn initial(&self) -> &Arc<State> {
        &self.initial
    }

    /// All clients, by their numbers.
    #[must_use]
    pub fn residents(&self) -> &[Resident] {
        &self.residents
    }

    /// The number of a client.
    #[must_use]
    pub fn number(&self, client: ClientId) -> Option<ClientNumber> {
        self.numbers.get(&client).copied()
    }

    /// What a client's round machines need.
    #[must_use]
    pub fn setup(&self, client: ClientNumber) -> client::Setup {
        let own = &self.residents[client];
        let others: BTreeSet<_> =
            self.residents.iter().map(|one| one.id).filter(|id| *id != own.id).collect();
        client::Setup {
            terms: Arc::clone(&self.terms),
            identity: Arc::new(IdentityKey::from_seed(Secret::new(own.key_seed))),
            pinned: Arc::new(others),
            patience: PATIENCE,
            account: Account::default(),
        }
    }

    /// The trainer of a client.
    #[must_use]
    pub fn trainer(&self, client: ClientNumber) -> Known {
        let (schema, initial) = (self.task().schema.clone(), self.initial.model().to_vec());
        Known { seed: self.seed, client, schema, initial }
    }

    /// What a client puts into a round, in the plain: words and check lanes.
    ///
    /// # Errors
    /// The plan's layout does not take what the client has.
    pub fn plain(&self, client: ClientNumber, plan: &TrainingPlan) -> Result<Vec<u8>, ValueError> {
        let (known, layout) = (self.trainer(client), &plan.layout);
        match plan.kind {
            PlanKind::Statistics => contribution::statistics(layout, &known.column_statistics()),
            PlanKind::Evaluate => contribution::evaluate(layout, &known.metrics()),
            PlanKind::Train => {
                let parameters = self.initial.model().len();
                let (delta, rows) = (known.delta(plan.model_version, parameters), known.rows());
                let weight = self.task().quantisation.weight(rows);
                contribution::train(layout, &delta, weight, &known.metrics())
            }
        }
    }
}

fn resident(tenant: TenantId, key_seed: [u8; 32]) -> Resident {
    let identity = IdentityKey::from_seed(Secret::new(key_seed)).public();
    Resident { id: ClientId(identity.fingerprint()), tenant, key_seed }
}

/// Names in the order of the numbers.
fn tenant(number: usize) -> TenantId {
    format!("t{number:06}").parse().expect("a short name of letters and digits")
}

fn manifest(scenario: &Scenario, residents: &[Resident], federation: FederationId) -> Manifest {
    let public = |seed: [u8; 32]| IdentityKey::from_seed(Secret::new(seed)).public();
    let member = |residents: &[Resident]| {
        let tenant_seed = Digest::of("roundelay/simulation/tenant-key", &[&residents[0].key_seed]);
        Member {
            tenant: residents[0].tenant.clone(),
            tenant_key: public(tenant_seed.0),
            clients: residents.iter().map(|resident| public(resident.key_seed)).collect(),
        }
    };
    let complete = residents.len() <= CoordinatorTrust::Malicious.cohort_max();
    let coordinator =
        if complete { CoordinatorTrust::Malicious } else { CoordinatorTrust::SemiHonest };
    Manifest {
        federation,
        name: "simulated".into(),
        version: 0,
        predecessor: None,
        owner: tenant(0),
        members: residents.chunk_by(|one, other| one.tenant == other.tenant).map(member).collect(),
        rules: Rules {
            coordinator,
            corrupt_max: None,
            dropout_permille: scenario.dropout_permille,
            clients_min: scenario.clients_min,
            pinned_peers_min: 1,
            whole_groups: scenario.whole_groups,
            amendment: AmendmentRule::All,
        },
        task: task(scenario),
    }
}

fn task(scenario: &Scenario) -> Task {
    let schema = if scenario.standardise {
        let kind = ColumnKind::Number { min: -4.0, max: 12.0 };
        let column = |name: &str| Column { name: name.into(), kind: kind.clone() };
        Schema::Table {
            columns: ["age", "dose", "score"].into_iter().map(column).collect(),
            label: "outcome".into(),
            labels: vec!["no".into(), "yes".into()],
            standardise: true,
        }
    } else {
        Schema::Images { channels: 1, height: 3, width: 3, classes: 3 }
    };
    Task {
        schema,
        model: ModelSpec::Softmax { seed: scenario.seed },
        optimiser: OptimiserSpec::FedAvgM { learning_rate: 1.0, momentum: 0.9 },
        hyperparameters: Hyperparameters {
            local_epochs: 1,
            batch_rows: 16,
            learning_rate: 0.1,
            momentum: 0.0,
            proximal: 0.0,
        },
        quantisation: Quantisation {
            ring_bits: scenario.ring_bits,
            clip: 0.5,
            weight_max: 10,
            rows_per_weight: 5,
        },
        rounds: scenario.rounds,
        privacy: None,
    }
}

/// A trainer whose results are known beforehand: they depend on the client and the model's version alone.
#[derive(Debug, Clone)]
pub struct Known {
    seed: u64,
    client: ClientNumber,
    schema: Schema,
    initial: Vec<f32>,
}

impl Known {
    fn rng(&self, purpose: &str, version: ModelVersion) -> ChaCha12Rng {
        let (seed, client) = (self.seed.to_le_bytes(), self.client.to_le_bytes());
        let parts: [&[u8]; 4] = [&seed, &client, purpose.as_bytes(), &version.0.to_le_bytes()];
        ChaCha12Rng::from_seed(Digest::of("roundelay/simulation/known", &parts).0)
    }

    fn rows(&self) -> u64 {
        self.rng("rows", ModelVersion(0)).random_range(1..80)
    }

    /// Some of it beyond the clip.
    fn delta(&self, version: ModelVersion, parameters: usize) -> Vec<f32> {
        let mut rng = self.rng("delta", version);
        (0..parameters).map(|_| rng.random_range(-0.6..0.6)).collect()
    }

    fn metrics(&self) -> Metrics {
        let mut rng = self.rng("metrics", ModelVersion(0));
        let rows = rng.random_range(0..50);
        let correct = rng.random_range(0..=rows);
        Metrics { rows, correct, loss_sum: rng.random_range(0.0..3.0) * rows as f64 }
    }

    fn column_statistics(&self) -> Vec<ColumnStatistics> {
        let (mut rng, rows) = (self.rng("columns", ModelVersion(0)), self.rows());
        let mut values = || (0..rows).map(|_| rng.random_range(-4.0..12.0)).collect::<Vec<f32>>();
        let statistics = |column| ColumnStatistics::of(&column, values()).unwrap_or_default();
        self.schema.numeric_columns().map(statistics).collect()
    }
}

impl Trainer for Known {
    fn prepare(&mut self, task: &Task) -> Result<DataSummary, TrainError> {
        let (rows, held_out_rows) = (self.rows(), self.metrics().rows);
        let data = Digest::of("roundelay/simulation/data", &[&self.client.to_le_bytes()]);
        let data_set = "all".to_owned();
        Ok(DataSummary { rows, held_out_rows, schema: task.schema.digest(), data, data_set })
    }

    fn statistics(&mut self) -> Result<Vec<ColumnStatistics>, TrainError> {
        Ok(self.column_statistics())
    }

    fn standardise(&mut self, _by: &Standardisation) -> Result<(), TrainError> {
        Ok(())
    }

    fn initial(&mut self) -> Result<Vec<f32>, TrainError> {
        Ok(self.initial.clone())
    }

    fn train(
        &mut self,
        model: &[f32],
        _hyperparameters: &Hyperparameters,
        version: ModelVersion,
        _control: &dyn Control,
    ) -> Result<Update, TrainError> {
        Ok(Update { delta: self.delta(version, model.len()), rows: self.rows(), loss: 1.0 })
    }

    fn evaluate(&mut self, _model: &[f32]) -> Result<Metrics, TrainError> {
        Ok(self.metrics())
    }
}

/// The plain sum of several contributions, word by word in the rings of their layout: an
/// implementation of its own, against which accumulated, masked and unmasked sums are held.
#[must_use]
pub fn plain_sum(layout: &Layout, contributions: &[Vec<u8>]) -> Vec<u8> {
    let mut sum = vec![0; usize::try_from(layout.total_bytes()).unwrap_or(usize::MAX)];
    for chunk in layout.chunks() {
        let width = chunk.ring.bytes();
        for start in chunk.range().step_by(width) {
            let word = |bytes: &Vec<u8>| {
                let mut wide = [0; 16];
                wide[..width].copy_from_slice(&bytes[start..start + width]);
                u128::from_le_bytes(wide)
            };
            let total: u128 = contributions.iter().map(word).sum();
            sum[start..start + width].copy_from_slice(&total.to_le_bytes()[..width]);
        }
    }
    sum
}
