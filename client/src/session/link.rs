//! One connection from hello to its end: everything that comes in is bounded, parsed and put in
//! order here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use roundelay_protocol::close::CloseCode;
use roundelay_protocol::ids::{FederationId, RoundNumber};
use roundelay_protocol::limits::{
    FRAME_BYTES_MAX, FRAME_BYTES_PREAUTH_MAX, MANIFEST_BYTES_MAX, ROSTER_ITEM_BYTES_MAX,
};
use roundelay_protocol::message;
use roundelay_protocol::session::{
    Assembler, PROTOCOL_VERSIONS, RosterKind, StreamHeader, ToClient, VectorKind,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::SessionError;
use super::connection::{Connection, Dialer, Lost, Receiving};
use super::frames::Frames;
use super::notice::CLOCK_SKEW_MAX;
use super::order::{Order, RoundKey};
use crate::gate::{Gate, Line};
use crate::outbound::Hello;

/// The coordinator has this long to answer the hello.
const WELCOME_DEADLINE: Duration = Duration::from_secs(5);
/// What came in and was not yet taken.
const INBOUND_MAX: usize = 64;

/// Something from the coordinator.
#[derive(Debug)]
pub enum Inbound {
    /// A control frame that is not about a round.
    Control(ToClient),
    /// A message of a round, in the order of that round.
    Round {
        /// The federation.
        federation: FederationId,
        /// The round.
        round: RoundNumber,
        /// The message.
        message: message::ToClient,
    },
    /// A whole vector.
    Vector {
        /// The federation.
        federation: FederationId,
        /// What it is.
        kind: VectorKind,
        /// Its bytes.
        bytes: Vec<u8>,
    },
}

/// Vectors that this client waits for. All others are refused before their first byte is kept.
#[derive(Debug, Default)]
pub struct Allowances(Mutex<Vectors>);

#[derive(Debug, Default)]
struct Vectors {
    waiting: Vec<(FederationId, VectorKind, u64)>,
    arriving: Vec<(FederationId, VectorKind)>,
}

/// A vector that is being read.
struct Arrival {
    allowances: Arc<Allowances>,
    vector: (FederationId, VectorKind),
    bytes_max: u64,
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let mut vectors = self.allowances.lock();
        if let Some(at) = vectors.arriving.iter().position(|vector| *vector == self.vector) {
            vectors.arriving.swap_remove(at);
        }
    }
}

impl Allowances {
    /// Takes one vector of at most `bytes_max` bytes.
    pub fn allow(&self, federation: FederationId, kind: VectorKind, bytes_max: u64) {
        let waiting = &mut self.lock().waiting;
        waiting.retain(|(id, other, _)| !(*id == federation && *other == kind));
        waiting.push((federation, kind, bytes_max));
    }

    /// Whether such a vector is on its way in, however slowly: there is no need to ask for it again.
    #[must_use]
    pub fn is_arriving(&self, federation: FederationId, kind: VectorKind) -> bool {
        self.lock().arriving.contains(&(federation, kind))
    }

    /// Takes no such vector any more.
    pub fn withdraw(&self, federation: FederationId, kind: VectorKind) {
        let waiting = &mut self.lock().waiting;
        waiting.retain(|(id, other, _)| !(*id == federation && *other == kind));
    }

    fn take(self: &Arc<Self>, federation: FederationId, kind: VectorKind) -> Option<Arrival> {
        let mut vectors = self.lock();
        let bytes_max = if matches!(kind, VectorKind::Manifest(_)) {
            MANIFEST_BYTES_MAX as u64
        } else {
            let mut waiting = vectors.waiting.iter();
            let at = waiting.position(|(id, other, _)| *id == federation && *other == kind)?;
            vectors.waiting.swap_remove(at).2
        };
        let vector = (federation, kind);
        vectors.arriving.push(vector);
        Some(Arrival { allowances: Arc::clone(self), vector, bytes_max })
    }

