//! What goes to one client: bounded queues that never make the sender wait, and the task that
//! empties them onto streams.
//!
//! Control frames keep their order on the control stream. A roster is announced there and follows
//! on a stream of its own, vectors likewise; each kind goes out one after the other, so that a
//! client which reads slowly holds one roster and one vector under way and no more. A client that
//! lets a queue run full, or takes nothing for `stall_ms`, loses its connection.

use std::sync::Arc;

use bytes::Bytes;
use roundelay_protocol::close::CloseCode;
use roundelay_protocol::codec;
use roundelay_protocol::ids::{FederationId, RoundNumber};
use roundelay_protocol::limits::FRAME_BYTES_MAX;
use roundelay_protocol::message;
use roundelay_protocol::session::{Roster, StreamHeader, ToClient};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::timeout;

use super::closing::Closing;
use super::driver::{Outbox, VectorSource};
use super::framing::{send, send_bytes};
use super::transport::{Connection, Lost, Outgoing};
use crate::config::Limits;

/// Rosters, and vectors, of one client that wait.
const STREAMS_MAX: usize = 16;
/// Frames of a roster are handed on in pieces of about this length.
const PIECE_BYTES: usize = 16 << 10;
/// Control frames overtake rosters, rosters overtake vectors.
const CONTROL_PRIORITY: i32 = 2;
const ROSTER_PRIORITY: i32 = 1;

/// The sending end, for the driver and for the connection itself.
pub struct Post {
    connection: Arc<dyn Connection>,
    control: Sender<ToClient>,
    rosters: Sender<(FederationId, RoundNumber, Roster)>,
    vectors: Sender<(StreamHeader, VectorSource)>,
}

/// The emptying end.
pub struct Postman {
    connection: Arc<dyn Connection>,
    control: Receiver<ToClient>,
    rosters: Receiver<(FederationId, RoundNumber, Roster)>,
    vectors: Receiver<(StreamHeader, VectorSource)>,
    stall_ms: u32,
}

impl Post {
    /// The queues of a connection.
    #[must_use]
    pub fn new(connection: Arc<dyn Connection>, limits: &Limits) -> (Arc<Self>, Postman) {
        let (control, control_out) = mpsc::channel(limits.outbox_max as usize);
        let (rosters, rosters_out) = mpsc::channel(STREAMS_MAX);
        let (vectors, vectors_out) = mpsc::channel(STREAMS_MAX);
        let postman = Postman {
            connection: Arc::clone(&connection),
            control: control_out,
            rosters: rosters_out,
            vectors: vectors_out,
            stall_ms: limits.stall_ms,
        };
        (Arc::new(Self { connection, control, rosters, vectors }), postman)
    }

    /// The connection, to close it.
    #[must_use]
    pub fn connection(&self) -> &dyn Connection {
        &*self.connection
    }

    /// Answers a request of the client: its next request waits until there is room.
    pub async fn reply(&self, message: ToClient) {
        // The queue is gone only with the connection.
        let _ = self.control.send(message).await;
    }

    /// Answers a request of the client with a vector; waits as [`reply`](Self::reply) does.
    pub async fn deliver(&self, header: StreamHeader, source: VectorSource) {
        // As above.
        let _ = self.vectors.send((header, source)).await;
    }

    fn queued<T>(&self, queued: Result<(), mpsc::error::TrySendError<T>>) -> bool {
        if let Err(mpsc::error::TrySendError::Full(_)) = &queued {
            let reason = "the client does not take what is sent to it";
            self.connection.close(CloseCode::TooSlow, reason);
        }
        queued.is_ok()
    }
}

impl Outbox for Post {
    fn send(&self, message: ToClient) -> bool {
        self.queued(self.control.try_send(message))
    }

    fn roster(
        &self,
        federation: FederationId,
        round: RoundNumber,
        message: message::ToClient,
    ) -> bool {
        let roster = match Roster::from_coordinator(message) {
            Ok(roster) => roster,
            Err(message) => return self.send(ToClient::Round { federation, round, message }),
        };
        let announced = ToClient::RosterFollows { federation, round, kind: roster.kind() };
        self.queued(self.rosters.try_send((federation, round, roster))) && self.send(announced)
    }

