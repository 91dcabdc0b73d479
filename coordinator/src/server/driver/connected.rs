//! One connection's place in the driver.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::Signature;
use roundelay_protocol::ids::{FederationId, ModelVersion, RoundNumber, TenantId};
use roundelay_protocol::lineage::Standing;
use roundelay_protocol::message::FromClient;
use roundelay_protocol::session::{Join, Refused, VectorKind};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::boundary::{ChunkSource, Outbox, SourceGone, VectorSource};
use super::desk::{Closes, Wanted};
use super::states;
use super::task::{Arrival, Mail};
use super::{Handle, Shared};
use crate::accumulator::budget::Charge;
use crate::accumulator::{Accumulator, Upload, UploadError};
use crate::authority::Peer;
use crate::store::StoreError;

/// A client's connection as the driver knows it. Dropped, the client counts as gone from every
/// federation that it has joined over it.
pub struct Connected {
    shared: Arc<Shared>,
    peer: Peer,
    connection: u64,
    outbox: Arc<dyn Outbox>,
    joined: Mutex<BTreeMap<FederationId, Seated>>,
    /// What the connection takes of the budget of memory.
    _charge: Charge,
}

/// Whether the connection's client has a seat in a federation: set by the federation's task.
pub(super) type Seated = Arc<AtomicBool>;

impl Connected {
    pub(super) fn new(
        shared: Arc<Shared>,
        peer: Peer,
        connection: u64,
        outbox: Arc<dyn Outbox>,
    ) -> Self {
        let charge = shared.budget.charge(shared.settings.connection_bytes);
        Self { shared, peer, connection, outbox, joined: Mutex::default(), _charge: charge }
    }

    /// Takes part in a federation from now on. The answer ([`ToClient::Joined`]) goes to the
    /// outbox, ahead of all that the rounds have to say.
    ///
    /// # Errors
    /// What to tell the client.
    ///
    /// [`ToClient::Joined`]: roundelay_protocol::session::ToClient::Joined
    pub async fn join(&self, join: Join) -> Result<(), Refused> {
        let federation = join.federation;
        let handle = self.shared.find(federation).ok_or_else(not_running)?;
        // Known before it is answered: a connection that goes meanwhile takes its seat along.
        let seated = Arc::clone(self.lock().entry(federation).or_default());
        let joined = self.ask(&handle, join, Arc::clone(&seated)).await;
        if joined.is_err() && !seated.load(Ordering::Acquire) {
            self.lock().remove(&federation);
        }
        joined
    }

    async fn ask(&self, handle: &Handle, join: Join, seated: Seated) -> Result<(), Refused> {
        let (answer, answered) = oneshot::channel();
        let arrival = Arrival {
            peer: self.peer.clone(),
            connection: self.connection,
            outbox: Arc::clone(&self.outbox),
            join: Box::new(join),
            seated,
            answer,
        };
        handle.mail.send(Mail::Arrived(arrival)).await.map_err(|_| not_running())?;
        answered.await.map_err(|_| not_running())?
    }

    /// Whose federation it is, if it is driven here.
    #[must_use]
    pub fn owner(&self, federation: FederationId) -> Option<TenantId> {
        self.shared.find(federation).map(|handle| handle.owner.clone())
    }

    /// A message of a round. Dropped where the client has not joined the federation.
    pub async fn round(&self, federation: FederationId, round: RoundNumber, message: FromClient) {
        if let Some(handle) = self.handle(federation) {
            let (client, connection) = (self.peer.client, self.connection);
            // A task that is gone takes no messages: the client joins again when it is back.
            let _ = handle.mail.send(Mail::Said { client, connection, round, message }).await;
        }
    }

    /// A client has derived a state itself. Dropped where it has not joined.
    pub async fn attest(&self, federation: FederationId, standing: Standing, signature: Signature) {
        if let Some(handle) = self.handle(federation) {
            let (client, connection) = (self.peer.client, self.connection);
            let mail = Mail::Attests { client, connection, standing, signature };
            // As above.
            let _ = handle.mail.send(mail).await;
        }
    }

