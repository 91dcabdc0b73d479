//! A small federation for the tests of engine and driver: its manifest, and clients that run the
//! client's half of the rounds with real keys, masks, sums and model states.

use std::collections::BTreeSet;
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use roundelay_crypto::identity::IdentityKey;
use roundelay_crypto::secret::Secret;
use roundelay_protocol::manifest::{Manifest, Member, Quantisation, Rules, SignedManifest, Task};
use roundelay_protocol::model::ModelSpec;
use roundelay_protocol::optimiser::OptimiserSpec;
use roundelay_protocol::round::horizontal::coordinator::Timing;
use roundelay_protocol::testing::{self, images, numbers};
use roundelay_protocol::time::Millis;

mod client;

pub(crate) use client::{Out, TestClient};

/// Identity keys of so many clients, one tenant each.
pub(crate) fn keys(clients: usize) -> Vec<Arc<IdentityKey>> {
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    (0..clients).map(|_| Arc::new(IdentityKey::random(&mut rng))).collect()
}

/// The key with which a tenant signs manifests.
fn tenant_key(number: usize) -> IdentityKey {
    IdentityKey::from_seed(Secret::new([u8::try_from(number).unwrap(); 32]))
}

/// Stages that are long enough for anyone who is there.
pub(crate) fn timing() -> Timing {
    Timing {
        advertise_keys: Millis(2_000),
        share_keys: Millis(2_000),
        masked_input: Millis(10_000),
        consistency_check: Millis(2_000),
        unmasking: Millis(10_000),
        grace: Millis(500),
    }
}

/// A table of two numbers, or pictures of four pixels; plain averaging with momentum.
pub(crate) fn manifest(keys: &[Arc<IdentityKey>], rounds: u32, standardise: bool) -> Manifest {
    let members = keys.iter().enumerate().map(|(number, key)| Member {
        tenant: format!("tenant-{number:03}").parse().unwrap(),
        tenant_key: tenant_key(number).public(),
        clients: vec![key.public()],
    });
    let schema = if standardise { numbers(&["a", "b"]) } else { images(2, 2) };
    let task = Task {
        optimiser: OptimiserSpec::FedAvgM { learning_rate: 1.0, momentum: 0.5 },
        quantisation: Quantisation { rows_per_weight: 1, ..testing::quantisation() },
        rounds,
        ..testing::task(schema, ModelSpec::Softmax { seed: 1 })
    };
    let rules = Rules { dropout_permille: 400, pinned_peers_min: 1, ..testing::rules() };
    Manifest { name: "small".into(), rules, task, ..testing::manifest(members.collect()) }
}

/// The manifest with the signature of every member, and of every member before it.
pub(crate) fn signed(manifest: Manifest, predecessor: Option<&Manifest>) -> SignedManifest {
    let mut signed = SignedManifest::draft(manifest).unwrap();
    let before = predecessor.into_iter().flat_map(Manifest::tenants);
    let signers: BTreeSet<_> = signed.manifest.tenants().chain(before).cloned().collect();
    for tenant in signers {
        let number = tenant.as_str().strip_prefix("tenant-").unwrap().parse().unwrap();
        let signature = signed.manifest.sign(&tenant_key(number));
        signed.add(predecessor, &tenant, signature).unwrap();
    }
    signed
}

/// How an amendment changes the members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The last tenant leaves.
    Leave,
    /// A tenant joins behind the last.
    Join,
    /// The last tenant's client has a new key.
    Replace,
}

/// The manifest after a change of the clients with these keys, and the keys after it. `spare` is
/// the newcomer's or the new one.
pub(crate) fn amendment(
    before: &Manifest,
    keys: &[Arc<IdentityKey>],
    spare: &Arc<IdentityKey>,
    change: Change,
) -> (Manifest, Vec<Arc<IdentityKey>>) {
    let mut keys = keys.to_vec();
    if change != Change::Join {
        keys.pop();
    }
    if change != Change::Leave {
        keys.push(Arc::clone(spare));
    }
    let members = manifest(&keys, before.task.rounds, false).members;
    let (version, predecessor) = (before.version + 1, Some(before.hash()));
    (Manifest { version, predecessor, members, ..before.clone() }, keys)
}
