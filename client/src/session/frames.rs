//! Frames read from a stream of bytes, each under a limit.

use bytes::Bytes;
use roundelay_protocol::codec::{FrameReader, decode};
use serde::de::DeserializeOwned;

use super::SessionError;
use super::connection::Receiving;

/// Bytes that are taken off a stream at a time.
const READ_BYTES: usize = 64 << 10;

/// A receiving stream that is read as frames, and then perhaps as raw bytes.
pub(crate) struct Frames {
    stream: Box<dyn Receiving>,
    reader: FrameReader,
    limit: usize,
    rest: Bytes,
}

impl Frames {
    pub(crate) fn new(stream: Box<dyn Receiving>, limit: usize) -> Self {
        Self { stream, reader: FrameReader::new(limit), limit, rest: Bytes::new() }
    }

    /// Takes bodies of at most `limit` bytes from the next frame on.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.reader.set_limit(limit);
    }

    /// The next frame as a value; `None` at the end of the stream. Must not be dropped half-way:
    /// what it has read of a frame stays in it.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, SessionError> {
        let Some(body) = self.next_body().await? else { return Ok(None) };
        decode(&body, self.limit).map(Some).map_err(|error| SessionError::malformed(&error))
    }

    /// The next frame's body; `None` at the end of the stream.
    pub(crate) async fn next_body(&mut self) -> Result<Option<Vec<u8>>, SessionError> {
        loop {
            let mut rest: &[u8] = &self.rest;
            let found = self.reader.read(&mut rest).map_err(|e| SessionError::malformed(&e))?;
            let taken = self.rest.len() - rest.len();
            let _ = self.rest.split_to(taken);
            if found.is_some() {
                return Ok(found);
            }
            match self.stream.receive(READ_BYTES).await? {
                Some(bytes) => self.rest = bytes,
                None if self.reader.is_at_border() => return Ok(None),
                None => return Err(SessionError::malformed(&"a stream ended within a frame")),
            }
        }
    }

    /// The rest of the stream, which has to be exactly `length` bytes.
    pub(crate) async fn raw(mut self, length: usize) -> Result<Vec<u8>, SessionError> {
        let wrong = || SessionError::malformed(&"a vector has another length than announced");
        // Grown as bytes come, so that an announcement alone costs nothing.
        let mut bytes = self.rest.to_vec();
        while bytes.len() <= length {
            match self.stream.receive(1 << 20).await? {
                Some(chunk) => bytes.extend_from_slice(&chunk),
                None if bytes.len() == length => return Ok(bytes),
                None => return Err(wrong()),
            }
        }
        Err(wrong())
    }
}
