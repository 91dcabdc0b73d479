//! Frames from a stream, each whole within its deadline and no larger than its limit.
//!
//! A peer may be silent between two frames of its control stream for as long as the connection
//! lives, but a frame that has begun must end: a drop of bytes now and then holds nothing open.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use roundelay_protocol::codec::{self, FrameReader};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::closing::Closing;
use super::transport::{Incoming, Outgoing};
use crate::config::Limits;

/// Bytes for which a peer has `stall_ms` of time.
const PIECE_BYTES: usize = 64 << 10;

/// A stream of frames from the peer.
pub struct Frames {
    incoming: Box<dyn Incoming>,
    reader: FrameReader,
    held: Bytes,
    limit: usize,
    frame_ms: u32,
    meter: Arc<Meter>,
}

impl Frames {
    /// Frames of at most `limit` bytes, each whole within `frame_ms` of its first byte.
    pub fn new(
        incoming: Box<dyn Incoming>,
        limit: usize,
        frame_ms: u32,
        meter: Arc<Meter>,
    ) -> Self {
        let (reader, held) = (FrameReader::new(limit), Bytes::new());
        Self { incoming, reader, held, limit, frame_ms, meter }
    }

    /// Takes frames of at most `limit` bytes from now on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.reader.set_limit(limit);
    }

    /// The next value, `None` at the end of the stream.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Closing> {
        match self.frame().await? {
            Some(body) => Ok(Some(codec::decode(&body, self.limit)?)),
            None => Ok(None),
        }
    }

    /// The next value, which must be there within so many milliseconds. `what` names it in errors.
    pub async fn expect<T: DeserializeOwned>(&mut self, what: &str, ms: u32) -> Result<T, Closing> {
        self.expect_by(what, Instant::now() + Limits::duration(ms), ms).await
    }

    /// As [`expect`](Self::expect), by a moment; it was `ms` away when the time began to run.
    pub async fn expect_by<T: DeserializeOwned>(
        &mut self,
        what: &str,
        by: Instant,
        ms: u32,
    ) -> Result<T, Closing> {
        let value = timeout_at(by, self.next()).await;
        value
            .map_err(|_| Closing::too_slow(what, ms))??
            .ok_or_else(|| Closing::malformed(format_args!("the stream ended before {what}")))
    }

    /// The stream behind the frames that were read, with the bytes that came along with the last.
    pub fn into_raw(self) -> (Bytes, Box<dyn Incoming>) {
        (self.held, self.incoming)
    }

    /// The body of the next frame, `None` at the end of the stream.
    pub async fn frame(&mut self) -> Result<Option<Vec<u8>>, Closing> {
        let mut deadline = None;
        loop {
            let mut bytes = &self.held[..];
            let body = self.reader.read(&mut bytes)?;
            self.held = self.held.split_off(self.held.len() - bytes.len());
            if let Some(body) = body {
                return Ok(Some(body));
            }
            if deadline.is_none() && !self.reader.is_at_border() {
                deadline = Some(Instant::now() + Limits::duration(self.frame_ms));
            }
            match self.read(deadline).await? {
                Some(bytes) => self.held = bytes,
                None if self.reader.is_at_border() => return Ok(None),
                None => return Err(Closing::malformed("the stream ended inside a frame")),
            }
        }
    }

    async fn read(&mut self, deadline: Option<Instant>) -> Result<Option<Bytes>, Closing> {
        let read = match deadline {
            Some(deadline) => timeout_at(deadline, self.incoming.read())
                .await
                .map_err(|_| Closing::too_slow("a frame", self.frame_ms))?,
            None => self.incoming.read().await,
        }?;
        if let Some(bytes) = &read {
            self.meter.charge(bytes.len()).await;
        }
        Ok(read)
    }
}

/// Writes a value as one frame; the peer must take it within `stall_ms`.
pub async fn send<T: Serialize>(
    outgoing: &mut dyn Outgoing,
    value: &T,
    limit: usize,
    stall_ms: u32,
) -> Result<(), Closing> {
    let frame = codec::frame(&codec::encode(value), limit)
        .map_err(|error| Closing::internal(&format_args!("a message is too large: {error}")))?;
    send_bytes(outgoing, frame.into(), stall_ms).await
}

/// Writes raw bytes; the peer must take every [`PIECE_BYTES`] of them within `stall_ms`.
pub async fn send_bytes(
    outgoing: &mut dyn Outgoing,
    mut bytes: Bytes,
    stall_ms: u32,
) -> Result<(), Closing> {
    while !bytes.is_empty() {
        let piece = bytes.split_to(bytes.len().min(PIECE_BYTES));
        let written = timeout(Limits::duration(stall_ms), outgoing.write(piece)).await;
        written.map_err(|_| Closing::too_slow("taking what was sent", stall_ms))??;
    }
    Ok(())
}

/// A bound on the bytes of control frames and rosters of one connection: a minute's worth may
/// come at once, then the reader waits, and with it (by flow control) the peer.
pub struct Meter {
    per_minute: f64,
    state: Mutex<(Instant, f64)>,
}

impl Meter {
    /// A meter that is full.
    #[must_use]
    pub fn new(bytes_per_minute: u32) -> Arc<Self> {
        let per_minute = f64::from(bytes_per_minute);
        Arc::new(Self { per_minute, state: Mutex::new((Instant::now(), per_minute)) })
    }

    /// Waits until so many bytes are within the bound.
    pub async fn charge(&self, bytes: usize) {
        let now = Instant::now();
        let debt = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let gained = now.duration_since(state.0).as_secs_f64() * self.per_minute / 60.0;
            let left = (state.1 + gained).min(self.per_minute) - bytes as f64;
            *state = (now, left);
            -left
        };
        if debt > 0.0 {
            sleep_until(now + Duration::from_secs_f64(debt / self.per_minute * 60.0)).await;
        }
    }
}
