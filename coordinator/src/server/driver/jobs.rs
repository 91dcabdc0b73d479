//! Heavy work on other threads: the sum is sealed and stored, the masks come off, the server
//! optimiser steps. Each job ends in mail for the task that asked for it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use roundelay_crypto::digest::Digest;
use roundelay_crypto::secret::Seed;
use roundelay_protocol::error::AbortReason;
use roundelay_protocol::ids::{ClientId, FederationId, RoundNumber};
use roundelay_protocol::lineage::{LineageError, StateError};
use roundelay_protocol::manifest::Task;
use roundelay_protocol::message::BoxRoster;
use roundelay_protocol::plan::TrainingPlan;
use roundelay_protocol::round::horizontal::coordinator::{StoredBoxes, UnmaskOutcome, UnmaskPlan};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::states::{self, Next, ReadError};
use crate::accumulator::{Accumulator, SealError, open};
use crate::blobs::Shelf;
use crate::store::{StoreError, TenantStore};

/// Below so many bytes work is done at once: handing it to another thread would take longer.
const INLINE_BYTES: u64 = 256 << 10;
/// A key agreement takes as long as the work on so many bytes, about 0.1 ms.
const AGREEMENT_BYTES: u64 = 128 << 10;

/// Why a job failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum JobError {
    /// The store: the task begins again from what is stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sum is not exact: the round is aborted.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// No state follows from the aggregate: the round is aborted.
    #[error(transparent)]
    Lineage(#[from] LineageError),
    /// The state before it is none of the task: the round is aborted.
    #[error("the newest model state is damaged ({0}); restore a backup")]
    State(StateError),
    /// The thread died.
    #[error("internal error: a worker thread died")]
    Died,
}

impl From<ReadError> for JobError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Store(error) => Self::Store(error),
            ReadError::State(error) => Self::State(error),
        }
    }
}

impl JobError {
    /// Why the round is aborted.
    ///
    /// # Errors
    /// The store failed: the round is not aborted, the task begins again.
    pub(super) fn abort_reason(self) -> Result<AbortReason, StoreError> {
        match self {
            // Nothing brings a sum back that is gone.
            Self::Store(StoreError::NoSuchBlob { .. }) => Ok(AbortReason::Internal),
            Self::Store(error) => Err(error),
            Self::Seal(_) | Self::State(_) | Self::Died => Ok(AbortReason::Internal),
            Self::Lineage(_) => Ok(AbortReason::NothingFollows),
        }
    }
}

/// A masked sum and the blob that holds it.
pub(super) struct StoredSum {
    pub(super) blob: Digest,
    pub(super) sum: Bytes,
}

/// A sum without its masks.
pub(super) struct Unmasked {
    pub(super) outcome: UnmaskOutcome,
    pub(super) aggregate: Bytes,
}

/// What follows from an aggregate, stored.
pub(super) struct Stored {
    pub(super) next: Next,
    pub(super) aggregate_blob: Digest,
}

/// Seals the sum over exactly the survivors and stores it.
pub(super) async fn store_sum(
    shelf: Shelf,
    accumulator: Arc<Accumulator>,
    survivors: Vec<ClientId>,
) -> Result<StoredSum, JobError> {
    let sum = heavy(accumulator.bytes(), move || accumulator.seal(&survivors)).await??.freeze();
    let blob = shelf.put(sum.clone()).await?;
    Ok(StoredSum { blob, sum })
}

/// Takes the masks off a stored sum, in place where it is still in memory, and checks its lanes.
pub(super) async fn take_masks_off(
    shelf: Shelf,
    sum: Option<Bytes>,
    plan: UnmaskPlan,
) -> Result<Unmasked, JobError> {
    let sum = match sum {
        Some(sum) => sum,
        None => shelf.read(plan.sum).await?.into(),
    };
    // A dropout costs a key agreement with every survivor, whatever the size of the model.
    let work = sum.len() as u64 + AGREEMENT_BYTES.saturating_mul(plan.agreements() as u64);
    heavy(work, move || unmasked(sum, plan)).await
}

fn unmasked(sum: Bytes, plan: UnmaskPlan) -> Unmasked {
    let (layout, survivors) = (plan.layout.clone(), u32::from(plan.survivors));
    // The blob is written: nobody else holds the bytes, and no copy is made.
    let mut sum = sum.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared));
    let outcome = match plan.mask_keys() {
        Err(client) => UnmaskOutcome::KeysDiffer(client),
        Ok(keys) => open(&mut sum, &layout, survivors, &keys, Seed::new(rand::random())),
    };
    Unmasked { outcome, aggregate: sum.freeze() }
}

/// Steps the state in the blob `from` by a round's aggregate, and stores the aggregate.
pub(super) async fn apply(
    shelf: Shelf,
    task: Arc<Task>,
    from: Digest,
    plan: Box<TrainingPlan>,
    aggregate: Bytes,
    survivors: u16,
) -> Result<Stored, JobError> {
    let next = states::advance(&shelf, &task, from, &plan, &aggregate, survivors);
    let put = async { Ok(shelf.put(aggregate.clone()).await?) };
    let (next, aggregate_blob) = tokio::try_join!(next, put)?;
    Ok(Stored { next, aggregate_blob })
}

/// The boxes of a client, from the records of a round; none where these are gone. The records are
/// read bit by bit, and for one client at a time: they are the bulk of a round's preparation.
pub(super) async fn boxes(
    rows: Arc<dyn TenantStore>,
    turn: Arc<Semaphore>,
    federation: FederationId,
    round: RoundNumber,
    client: ClientId,
) -> Result<Option<BoxRoster>, JobError> {
    let _turn = turn.acquire_owned().await.map_err(|_| JobError::Died)?;
    let (mut boxes, mut after) = (StoredBoxes::of(client), None);
    while let Some((at, records)) = rows.next_records(federation, round, after).await? {
        after = Some(at);
        // A digest for each edge of the round.
        boxes = heavy(u64::MAX, move || {
            records.iter().for_each(|record| boxes.push(record));
            boxes
        })
        .await?;
    }
    Ok(boxes.finish())
}

/// Runs work on a blocking thread, unless it is over sooner than that would take.
pub(super) async fn heavy<T: Send + 'static>(
    bytes: u64,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JobError> {
    if bytes < INLINE_BYTES {
        return Ok(work());
    }
    spawn_blocking(work).await.map_err(|_| JobError::Died)
}