    fn lock(&self) -> MutexGuard<'_, Vectors> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A welcomed connection.
pub struct Link {
    gate: Arc<Gate>,
    connection: Arc<dyn Connection>,
    inbound: mpsc::Receiver<Result<Inbound, SessionError>>,
    /// Ended when the link is dropped.
    _tasks: JoinSet<()>,
}

impl Link {
    /// Dials, says hello, and attaches the connection to the gate.
    ///
    /// # Errors
    /// Nobody answers, one side does not trust the other, or the clocks are too far apart.
    pub async fn open(
        dialer: &dyn Dialer,
        address: &str,
        gate: Arc<Gate>,
        allowances: Arc<Allowances>,
    ) -> Result<Self, SessionError> {
        let connection = dialer.dial(address).await?;
        let (sending, receiving) = connection.control().await?;
        let line = Line::new(Arc::clone(&connection), sending);
        let mut frames = Frames::new(receiving, FRAME_BYTES_PREAUTH_MAX);
        let welcomed = async {
            gate.send_on(&line, &Hello).await?;
            tokio::time::timeout(WELCOME_DEADLINE, frames.next())
                .await
                .map_err(|_| SessionError::TooSlow)??
                .ok_or(SessionError::Lost(Lost::StreamEnded))
                .and_then(check_welcome)
        };
        if let Err(error) = welcomed.await {
            connection.close(error.close_code());
            return Err(error);
        }
        frames.set_limit(FRAME_BYTES_MAX);
        // Nothing but the hello goes before the welcome.
        gate.attach(line);
        Ok(Self::welcomed(gate, connection, frames, allowances))
    }

    fn welcomed(
        gate: Arc<Gate>,
        connection: Arc<dyn Connection>,
        control: Frames,
        allowances: Arc<Allowances>,
    ) -> Self {
        let (out, inbound) = mpsc::channel(INBOUND_MAX);
        let order = Arc::new(tokio::sync::Mutex::new(Order::default()));
        let reader = Reader { out, order, allowances, assembling: Arc::default() };
        let mut tasks = JoinSet::new();
        tasks.spawn(reader.clone().read_control(control));
        tasks.spawn(reader.accept_streams(Arc::clone(&connection)));
        Self { gate, connection, inbound, _tasks: tasks }
    }

    /// What comes next.
    ///
    /// # Errors
    /// The connection is gone or broke the rules; the link is of no more use.
    pub async fn next(&mut self) -> Result<Inbound, SessionError> {
        match self.inbound.recv().await {
            Some(inbound) => inbound,
            None => Err(SessionError::Lost(Lost::Here)),
        }
    }

    /// Ends the connection.
    pub fn close(&self, code: CloseCode) {
        self.gate.detach();
        self.connection.close(code);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close(CloseCode::Done);
    }
}

/// The answer to the hello.
fn check_welcome(answer: ToClient) -> Result<(), SessionError> {
    match answer {
        ToClient::Welcome { version, .. } if !PROTOCOL_VERSIONS.contains(&version) => {
            Err(SessionError::Version(version))
        }
        ToClient::Welcome { unix_ms, .. } => check_clock(unix_ms, crate::clock::unix_ms()),
        ToClient::Refused(refused) => Err(SessionError::Refused(refused)),
        ToClient::Redirect(notice) | ToClient::RetryAfter(notice) => {
            Err(SessionError::Notice(Box::new(notice)))
        }
        _ => Err(SessionError::malformed(&"the first frame is not an answer to the hello")),
    }
}

fn check_clock(theirs_ms: u64, ours_ms: u64) -> Result<(), SessionError> {
    let apart = Duration::from_millis(theirs_ms.abs_diff(ours_ms));
    if apart <= CLOCK_SKEW_MAX {
        return Ok(());
    }
    Err(SessionError::Clock { minutes: apart.as_secs() / 60, ahead: ours_ms > theirs_ms })
}

/// Turns streams into [`Inbound`].
#[derive(Clone)]
struct Reader {
    out: mpsc::Sender<Result<Inbound, SessionError>>,
    order: Arc<tokio::sync::Mutex<Order>>,
    allowances: Arc<Allowances>,
    /// Held while a roster is put together, at most 2 MiB: what waits, waits in its stream.
    assembling: Arc<tokio::sync::Mutex<()>>,
}

impl Reader {
    async fn read_control(self, mut frames: Frames) {
        let error = loop {
            match frames.next().await {
                Ok(Some(frame)) => match self.control(frame).await {
                    Ok(()) => {}
                    Err(error) => break error,
                },
                Ok(None) => break SessionError::Lost(Lost::StreamEnded),
                Err(error) => break error,
            }
        };
        let _ = self.out.send(Err(error)).await;
    }