    /// A client asks for the signatures under the newest state: they go to its outbox, once there
    /// are enough. Dropped where it has not joined.
    pub async fn fetch_attested(&self, federation: FederationId) {
        if let Some(handle) = self.handle(federation) {
            let (client, connection) = (self.peer.client, self.connection);
            // As above.
            let _ = handle.mail.send(Mail::AsksAttested { client, connection }).await;
        }
    }

    /// Takes a model state that the driver has asked this client for; another one is not taken.
    pub async fn state(
        &self,
        federation: FederationId,
        version: ModelVersion,
        bytes: u64,
        chunks: &mut dyn ChunkSource,
    ) {
        let Some(handle) = self.handle(federation) else { return };
        let client = self.peer.client;
        let asked = handle.desk.takes_state(client, version);
        let Some(wanted) = asked.filter(|wanted| bytes <= wanted.bytes_max) else { return };
        let shelf = self.shared.blobs.shelf(&handle.owner, federation);
        let Wanted { run, standing, task, .. } = wanted;
        let given = states::receive(&shelf, &task, &standing, bytes, chunks).await;
        // As above.
        let _ = handle.mail.send(Mail::Given { run, client, given }).await;
    }

    /// Takes a masked vector piece by piece, as fast as there is memory for it.
    ///
    /// # Errors
    /// Why it was not taken; nothing of it is left then. Only [`UploadError::Fault`] is the
    /// client's fault.
    pub async fn upload(
        &self,
        federation: FederationId,
        round: RoundNumber,
        bytes: u64,
        chunks: &mut dyn ChunkSource,
    ) -> Result<(), UploadError> {
        let handle = self.handle(federation).ok_or(UploadError::NotActive)?;
        let (accumulator, closes) = handle.desk.upload(round).ok_or(UploadError::Withdrawn)?;
        let client = self.peer.client;
        let mail = match self.receive(&accumulator, closes, bytes, chunks).await {
            Ok(Some(root)) => Mail::Uploaded { client, round, root, to: accumulator },
            // The stream went before its end: the client may begin again.
            Ok(None) => return Ok(()),
            Err(UploadError::Fault(fault)) => {
                let (to, fault_told) = (accumulator, fault.clone());
                let mail = Mail::UploadRefused { client, round, fault: fault_told, to };
                let _ = handle.mail.send(mail).await;
                return Err(fault.into());
            }
            Err(error) => return Err(error),
        };
        let _ = handle.mail.send(mail).await;
        Ok(())
    }

    async fn receive(
        &self,
        accumulator: &Arc<Accumulator>,
        mut closes: Closes,
        bytes: u64,
        chunks: &mut dyn ChunkSource,
    ) -> Result<Option<Digest>, UploadError> {
        accumulator.admits(self.peer.client, bytes)?;
        let place = self.shared.budget.place(bytes);
        let undo = tokio::select! {
            undo = place => undo?,
            () = closes.closed() => return Err(UploadError::Withdrawn),
        };
        let mut upload = accumulator.begin(self.peer.client, bytes, undo)?;
        let ended = loop {
            // A client that is silent here does not keep a round's memory beyond that round.
            let piece = tokio::select! {
                piece = chunks.next() => piece,
                () = closes.closed() => break Err(UploadError::Withdrawn),
            };
            match piece {
                Ok(Some(piece)) if upload.is_spooled() => {
                    let turn = self.shared.budget.turn(accumulator.chunk_bytes_max()).await;
                    upload = off_thread(move || {
                        upload.write(&piece)?;
                        drop(turn);
                        Ok(upload)
                    })
                    .await?;
                }
                Ok(Some(piece)) => {
                    self.shared.budget.fill(piece.len());
                    upload.write(&piece)?;
                }
                Ok(None) => return finish(upload).await,
                Err(SourceGone) => break Ok(None),
            }
        };
        // Taken back by dropping it; a spool is read for that.
        if upload.is_spooled() {
            off_thread(move || {
                drop(upload);
                Ok(())
            })
            .await?;
        }
        ended
    }

