//! An engine from what is stored: the manifest in force, the engine's progress, the newest model,
//! and the records of the rounds that were not over.

use std::collections::BTreeSet;

use roundelay_crypto::digest::Digest;
use roundelay_protocol::codec::{self, DecodeError};
use roundelay_protocol::ids::{FederationId, ModelVersion, TenantId};
use roundelay_protocol::lineage::{LineageError, State};
use roundelay_protocol::manifest::{Manifest, SignatureError, SignedManifest};
use roundelay_protocol::model::ModelSpec;
use roundelay_protocol::round::horizontal::coordinator::Record;
use roundelay_protocol::time::Time;
use roundelay_protocol::transcript::NO_TRANSCRIPT;

use super::past::Past;
use super::states::{self, ReadError};
use super::{DriverSettings, Shared};
use crate::clock::now_unix_ms;
use crate::engine::Setup;
use crate::engine::audit::State as EngineState;
use crate::engine::federation::Progress;
use crate::engine::rounds::Interrupted;
use crate::store::leases::LEASE_MS;
use crate::store::{
    Federation, FederationState, LeaseName, Model, Round, RoundState, StoreError, TenantStore,
    Write,
};

/// Why a federation can't be driven as it is stored.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no such federation.
    #[error("there is no federation {0}")]
    NoSuchFederation(FederationId),
    /// No manifest has all its signatures.
    #[error("the manifest of federation {federation} is not complete: {why}")]
    Unsigned {
        /// The federation.
        federation: FederationId,
        /// What is missing.
        why: SignatureError,
    },
    /// There is no manifest at all, or not the one that it was driven under.
    #[error("federation {0} has no manifest to be driven under; restore a backup if it had one")]
    NoManifest(FederationId),
    /// The model has no initial state.
    #[error("the first model state of federation {federation}: {why}")]
    FirstState {
        /// The federation.
        federation: FederationId,
        /// Why there is none.
        why: LineageError,
    },
    /// A TorchScript module brings its initial parameters, and none were given.
    #[error(
        "federation {0} trains a TorchScript module: start it with `--initial FILE`, where FILE is what \
         `roundelay-trainer inspect MODULE --save FILE` writes"
    )]
    NoInitial(FederationId),
    /// A stored value is damaged.
    #[error("the stored {what} of federation {federation} is damaged ({why}); restore a backup")]
    Damaged {
        /// The federation.
        federation: FederationId,
        /// Which value.
        what: &'static str,
        /// How.
        why: String,
    },
}

/// Bytes of the engine's progress, as it is stored.
const PROGRESS_BYTES_MAX: usize = 1 << 20;

/// All that a task begins with.
pub(super) struct Loaded {
    pub(super) row: Federation,
    /// The manifest that the federation was driven under, or the newest one before the first start.
    pub(super) setup: Setup,
    /// The newest manifest, where it is another.
    pub(super) amended: Option<Manifest>,
    /// Tenants that are to reach the federation under manifests that are not driven yet: an
    /// amendment, and a draft that waits for signatures.
    pub(super) invited: BTreeSet<TenantId>,
    pub(super) state: EngineState,
    pub(super) progress: Progress,
    pub(super) interrupted: Vec<Interrupted>,
    pub(super) past: Past,
    /// The blob of the newest model state.
    pub(super) model: Digest,
}

impl Loaded {
    /// Those of the blobs on the federation's shelf that no row names: a crash left them.
    pub(super) fn unnamed(&self, mut listed: Vec<Digest>) -> Vec<Digest> {
        let records = self.interrupted.iter().flat_map(|round| &round.records);
        let sums = records.filter_map(|record| match record {
            Record::Survivors { sum, .. } => Some(*sum),
            _ => None,
        });
        let named: BTreeSet<Digest> = self.past.named().chain(sums).collect();
        listed.retain(|blob| !named.contains(blob));
        listed
    }
}

/// Reads everything that a task begins with.
pub(super) async fn load(
    shared: &Shared,
    owner: &TenantId,
    federation: FederationId,
) -> Result<Loaded, LoadError> {
    let rows = shared.store.tenant(owner);
    let row = rows.federation(federation).await?;
    let row = row.ok_or(LoadError::NoSuchFederation(federation))?;
    let rounds = rows.rounds(federation).await?;
    let interrupted = interrupted(&*rows, federation, &rounds).await?;
    let damaged = |what, why: String| LoadError::Damaged { federation, what, why };
    let models = rows.models(federation).await?;
    let newest = models.last().ok_or_else(|| damaged("list of models", "it is empty".into()))?;
    let progress: Option<Progress> = match rows.progress(federation).await? {
        Some(bytes) => codec::decode(&bytes, PROGRESS_BYTES_MAX)
            .map(Some)
            .map_err(|why: DecodeError| damaged("progress", why.to_string()))?,
        None => None,
    };
    let manifests = rows.manifests(federation).await?;
    let under = progress.as_ref().map(|progress| progress.manifest);
    let (driven, amended, invited) = driven(federation, manifests, under)?;
    let DriverSettings { pace, timing, keep, .. } = shared.settings;
    let setup = Setup::new(driven, pace, timing);
    let manifest = setup.terms.manifest();
    let first = || Progress::new(setup.terms.hash(), newest.state, NO_TRANSCRIPT);
    let progress = progress.unwrap_or_else(first);
    let blob = newest.blob.ok_or_else(|| damaged("newest model", "it was pruned".into()))?;
    match states::open(&shared.blobs.shelf(owner, federation), &manifest.task, blob).await {
        Err(ReadError::Store(error)) => return Err(error.into()),
        Err(ReadError::State(why)) => return Err(damaged("model", why.to_string())),
        Ok(_) => {}
    }
    Ok(Loaded {
        state: match row.state {
            FederationState::Running => EngineState::Running,
            FederationState::Draft | FederationState::Stopped => EngineState::Stopped,
            FederationState::Finished => EngineState::Finished,
        },
        interrupted,
        row,
        setup,
        amended,
        invited,
        progress,
        past: Past::new(federation, keep, models, rounds),
        model: blob,
    })
}

