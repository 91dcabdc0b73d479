//! What the clients of these tests have agreed on, and the rows that they hold.

use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use roundelay_crypto::identity::IdentityKey;
use roundelay_protocol::manifest::{Hyperparameters, Manifest, Member, Quantisation, Rules, Task};
use roundelay_protocol::model::ModelSpec;
use roundelay_protocol::optimiser::OptimiserSpec;
use roundelay_protocol::schema::{Column, ColumnKind, Schema};
use roundelay_protocol::testing;

const CLASSES: u32 = 3;

/// Softmax over three numbers and as many classes.
pub(crate) fn task(standardise: bool) -> Task {
    let column = |name: &str| Column {
        name: name.to_owned(),
        kind: ColumnKind::Number { min: -10.0, max: 10.0 },
    };
    let schema = Schema::Table {
        columns: vec![column("a"), column("b"), column("c")],
        label: "y".to_owned(),
        labels: ["x", "y", "z"].map(str::to_owned).to_vec(),
        standardise,
    };
    Task {
        optimiser: OptimiserSpec::FedAvgM { learning_rate: 1.0, momentum: 0.5 },
        hyperparameters: Hyperparameters {
            batch_rows: 8,
            learning_rate: 0.3,
            ..testing::hyperparameters()
        },
        quantisation: Quantisation {
            weight_max: 64,
            rows_per_weight: 4,
            ..testing::quantisation()
        },
        rounds: 100,
        privacy: None,
        ..testing::task(schema, ModelSpec::Softmax { seed: 3 })
    }
}

/// A manifest of so many tenants with one client each.
pub(crate) fn manifest_of(clients: usize) -> Manifest {
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    let keys: Vec<_> = (0..clients).map(|_| Arc::new(IdentityKey::random(&mut rng))).collect();
    manifest(&keys, &mut rng, task(false))
}

pub(super) fn manifest(keys: &[Arc<IdentityKey>], rng: &mut ChaCha20Rng, task: Task) -> Manifest {
    let mut members: Vec<Member> = keys
        .iter()
        .enumerate()
        .map(|(index, key)| Member {
            tenant: format!("t{index:02}").parse().unwrap(),
            tenant_key: IdentityKey::random(rng).public(),
            clients: vec![key.public()],
        })
        .collect();
    members.sort_by(|one, other| one.tenant.cmp(&other.tenant));
    let rules = Rules { dropout_permille: 400, ..testing::rules() };
    Manifest { rules, task, ..testing::manifest(members) }
}

/// Rows of which each class has its corner, a different mix at each site.
pub(super) fn rows(site: usize) -> (Vec<f32>, Vec<u32>) {
    let (mut inputs, mut labels) = (Vec::new(), Vec::new());
    for row in 0..40 + 8 * site {
        let class = (row * row + site) % CLASSES as usize;
        let wobble = ((row * 7 + site * 3) % 11) as f32 / 11.0 - 0.5;
        for feature in 0..3 {
            inputs.push(if feature == class { 3.0 } else { -1.0 } + wobble);
        }
        labels.push(u32::try_from(class).unwrap());
    }
    (inputs, labels)
}
