//! The unidirectional streams of one client: rosters are put together under limits, masked vectors
//! go piece by piece to the driver, as fast as it takes them.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use roundelay_protocol::close::CloseCode;
use roundelay_protocol::ids::{FederationId, RoundNumber};
use roundelay_protocol::limits::{FRAME_BYTES_PREAUTH_MAX, ROSTER_ITEM_BYTES_MAX};
use roundelay_protocol::message::FromClient;
use roundelay_protocol::session::{Assembler, RosterKind, StreamHeader, VectorKind};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::closing::Closing;
use super::connection::Context;
use super::driver::{ChunkSource, Connected, SourceGone};
use super::framing::{Frames, Meter};
use super::transport::{Connection, Incoming};
use super::windows::{Account, Reading};
use crate::accumulator::UploadError;
use crate::config::Limits;

/// The budget of rosters that are put together, shared by all connections. One beyond it waits in
/// its stream.
#[derive(Clone)]
pub struct Rosters {
    free: Arc<Semaphore>,
}

impl Rosters {
    /// A budget of so many bytes.
    #[must_use]
    pub fn new(bytes_total: u32) -> Self {
        Self { free: Arc::new(Semaphore::new(bytes_total as usize / ROSTER_ITEM_BYTES_MAX)) }
    }

    /// Entries that there is room for now.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.free.available_permits()
    }

    /// Room for a roster of so many entries, once there is. Whoever holds room gives it back within
    /// `roster_ms`.
    async fn take(&self, items: u32) -> Result<OwnedSemaphorePermit, Closing> {
        let taken = Arc::clone(&self.free).acquire_many_owned(items).await;
        taken.map_err(|error| Closing::internal(&error))
    }
}

/// Takes one client's streams.
pub struct Streams {
    /// The connection.
    pub connection: Arc<dyn Connection>,
    /// The client's place in the driver.
    pub connected: Arc<Connected>,
    /// What all connections share.
    pub context: Arc<Context>,
    /// The connection's bound on control frames and rosters.
    pub meter: Arc<Meter>,
    /// What the connection holds of the budget of upload windows.
    pub account: Arc<Account>,
    /// Held while a roster is put together.
    pub rosters: Mutex<()>,
}