/// The newest manifest that has all its signatures.
pub(super) async fn in_force(
    rows: &dyn TenantStore,
    federation: FederationId,
) -> Result<Manifest, LoadError> {
    let (mut complete, _) = complete(federation, rows.manifests(federation).await?)?;
    complete.pop().ok_or(LoadError::NoManifest(federation))
}

/// The manifests that have all their signatures, each held against its predecessor, and those
/// behind them that do not.
fn complete(
    federation: FederationId,
    manifests: Vec<SignedManifest>,
) -> Result<(Vec<Manifest>, Vec<Manifest>), LoadError> {
    let mut complete: Vec<Manifest> = Vec::new();
    let mut manifests = manifests.into_iter();
    while let Some(signed) = manifests.next() {
        match signed.verify(complete.last()) {
            Ok(()) => complete.push(signed.manifest),
            Err(why) if complete.is_empty() => {
                return Err(LoadError::Unsigned { federation, why });
            }
            // An amendment that still collects signatures.
            Err(_) => {
                let drafts = std::iter::once(signed).chain(manifests);
                return Ok((complete, drafts.map(|draft| draft.manifest).collect()));
            }
        }
    }
    Ok((complete, Vec::new()))
}

/// The manifest to drive under, the newest one where that is another, and the tenants of all that
/// are newer than the driven one. The engine alone decides when an amendment takes force: one that
/// was completed meanwhile waits for that.
fn driven(
    federation: FederationId,
    manifests: Vec<SignedManifest>,
    under: Option<Digest>,
) -> Result<(Manifest, Option<Manifest>, BTreeSet<TenantId>), LoadError> {
    let (mut complete, drafts) = complete(federation, manifests)?;
    let newer = match under {
        Some(under) => {
            let at = complete.iter().position(|manifest| manifest.hash() == under);
            let at = at.ok_or(LoadError::NoManifest(federation))?;
            complete.split_off(at + 1)
        }
        None => Vec::new(),
    };
    let driven = complete.pop().ok_or(LoadError::NoManifest(federation))?;
    let invited = newer.iter().chain(&drafts).flat_map(Manifest::tenants).cloned().collect();
    Ok((driven, newer.into_iter().next_back(), invited))
}

async fn interrupted(
    rows: &dyn TenantStore,
    federation: FederationId,
    rounds: &[Round],
) -> Result<Vec<Interrupted>, LoadError> {
    let mut interrupted = Vec::new();
    for round in rounds {
        if round.state == RoundState::Running {
            let (began, cohort, round) = (Time(round.began_unix_ms), round.cohort, round.round);
            let records = rows.round_records(federation, round).await?;
            interrupted.push(Interrupted { round, began, cohort, records });
        }
    }
    interrupted.sort_by_key(|round: &Interrupted| round.round);
    Ok(interrupted)
}

/// Makes and stores version 0 of the model where it is not there yet. Under the lease: whoever holds
/// it deletes what lies on the federation's shelf and is named by no row.
pub(super) async fn first_state(
    shared: &Shared,
    owner: &TenantId,
    federation: FederationId,
    module: Option<Vec<f32>>,
) -> Result<(), LoadError> {
    let rows = shared.store.tenant(owner);
    if rows.model(federation, ModelVersion(0)).await?.is_some() {
        return Ok(());
    }
    let manifest = in_force(&*rows, federation).await?;
    if module.is_none() && matches!(manifest.task.model, ModelSpec::TorchScript { .. }) {
        return Err(LoadError::NoInitial(federation));
    }
    let state = State::initial(&manifest.task, module)
        .map_err(|why| LoadError::FirstState { federation, why })?;
    let (store, holder, now) = (&shared.store, &shared.settings.holder, now_unix_ms());
    let lease = LeaseName { owner: owner.clone(), federation };
    let fence = store.acquire(&lease, holder, now, LEASE_MS).await?;
    let (hash, blob) = states::store(&shared.blobs.shelf(owner, federation), &state).await?;
    let model = Model {
        version: ModelVersion(0),
        parent: None,
        round: None,
        state: hash,
        blob: Some(blob),
        transcript: None,
        survivors: 0,
        created_unix_ms: now,
        metrics: None,
    };
    let writes = vec![Write::PutModel { federation, model: Box::new(model) }];
    rows.transact("model.first", Some(&fence), writes).await?;
    Ok(store.release(&fence).await?)
}