    /// A vector that this client may have: the state of a version, or a published aggregate.
    ///
    /// # Errors
    /// What to tell the client.
    pub async fn vector(
        &self,
        federation: FederationId,
        kind: VectorKind,
    ) -> Result<VectorSource, Refused> {
        let handle = self.shared.find(federation).ok_or_else(not_running)?;
        if !self.is_seated(federation) {
            return Err(not_joined());
        }
        let (answer, answered) = oneshot::channel();
        let (client, connection) = (self.peer.client, self.connection);
        let mail = Mail::MayFetch { client, connection, answer };
        handle.mail.send(mail).await.map_err(|_| not_running())?;
        if !answered.await.unwrap_or(false) {
            return Err(not_joined());
        }
        let blob = self.blob(&handle, federation, kind).await.map_err(|error| internal(&error))?;
        let blob = blob.ok_or_else(|| {
            Refused::new("no_such_vector", "the coordinator does not have this model or aggregate")
        })?;
        let shelf = self.shared.blobs.shelf(&handle.owner, federation);
        handle
            .sharing
            .source(&shelf, blob, &self.shared.budget)
            .await
            .map_err(|error| internal(&error))
    }

    async fn blob(
        &self,
        handle: &Handle,
        federation: FederationId,
        kind: VectorKind,
    ) -> Result<Option<Digest>, StoreError> {
        let rows = self.shared.store.tenant(&handle.owner);
        Ok(match kind {
            VectorKind::State(version) => {
                rows.model(federation, version).await?.and_then(|model| model.blob)
            }
            VectorKind::Aggregate(round) => {
                let rounds = rows.rounds(federation).await?;
                rounds.into_iter().find(|row| row.round == round).and_then(|row| row.aggregate)
            }
            VectorKind::MaskedInput(_) | VectorKind::Manifest(_) => None,
        })
    }

    /// Whether this connection's client has joined a federation over it.
    #[must_use]
    pub fn is_seated(&self, federation: FederationId) -> bool {
        self.lock().get(&federation).is_some_and(|seated| seated.load(Ordering::Acquire))
    }

    /// A federation that this connection has joined.
    fn handle(&self, federation: FederationId) -> Option<Arc<Handle>> {
        self.is_seated(federation).then(|| self.shared.find(federation)).flatten()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<FederationId, Seated>> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let joined = std::mem::take(self.joined.get_mut().unwrap_or_else(PoisonError::into_inner));
        let (client, connection) = (self.peer.client, self.connection);
        for handle in joined.keys().filter_map(|federation| self.shared.find(*federation)) {
            let mail = handle.mail.clone();
            if let Err(full) = mail.try_send(Mail::Gone { client, connection }) {
                let gone = full.into_inner();
                tokio::spawn(async move { mail.send(gone).await });
            }
        }
    }
}

async fn finish(upload: Upload) -> Result<Option<Digest>, UploadError> {
    if upload.is_spooled() {
        off_thread(move || upload.finish().map(Some)).await
    } else {
        upload.finish().map(Some)
    }
}

/// A spool is a file: reading and writing it may wait for a disk.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, UploadError> + Send + 'static,
) -> Result<T, UploadError> {
    let gone = |_| UploadError::Withdrawn;
    spawn_blocking(work).await.map_err(gone)?
}

fn not_running() -> Refused {
    let message = "this coordinator does not run the federation now; try again later";
    Refused::new("not_running", message)
}

fn not_joined() -> Refused {
    Refused::new("not_joined", "join the federation before fetching its models")
}

fn internal(error: &StoreError) -> Refused {
    tracing::error!(%error, "a vector could not be read");
    Refused::new("internal", "the coordinator could not read the vector; try again later")
}