impl Streams {
    /// Serves until a stream breaks the rules or the connection is lost.
    pub async fn serve(self) -> Closing {
        let shared = Arc::new(self);
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                accepted = shared.connection.accept_uni() => match accepted {
                    Ok(incoming) => {
                        let shared = Arc::clone(&shared);
                        running.spawn(async move { shared.stream(incoming).await });
                    }
                    Err(lost) => return lost.into(),
                },
                Some(ended) = running.join_next() => match ended {
                    Ok(Ok(())) => {}
                    Ok(Err(closing)) => return closing,
                    Err(error) => return Closing::internal(&error),
                },
            }
        }
    }

    async fn stream(&self, incoming: Box<dyn Incoming>) -> Result<(), Closing> {
        let (limits, meter) = (&self.context.limits, Arc::clone(&self.meter));
        let mut frames = Frames::new(incoming, FRAME_BYTES_PREAUTH_MAX, limits.frame_ms, meter);
        match frames.expect("the header of a stream", limits.frame_ms).await? {
            // What nobody waits for is not put together.
            StreamHeader::Roster { federation, kind: RosterKind::Shares, .. }
                if !self.connected.is_seated(federation) =>
            {
                frames.into_raw().1.stop(CloseCode::Done);
                Ok(())
            }
            StreamHeader::Roster { federation, round, kind: RosterKind::Shares, items } => {
                let assembler = Assembler::new(RosterKind::Shares, items);
                let assembler = assembler.map_err(Closing::malformed)?;
                // One at a time: what waits, waits in the stream and not in memory.
                let _turn = self.rosters.lock().await;
                let _room = self.context.rosters.take(items).await?;
                let reading = roster(frames, assembler);
                let whole = timeout(Limits::duration(limits.roster_ms), reading).await;
                let late = |_| Closing::too_slow("a roster", limits.roster_ms);
                let message = whole.map_err(late)??;
                self.connected.round(federation, round, message).await;
                Ok(())
            }
            StreamHeader::Vector { federation, kind: VectorKind::MaskedInput(round), bytes } => {
                self.upload(frames, (federation, round), bytes).await
            }
            StreamHeader::Vector { federation, kind: VectorKind::State(version), bytes } => {
                let (held, incoming) = frames.into_raw();
                let stall_ms = limits.stall_ms;
                let window = Window::Idle;
                let mut pieces = Pieces { held, incoming, stall_ms, window, ended: None };
                self.connected.state(federation, version, bytes, &mut pieces).await;
                pieces.ended.map_or(Ok(()), Err)
            }
            StreamHeader::Roster { kind, .. } => {
                Err(Closing::malformed(format_args!("a client sends no roster of {kind:?}")))
            }
            StreamHeader::Vector { kind, .. } => {
                Err(Closing::malformed(format_args!("a client sends no vector of {kind:?}")))
            }
        }
    }

    async fn upload(
        &self,
        frames: Frames,
        (federation, round): (FederationId, RoundNumber),
        bytes: u64,
    ) -> Result<(), Closing> {
        let (held, incoming) = frames.into_raw();
        let stall_ms = self.context.limits.stall_ms;
        let window = Window::Waiting(Arc::clone(&self.account), bytes);
        let mut pieces = Pieces { held, incoming, stall_ms, window, ended: None };
        let uploaded = self.connected.upload(federation, round, bytes, &mut pieces).await;
        if let Some(closing) = pieces.ended {
            return Err(closing);
        }
        match uploaded {
            Ok(()) => {}
            // The engine has dealt with the client; the connection may go on.
            Err(error @ UploadError::Fault(_)) => {
                tracing::warn!(%federation, %round, %error, "a masked vector was refused");
                pieces.incoming.stop(CloseCode::Malformed);
            }
            // Ours: without this client the round goes on, or is aborted if too few are left.
            Err(error @ UploadError::Spool(_)) => {
                tracing::error!(%federation, %round, %error, "a masked vector was not taken");
                pieces.incoming.stop(CloseCode::Internal);
            }
            Err(error) => {
                tracing::info!(%federation, %round, %error, "a masked vector was not taken");
                pieces.incoming.stop(CloseCode::Done);
            }
        }
        Ok(())
    }
}

async fn roster(mut frames: Frames, mut assembler: Assembler) -> Result<FromClient, Closing> {
    frames.set_limit(ROSTER_ITEM_BYTES_MAX);
    while !assembler.is_complete() {
        let item = frames.frame().await?;
        let item = item.ok_or_else(|| Closing::malformed("the stream ended inside a roster"))?;
        assembler.push(&item).map_err(Closing::malformed)?;
    }
    let whole = assembler.finish().map_err(Closing::malformed)?;
    whole.into_from_client().ok_or_else(|| Closing::malformed("not a roster of a client"))
}

/// The raw bytes behind a vector's header. How many there may be, the accumulator knows: more or
/// fewer are the client's fault and cost it the round.
struct Pieces {
    held: Bytes,
    incoming: Box<dyn Incoming>,
    stall_ms: u32,
    window: Window,
    ended: Option<Closing>,
}

/// What may be in flight behind a vector's header.
enum Window {
    /// The idle window.
    Idle,
    /// That, until somebody reads: whoever waits for its turn holds nothing of the budget.
    Waiting(Arc<Account>, u64),
    /// More, while there is room.
    Reading(Reading),
}

#[async_trait]
impl ChunkSource for Pieces {
    async fn next(&mut self) -> Result<Option<Bytes>, SourceGone> {
        if let Window::Waiting(account, bytes) = &self.window {
            self.window = Window::Reading(account.read(*bytes));
        }
        let held = std::mem::take(&mut self.held);
        let piece = if held.is_empty() { self.read().await? } else { Some(held) };
        if let (Window::Reading(reading), Some(piece)) = (&mut self.window, &piece) {
            reading.took(piece.len());
        }
        Ok(piece)
    }
}

impl Pieces {
    async fn read(&mut self) -> Result<Option<Bytes>, SourceGone> {
        match timeout(Limits::duration(self.stall_ms), self.incoming.read()).await {
            Ok(read) => read.map_err(|_| SourceGone),
            Err(_) => {
                self.ended = Some(Closing::too_slow("sending a vector on", self.stall_ms));
                Err(SourceGone)
            }
        }
    }
}
