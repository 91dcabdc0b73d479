use std::net::SocketAddr;
use std::sync::Mutex;

use async_trait::async_trait;
use roundelay_protocol::session::VectorKind;
use rustls::pki_types::CertificateDer;

use super::*;
use crate::server::transport::Incoming;

/// A client that refuses the first vector and reads all others.
#[derive(Default)]
struct Client {
    streams: Mutex<Vec<Arc<Mutex<Vec<u8>>>>>,
}

struct Stream {
    refused: bool,
    taken: Arc<Mutex<Vec<u8>>>,
}

#[async_trait]
impl Connection for Client {
    fn remote(&self) -> SocketAddr {
        ([127, 0, 0, 1], 1).into()
    }

    fn protocol(&self) -> Vec<u8> {
        Vec::new()
    }

    fn certificate(&self) -> Option<CertificateDer<'static>> {
        None
    }

    async fn accept_bi(&self) -> Result<(Box<dyn Outgoing>, Box<dyn Incoming>), Lost> {
        Err(self.closed().await)
    }

    async fn accept_uni(&self) -> Result<Box<dyn Incoming>, Lost> {
        Err(self.closed().await)
    }

    async fn open_uni(&self) -> Result<Box<dyn Outgoing>, Lost> {
        let mut streams = self.streams.lock().unwrap();
        let stream = Stream { refused: streams.is_empty(), taken: Arc::default() };
        streams.push(Arc::clone(&stream.taken));
        Ok(Box::new(stream))
    }

    fn allow_streams(&self, _: u32) {}

    fn allow_in_flight(&self, _: u32) {}

    fn close(&self, _: CloseCode, _: &str) {}

    async fn closed(&self) -> Lost {
        std::future::pending().await
    }
}

#[async_trait]
impl Outgoing for Stream {
    async fn write(&mut self, bytes: Bytes) -> Result<(), Lost> {
        let mut taken = self.taken.lock().unwrap();
        if self.refused && !taken.is_empty() {
            return Err(Lost { code: None, reason: "stopped".to_owned(), stopped: true });
        }
        taken.extend_from_slice(&bytes);
        Ok(())
    }

    fn finish(&mut self) {}

    fn abandon(&mut self, _: CloseCode) {}

    fn prioritise(&mut self, _: i32) {}

    async fn delivered(&mut self) {}
}

#[tokio::test]
async fn a_client_that_refuses_one_vector_keeps_its_connection_and_is_sent_the_next() {
    let client = Arc::new(Client::default());
    let (post, postman) = Post::new(Arc::clone(&client) as _, &Limits::default());
    for round in [1, 2] {
        let (federation, kind) = (FederationId([7; 16]), VectorKind::Aggregate(RoundNumber(round)));
        let header = StreamHeader::Vector { federation, kind, bytes: 3 << 20 };
        let source = VectorSource::from_memory(Bytes::from(vec![0; 3 << 20]));
        assert!(post.vector(header, source));
    }
    let control = Box::new(Stream { refused: false, taken: Arc::default() });
    let sent = || -> Vec<usize> {
        let streams = client.streams.lock().unwrap();
        streams.iter().map(|taken| taken.lock().unwrap().len()).collect()
    };
    let second_is_whole = async {
        while sent().get(1).is_none_or(|bytes| *bytes <= 3 << 20) {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        ended = postman.carry(control) => panic!("{ended}"),
        () = second_is_whole => {}
    }
    assert!(sent()[0] < 1 << 20, "{:?}", sent());
}
