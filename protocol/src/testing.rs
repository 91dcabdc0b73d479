//! One small manifest and its parts, for the tests of this crate and of those that depend on it:
//! behind the feature `testing`. A test that needs another floor or task changes that one thing:
//! `Rules { clients_min: 4, ..rules() }`. Frozen vectors hold these values.

use crate::ids::FederationId;
use crate::manifest::{
    AmendmentRule, CoordinatorTrust, Hyperparameters, Manifest, Member, Quantisation, Rules, Task,
};
use crate::model::ModelSpec;
use crate::optimiser::OptimiserSpec;
use crate::schema::{Column, ColumnKind, Schema};

/// Grey pictures of `side` × `side` pixels.
#[must_use]
pub fn images(side: u32, classes: u32) -> Schema {
    Schema::Images { channels: 1, height: side, width: side, classes }
}

/// A table of numbers from −1 to 1 in these columns, with two classes, to be standardised.
#[must_use]
pub fn numbers(columns: &[&str]) -> Schema {
    let kind = ColumnKind::Number { min: -1.0, max: 1.0 };
    let column = |name: &&str| Column { name: (*name).to_owned(), kind: kind.clone() };
    Schema::Table {
        columns: columns.iter().map(column).collect(),
        label: "label".to_owned(),
        labels: vec!["no".to_owned(), "yes".to_owned()],
        standardise: true,
    }
}

/// Three rounds of plain averaging.
#[must_use]
pub fn task(schema: Schema, model: ModelSpec) -> Task {
    Task {
        schema,
        model,
        optimiser: OptimiserSpec::FedAvg { learning_rate: 1.0 },
        hyperparameters: hyperparameters(),
        quantisation: quantisation(),
        rounds: 3,
        privacy: None,
    }
}

/// One pass in batches of 32, learning rate 0.1, no momentum, no proximal term.
#[must_use]
pub fn hyperparameters() -> Hyperparameters {
    Hyperparameters {
        local_epochs: 1,
        batch_rows: 32,
        learning_rate: 0.1,
        momentum: 0.0,
        proximal: 0.0,
    }
}

/// 32 bits for coordinates up to 1, and weights up to 100 for 10 rows each.
#[must_use]
pub fn quantisation() -> Quantisation {
    Quantisation { ring_bits: 32, clip: 1.0, weight_max: 100, rows_per_weight: 10 }
}

/// The coordinator may lie; three clients at least, of which each has pinned two; 30 % may drop.
#[must_use]
pub fn rules() -> Rules {
    Rules {
        coordinator: CoordinatorTrust::Malicious,
        corrupt_max: None,
        dropout_permille: 300,
        clients_min: 3,
        pinned_peers_min: 2,
        whole_groups: false,
        amendment: AmendmentRule::All,
    }
}

/// The first version of a federation of these members, owned by the first of them, that learns the
/// softmax of [`images`] of 8 × 8 pixels in ten classes by these [`rules`] and this [`task`].
///
/// # Panics
/// Without a member.
#[must_use]
pub fn manifest(members: Vec<Member>) -> Manifest {
    Manifest {
        federation: FederationId([7; 16]),
        name: "digits".to_owned(),
        version: 0,
        predecessor: None,
        owner: members.first().expect("a federation has a member").tenant.clone(),
        members,
        rules: rules(),
        task: task(images(8, 10), ModelSpec::Softmax { seed: 1 }),
    }
}