    fn vector(&self, header: StreamHeader, source: VectorSource) -> bool {
        self.queued(self.vectors.try_send((header, source)))
    }

    fn close(&self) {
        self.connection.close(CloseCode::Done, "connect again to go on");
    }
}

impl Postman {
    /// Carries until something fails; the future ends with the reason.
    pub async fn carry(self, mut control: Box<dyn Outgoing>) -> Closing {
        let Self { connection, control: messages, rosters, vectors, stall_ms } = self;
        control.prioritise(CONTROL_PRIORITY);
        let ended = tokio::select! {
            ended = carry_control(control, messages, stall_ms) => ended,
            ended = carry_rosters(&*connection, rosters, stall_ms) => ended,
            ended = carry_vectors(&*connection, vectors, stall_ms) => ended,
        };
        match ended {
            Ok(()) => Closing::new(CloseCode::Done, "nothing is left to send"),
            Err(closing) => closing,
        }
    }
}

async fn carry_control(
    mut stream: Box<dyn Outgoing>,
    mut messages: Receiver<ToClient>,
    stall_ms: u32,
) -> Result<(), Closing> {
    while let Some(message) = messages.recv().await {
        send(&mut *stream, &message, FRAME_BYTES_MAX, stall_ms).await?;
    }
    Ok(())
}

async fn carry_rosters(
    connection: &dyn Connection,
    mut rosters: Receiver<(FederationId, RoundNumber, Roster)>,
    stall_ms: u32,
) -> Result<(), Closing> {
    while let Some((federation, round, roster)) = rosters.recv().await {
        let mut stream = open(connection, stall_ms).await?;
        stream.prioritise(ROSTER_PRIORITY);
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        for frame in roster.frames(federation, round) {
            piece.extend(frame.map_err(|error| Closing::internal(&error))?);
            if piece.len() >= PIECE_BYTES {
                let full = std::mem::replace(&mut piece, Vec::with_capacity(PIECE_BYTES));
                send_bytes(&mut *stream, full.into(), stall_ms).await?;
            }
        }
        send_bytes(&mut *stream, piece.into(), stall_ms).await?;
        stream.finish();
    }
    Ok(())
}

async fn carry_vectors(
    connection: &dyn Connection,
    mut vectors: Receiver<(StreamHeader, VectorSource)>,
    stall_ms: u32,
) -> Result<(), Closing> {
    while let Some((header, source)) = vectors.recv().await {
        let mut stream = open(connection, stall_ms).await?;
        match carry_vector(&mut *stream, &header, source, stall_ms).await {
            // The client has no use for it, or has it already.
            Err(Closing::Theirs(Lost { stopped: true, .. })) => {}
            carried => carried?,
        }
    }
    Ok(())
}

async fn carry_vector(
    stream: &mut dyn Outgoing,
    header: &StreamHeader,
    mut source: VectorSource,
    stall_ms: u32,
) -> Result<(), Closing> {
    let header = codec::frame(&codec::encode(header), FRAME_BYTES_MAX);
    let header = header.map_err(|error| Closing::internal(&error))?;
    let mut piece = Some(Bytes::from(header));
    while let Some(bytes) = piece {
        send_bytes(stream, bytes, stall_ms).await?;
        piece = match source.next().await {
            Ok(piece) => piece,
            Err(error) => {
                stream.abandon(CloseCode::Internal);
                return Err(Closing::internal(&error));
            }
        };
    }
    stream.finish();
    Ok(())
}

async fn open(connection: &dyn Connection, stall_ms: u32) -> Result<Box<dyn Outgoing>, Closing> {
    let opened = timeout(Limits::duration(stall_ms), connection.open_uni()).await;
    Ok(opened.map_err(|_| Closing::too_slow("allowing a stream", stall_ms))??)
}

#[cfg(test)]
mod tests;
