//! A connection within one process, for tests of what sits on connections.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use roundelay_protocol::close::CloseCode;
use tokio::sync::{Mutex, mpsc};

use super::connection::{Connection, Dialer, Lost, Receiving, Sending};

type Stream = mpsc::Receiver<Bytes>;

/// The client's side of every connection that is dialled.
pub(crate) struct MemoryDialer {
    dialled: mpsc::UnboundedSender<Coordinator>,
}

/// The coordinator's side of one connection.
pub(crate) struct Coordinator {
    /// What the client was dialling.
    pub(crate) address: String,
    /// Two-way streams that the client opens: its bytes, and where to answer.
    pub(crate) control: mpsc::UnboundedReceiver<(MemoryReceiving, MemorySending)>,
    /// One-way streams that the client opens.
    pub(crate) streams: mpsc::UnboundedReceiver<MemoryReceiving>,
    /// Opens one-way streams to the client. Dropping it ends the connection.
    pub(crate) open: mpsc::UnboundedSender<MemoryReceiving>,
    /// Hears why the client closed.
    pub(crate) closed: mpsc::UnboundedReceiver<CloseCode>,
}

struct MemoryConnection {
    control: mpsc::UnboundedSender<(MemoryReceiving, MemorySending)>,
    streams: mpsc::UnboundedSender<MemoryReceiving>,
    incoming: Mutex<mpsc::UnboundedReceiver<MemoryReceiving>>,
    closed: mpsc::UnboundedSender<CloseCode>,
}

pub(crate) struct MemorySending {
    bytes: Option<mpsc::Sender<Bytes>>,
}

pub(crate) struct MemoryReceiving {
    bytes: Stream,
    rest: Bytes,
}

/// A stream: what is sent into one end comes out of the other.
pub(crate) fn stream() -> (MemorySending, MemoryReceiving) {
    let (send, receive) = mpsc::channel(256);
    (MemorySending { bytes: Some(send) }, MemoryReceiving { bytes: receive, rest: Bytes::new() })
}

/// A dialer, and the coordinator's sides of what it dials.
pub(crate) fn network() -> (Arc<MemoryDialer>, mpsc::UnboundedReceiver<Coordinator>) {
    let (dialled, coordinators) = mpsc::unbounded_channel();
    (Arc::new(MemoryDialer { dialled }), coordinators)
}

#[async_trait]
impl Dialer for MemoryDialer {
    async fn dial(&self, address: &str) -> Result<Arc<dyn Connection>, Lost> {
        let (control, controls) = mpsc::unbounded_channel();
        let (streams, opened) = mpsc::unbounded_channel();
        let (open, incoming) = mpsc::unbounded_channel();
        let (close, closed) = mpsc::unbounded_channel();
        let address = address.to_owned();
        let there = Coordinator {
            address: address.clone(),
            control: controls,
            streams: opened,
            open,
            closed,
        };
        self.dialled.send(there).map_err(|_| Lost::Unanswered(address))?;
        let incoming = Mutex::new(incoming);
        Ok(Arc::new(MemoryConnection { control, streams, incoming, closed: close }))
    }
}

#[async_trait]
impl Connection for MemoryConnection {
    async fn control(&self) -> Result<(Box<dyn Sending>, Box<dyn Receiving>), Lost> {
        let (there, here) = (stream(), stream());
        self.control.send((there.1, here.0)).map_err(|_| Lost::Silent)?;
        Ok((Box::new(there.0), Box::new(here.1)))
    }

    async fn open(&self) -> Result<Box<dyn Sending>, Lost> {
        let (send, receive) = stream();
        self.streams.send(receive).map_err(|_| Lost::Silent)?;
        Ok(Box::new(send))
    }

    async fn accept(&self) -> Result<Box<dyn Receiving>, Lost> {
        match self.incoming.lock().await.recv().await {
            Some(stream) => Ok(Box::new(stream)),
            None => Err(Lost::Silent),
        }
    }

    fn close(&self, code: CloseCode) {
        let _ = self.closed.send(code);
    }
}

#[async_trait]
impl Sending for MemorySending {
    async fn send(&mut self, bytes: Bytes) -> Result<(), Lost> {
        let stream = self.bytes.as_ref().ok_or(Lost::StreamEnded)?;
        stream.send(bytes).await.map_err(|_| Lost::StreamEnded)
    }

    fn finish(&mut self) -> Result<(), Lost> {
        self.bytes = None;
        Ok(())
    }
}

#[async_trait]
impl Receiving for MemoryReceiving {
    async fn receive(&mut self, bytes_max: usize) -> Result<Option<Bytes>, Lost> {
        if self.rest.is_empty() {
            match self.bytes.recv().await {
                Some(bytes) => self.rest = bytes,
                None => return Ok(None),
            }
        }
        Ok(Some(self.rest.split_to(self.rest.len().min(bytes_max))))
    }
}
