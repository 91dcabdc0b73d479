//! Small manifests and their parts for the tests of this crate.

pub(crate) mod wire;

use roundelay_crypto::mask::add_words;

use crate::ids::FederationId;
use crate::layout::Layout;
use crate::manifest::{
    AmendmentRule, CoordinatorTrust, Hyperparameters, Manifest, Member, Quantisation, Rules, Task,
};
use crate::model::ModelSpec;
use crate::optimiser::OptimiserSpec;
use crate::schema::{Column, ColumnKind, Schema};

/// Grey pictures of `side` × `side` pixels.
pub(crate) fn images(side: u32, classes: u32) -> Schema {
    Schema::Images { channels: 1, height: side, width: side, classes }
}

/// A task with plain averaging.
pub(crate) fn task_of(schema: Schema, model: ModelSpec) -> Task {
    Task {
        schema,
        model,
        optimiser: OptimiserSpec::FedAvg { learning_rate: 1.0 },
        hyperparameters: Hyperparameters {
            local_epochs: 1,
            batch_rows: 32,
            learning_rate: 0.1,
            momentum: 0.0,
            proximal: 0.0,
        },
        quantisation: Quantisation {
            ring_bits: 32,
            clip: 1.0,
            weight_max: 100,
            rows_per_weight: 10,
        },
        rounds: 3,
    }
}

/// A table of three features, two of them numbers, and two classes.
pub(crate) fn table() -> Schema {
    let number = |min, max| ColumnKind::Number { min, max };
    let category = ColumnKind::Category { values: vec!["a".into(), "b".into()] };
    let columns = [("age", number(0.0, 120.0)), ("plan", category), ("spend", number(-10.0, 1e4))];
    Schema::Table {
        columns: columns.map(|(name, kind)| Column { name: name.into(), kind }).into(),
        label: "churned".into(),
        labels: vec!["no".into(), "yes".into()],
        standardise: true,
    }
}

/// The sum of uploads of one layout.
pub(crate) fn sum(layout: &Layout, uploads: &[Vec<u8>]) -> Vec<u8> {
    let mut sum = vec![0; layout.blank().len()];
    for upload in uploads {
        for chunk in layout.chunks() {
            add_words(&mut sum[chunk.range()], chunk.ring, &upload[chunk.range()]);
        }
    }
    sum
}

/// Tenants `t0`, `t1`, …, each with so many clients. Keys are numbered: tenant i signs with
/// [`wire::key`]`(100 + i)`, and its clients are the next ones from 1 on.
pub(crate) fn manifest(clients_of: &[u8]) -> Manifest {
    let mut client = 0;
    let mut members = Vec::new();
    for (tenant, count) in (0..).zip(clients_of) {
        let clients = (0..*count).map(|_| {
            client += 1;
            wire::identity(client)
        });
        let tenant_key = wire::identity(100 + tenant);
        let tenant = format!("t{tenant}").parse().unwrap();
        members.push(Member { tenant, tenant_key, clients: clients.collect() });
    }
    Manifest {
        federation: FederationId([7; 16]),
        name: "digits".into(),
        version: 0,
        predecessor: None,
        owner: "t0".parse().unwrap(),
        members,
        rules: Rules {
            coordinator: CoordinatorTrust::Malicious,
            corrupt_max: None,
            dropout_permille: 300,
            clients_min: 3,
            pinned_peers_min: 2,
            whole_groups: false,
            amendment: AmendmentRule::All,
        },
        task: task_of(images(8, 10), ModelSpec::Softmax { seed: 1 }),
    }
}

/// Compares a text with the frozen file `tests/vectors/<name>`, byte for byte. With
/// `ROUNDELAY_WRITE_VECTORS=1` in the environment it writes the file instead: for a new wire
/// version or a new vector, never to make a test pass.
pub(crate) fn frozen(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
    if std::env::var_os("ROUNDELAY_WRITE_VECTORS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let frozen = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(text, frozen, "{} is frozen", path.display());
}