    async fn control(&self, frame: ToClient) -> Result<(), SessionError> {
        match frame {
            ToClient::Round { federation, round, message } => {
                self.ordered((federation, round), |order, key| order.message(key, message)).await
            }
            ToClient::RosterFollows { federation, round, kind } => {
                self.ordered((federation, round), |order, key| order.announced(key, kind)).await
            }
            other => self.give(Inbound::Control(other)).await,
        }
    }

    async fn ordered<E: std::error::Error>(
        &self,
        key: RoundKey,
        put: impl FnOnce(&mut Order, RoundKey) -> Result<Vec<message::ToClient>, E>,
    ) -> Result<(), SessionError> {
        // Held until all that is released was given: another reader must not come in between.
        let mut order = self.order.lock().await;
        let released = put(&mut order, key).map_err(|error| SessionError::malformed(&error))?;
        let (federation, round) = key;
        for message in released {
            self.give(Inbound::Round { federation, round, message }).await?;
        }
        Ok(())
    }

    async fn give(&self, inbound: Inbound) -> Result<(), SessionError> {
        self.out.send(Ok(inbound)).await.map_err(|_| SessionError::Lost(Lost::Here))
    }

    async fn accept_streams(self, connection: Arc<dyn Connection>) {
        let mut streams = JoinSet::new();
        loop {
            tokio::select! {
                accepted = connection.accept() => match accepted {
                    Ok(stream) => {
                        streams.spawn(self.clone().read_stream(stream));
                    }
                    Err(lost) => {
                        let _ = self.out.send(Err(lost.into())).await;
                        return;
                    }
                },
                Some(_) = streams.join_next() => {}
            }
        }
    }

    async fn read_stream(self, stream: Box<dyn Receiving>) {
        match self.stream(Frames::new(stream, FRAME_BYTES_MAX)).await {
            // The coordinator took a stream back: what it carried is asked for again if needed.
            Ok(()) | Err(SessionError::Lost(Lost::StreamEnded)) => {}
            Err(error) => {
                let _ = self.out.send(Err(error)).await;
            }
        }
    }

    async fn stream(&self, mut frames: Frames) -> Result<(), SessionError> {
        let header: Option<StreamHeader> = frames.next().await?;
        match header {
            Some(StreamHeader::Roster { federation, round, kind, items }) => {
                self.roster(frames, (federation, round), kind, items).await
            }
            Some(StreamHeader::Vector { federation, kind, bytes }) => {
                self.vector(frames, federation, kind, bytes).await
            }
            None => Err(SessionError::malformed(&"a stream without a header")),
        }
    }

    async fn roster(
        &self,
        mut frames: Frames,
        key: RoundKey,
        kind: RosterKind,
        items: u32,
    ) -> Result<(), SessionError> {
        let malformed = |error| SessionError::malformed(&error);
        let _turn = self.assembling.lock().await;
        let mut assembler = Assembler::new(kind, items).map_err(malformed)?;
        frames.set_limit(ROSTER_ITEM_BYTES_MAX);
        while let Some(body) = frames.next_body().await? {
            assembler.push(&body).map_err(malformed)?;
        }
        let roster = assembler.finish().map_err(malformed)?.into_to_client();
        let foreign = || SessionError::malformed(&"a roster that only clients send");
        let roster = roster.ok_or_else(foreign)?;
        self.ordered(key, |order, key| order.arrived(key, kind, roster)).await
    }

    async fn vector(
        &self,
        frames: Frames,
        federation: FederationId,
        kind: VectorKind,
        bytes: u64,
    ) -> Result<(), SessionError> {
        let arrival = self.allowances.take(federation, kind);
        let arrival = arrival.filter(|arrival| bytes <= arrival.bytes_max);
        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        if arrival.is_none() {
            // Dropping the stream tells the coordinator to stop.
            tracing::debug!(%federation, ?kind, bytes, "a vector that was not asked for");
            return Ok(());
        }
        let bytes = frames.raw(length).await?;
        drop(arrival);
        self.give(Inbound::Vector { federation, kind, bytes }).await
    }
}

#[cfg(test)]
mod tests;
