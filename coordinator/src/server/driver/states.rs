//! Model states on the shelf of a federation. They are as long as the model and its moments, so the
//! coordinator never holds one: it is stepped from one blob to another, window by window.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use roundelay_crypto::digest::{Digest, DigestStream};
use roundelay_protocol::lineage::{Head, LineageError, Standing, State, StateError, Step, Window};
use roundelay_protocol::manifest::Task;
use roundelay_protocol::metrics::Metrics;
use roundelay_protocol::plan::{PlanKind, TrainingPlan};

use super::boundary::ChunkSource;
use super::jobs::{JobError, heavy};
use crate::blobs::{BlobReader, BlobWriter, Shelf};
use crate::store::StoreError;

/// The state after a round.
pub(super) struct Next {
    /// Its hash.
    pub(super) hash: Digest,
    /// The blob that holds it; none where the round leaves the state as it is.
    pub(super) blob: Option<Digest>,
    pub(super) metrics: Option<Metrics>,
}

/// Why a blob gives no state of a task.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bytes are none.
    #[error(transparent)]
    State(#[from] StateError),
}

/// A state of a task in a blob: all of it but its vectors, and where these are read.
pub(crate) async fn open(
    shelf: &Shelf,
    task: &Task,
    blob: Digest,
) -> Result<(Head, BlobReader), ReadError> {
    let reader = shelf.get(blob).await?;
    let bytes = reader.bytes();
    let most = usize::try_from(bytes.min(Head::bytes_max(task))).unwrap_or(usize::MAX);
    let (head, _) = Head::read(task, &reader.from(0).exactly(most).await?)?;
    let expected = head.state_bytes();
    match expected == bytes {
        true => Ok((head, reader)),
        false => Err(StateError::Length { bytes, expected }.into()),
    }
}

/// A state on its way into a blob, hashed as it goes.
struct Writer {
    hash: DigestStream,
    blob: BlobWriter,
}

impl Writer {
    async fn begin(shelf: &Shelf, head: &Head) -> Result<Self, StoreError> {
        let blob = shelf.create(head.state_bytes()).await?;
        Ok(Self { hash: head.hash(), blob })
    }

    async fn push(&mut self, piece: Bytes) -> Result<(), StoreError> {
        self.hash.push(&piece);
        self.blob.push(piece).await
    }

    async fn finish(self) -> Result<(Digest, Digest), StoreError> {
        Ok((self.hash.finish(), self.blob.finish().await?))
    }
}

/// Stores a state; returns its hash and its blob.
pub(super) async fn store(shelf: &Shelf, state: &State) -> Result<(Digest, Digest), StoreError> {
    let mut writer = Writer::begin(shelf, state.head()).await?;
    for piece in state.pieces() {
        writer.push(piece.into()).await?;
    }
    writer.finish().await
}

/// Steps the state in the blob `from` by a round's sum.
pub(super) async fn advance(
    shelf: &Shelf,
    task: &Task,
    from: Digest,
    plan: &TrainingPlan,
    sum: &Bytes,
    survivors: u16,
) -> Result<Next, JobError> {
    let (head, reader) = open(shelf, task, from).await?;
    let (kind, layout, survivors) = (plan.kind, &plan.layout, u32::from(survivors));
    let step = Step::new(task, kind, layout, sum, survivors, &head, || plan.model)?;
    let metrics = step.metrics();
    if kind == PlanKind::Evaluate {
        return Ok(Next { hash: plan.model, blob: None, metrics });
    }
    let mut writer = Writer::begin(shelf, step.next()).await?;
    let stepped = write_step(&mut writer, Arc::new(step), &head, &reader, sum).await;
    if let Err(error) = stepped {
        writer.blob.discard().await;
        return Err(error);
    }
    let (hash, blob) = writer.finish().await?;
    Ok(Next { hash, blob: Some(blob), metrics })
}

/// A blob is written in order, so for each vector of the next state all of the one before it are
/// read once more.
async fn write_step(
    writer: &mut Writer,
    step: Arc<Step>,
    head: &Head,
    before: &BlobReader,
    sum: &Bytes,
) -> Result<(), JobError> {
    writer.push(step.next().to_bytes().into()).await?;
    for written in 0..head.vectors() {
        let starts = (0..head.vectors()).map(|vector| head.vector_start(vector));
        let mut readers: Vec<_> = starts.map(|start| before.from(start)).collect();
        for window in step.windows() {
            let mut vectors = Vec::with_capacity(readers.len());
            for reader in &mut readers {
                vectors.push(reader.exactly(4 * window.words.len()).await?);
            }
            let bytes = vectors.iter().map(|vector| vector.len() as u64).sum();
            let (step, sum) = (Arc::clone(&step), sum.clone());
            let work = move || stepped(&step, &sum, &window, &vectors, written);
            writer.push(heavy(bytes, work).await??).await?;
        }
    }
    Ok(())
}

/// One vector of a window, stepped.
fn stepped(
    step: &Step,
    sum: &[u8],
    window: &Window,
    vectors: &[Bytes],
    written: usize,
) -> Result<Bytes, LineageError> {
    let mut vectors: Vec<Vec<f32>> = vectors.iter().map(|vector| numbers(vector)).collect();
    let mut parts = vectors.iter_mut().map(Vec::as_mut_slice);
    let model = parts.next().unwrap_or_default();
    step.take(sum, window, model, &mut parts.collect::<Vec<_>>())?;
    let values = vectors.get(written).map(Vec::as_slice).unwrap_or_default();
    Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

fn numbers(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

/// A state that a client gave back, stored.
pub(super) struct Given {
    /// Its hash.
    pub(super) hash: Digest,
    pub(super) blob: Digest,
    pub(super) standardised: bool,
}

/// Stores a state that was lost here as it comes in, if it is the one that was asked for.
pub(super) async fn receive(
    shelf: &Shelf,
    task: &Task,
    asked: &Standing,
    bytes: u64,
    chunks: &mut dyn ChunkSource,
) -> Result<Option<Given>, StoreError> {
    let Some((head, start)) = receive_head(task, bytes, chunks).await else { return Ok(None) };
    if head.version() != asked.model_version {
        return Ok(None);
    }
    let mut writer = Writer::begin(shelf, &head).await?;
    let (mut left, mut piece) = (bytes, start);
    // Too long a one is another.
    while let Some(rest) = left.checked_sub(piece.len() as u64) {
        left = rest;
        writer.push(piece).await?;
        let Ok(Some(next)) = chunks.next().await else { break };
        piece = next;
    }
    if left > 0 || writer.hash.clone().finish() != asked.state {
        writer.blob.discard().await;
        return Ok(None);
    }
    let standardised = head.standardisation().is_some();
    let (hash, blob) = writer.finish().await?;
    Ok(Some(Given { hash, blob, standardised }))
}

/// The head of a state of so many bytes, if these are one of the task; and all that came so far.
async fn receive_head(
    task: &Task,
    bytes: u64,
    chunks: &mut dyn ChunkSource,
) -> Option<(Head, Bytes)> {
    let enough = bytes.min(Head::bytes_max(task));
    let mut start = BytesMut::new();
    while (start.len() as u64) < enough {
        start.extend_from_slice(&chunks.next().await.ok()??);
    }
    let (head, _) = Head::read(task, &start).ok()?;
    (head.state_bytes() == bytes).then(|| (head, start.freeze()))
}

#[cfg(test)]
mod tests;
