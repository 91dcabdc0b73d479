//! `cargo xtask bench ingest`: masked vectors over QUIC into the accumulator, hashed, with undo data in
//! memory, in bytes per second, against the same bytes over bare quinn streams that nobody looks at,
//! on the same cores. The reference is the faster of two: quinn with its own settings, and the
//! coordinator's endpoint with its limits.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use roundelay_client::session::connection as client;
use roundelay_coordinator::accumulator::budget::Budget;
use roundelay_coordinator::accumulator::{Accumulator, Shape};
use roundelay_coordinator::authority::Authority;
use roundelay_coordinator::config::Limits;
use roundelay_coordinator::server::endpoint::Endpoint;
use roundelay_coordinator::server::tls::server_config;
use roundelay_coordinator::server::transport::Connection;
use roundelay_coordinator::server::windows::Windows;
use roundelay_crypto::mask::Ring;
use roundelay_program::note;
use roundelay_protocol::enrol::SERVER_NAME;
use roundelay_tests::bench::loopback::{accept, client_id, dial, line, listen, send, tls};
use roundelay_tests::bench::{Figure, machine, quantile, wants_json};
use tokio::task::JoinSet;

const CLIENTS: usize = 4;
const VECTOR_BYTES: usize = 64 << 20;
const CHUNK_BYTES: usize = 1 << 20;
const RUNS: usize = 7;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().map_err(line);
    match runtime.and_then(|runtime| runtime.block_on(figure())) {
        Ok(figure) => figure.tell(wants_json()),
        Err(reason) => {
            note!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}

async fn figure() -> Result<Figure, String> {
    let authority = Authority::create(std::time::SystemTime::now()).map_err(line)?;
    let limits = Limits::default();
    let endpoint = listen(&authority, &limits)?;
    let ours = Ours::connect(&endpoint, &authority, &limits).await?;
    let bare = Bare::connect(&authority).await?;
    // Any bytes will do: masked vectors look like that.
    let vector: Bytes = (0..VECTOR_BYTES).map(|at| ((at * 31) >> 3) as u8).collect();
    let mut rates = [Vec::new(), Vec::new(), Vec::new()];
    for run in 0..=RUNS {
        let took = [
            ours.upload(&vector, Mode::Accumulated).await?,
            ours.upload(&vector, Mode::Dropped).await?,
            bare.upload(&vector).await?,
        ];
        // The first finds no memory warm.
        if run > 0 {
            let gigabytes = (CLIENTS * VECTOR_BYTES) as f64 / 1e9;
            rates.iter_mut().zip(took).for_each(|(rates, took)| rates.push(gigabytes / took));
        }
    }
    let [ingest, endpoint, quinn] = [0, 1, 2].map(|at: usize| quantile(&rates[at], 0.5));
    let (ingest, endpoint, quinn) = (ingest?, endpoint?, quinn?);
    let reference = endpoint.max(quinn);
    let ratio = ingest / reference;
    Ok(Figure {
        bench: "ingest",
        part: None,
        ours: ingest,
        reference: Some(reference),
        unit: "GB/s",
        ratio: Some(ratio),
        target: Some(0.8),
        pass: ratio >= 0.8,
        runs: RUNS,
        machine: machine(),
        notes: vec![
            ("the coordinator's endpoint, bytes dropped", endpoint),
            ("quinn with its own settings, bytes dropped", quinn),
        ],
    })
}

#[derive(Clone, Copy)]
enum Mode {
    Accumulated,
    Dropped,
}

/// Connections to the coordinator's endpoint.
struct Ours {
    windows: Windows,
    budget: Budget,
    _spool: tempfile::TempDir,
    pairs: Vec<(Arc<dyn client::Connection>, Arc<dyn Connection>)>,
}

impl Ours {
    async fn connect(
        endpoint: &Endpoint,
        authority: &Authority,
        limits: &Limits,
    ) -> Result<Self, String> {
        let mut pairs = Vec::new();
        for number in 0..CLIENTS {
            let dialled = dial(authority, number, endpoint.listens_on());
            pairs.push(tokio::try_join!(dialled, accept(endpoint))?);
        }
        let spool = tempfile::tempdir().map_err(line)?;
        let bytes = 2 * (CLIENTS * VECTOR_BYTES) as u64;
        let budget = Budget::new(bytes, spool.path().to_owned()).map_err(line)?;
        Ok(Self { windows: Windows::new(limits), budget, _spool: spool, pairs })
    }

    /// Seconds until everyone's vector is there.
    async fn upload(&self, vector: &Bytes, mode: Mode) -> Result<f64, String> {
        let shape = |chunk: usize| Shape {
            offset: (chunk * CHUNK_BYTES) as u64,
            bytes: CHUNK_BYTES,
            ring: Ring::Z32,
        };
        let shapes = (0..VECTOR_BYTES / CHUNK_BYTES).map(shape).collect();
        let accumulator = Accumulator::new(shapes, (0..CLIENTS).map(client_id));
        let (mut tasks, began) = (JoinSet::new(), Instant::now());
        for (number, (sender, receiver)) in self.pairs.iter().enumerate() {
            let (sender, vector) = (Arc::clone(sender), vector.clone());
            tasks.spawn(async move { send(&*sender, vector).await });
            let receiver = Receiver {
                number,
                connection: Arc::clone(receiver),
                windows: self.windows.clone(),
                budget: self.budget.clone(),
                accumulator: Arc::clone(&accumulator),
            };
            tasks.spawn(receiver.receive(mode));
        }
        while let Some(done) = tasks.join_next().await {
            done.map_err(line)??;
        }
        Ok(began.elapsed().as_secs_f64())
    }
}

struct Receiver {
    number: usize,
    connection: Arc<dyn Connection>,
    windows: Windows,
    budget: Budget,
    accumulator: Arc<Accumulator>,
}

impl Receiver {
    async fn receive(self, mode: Mode) -> Result<(), String> {
        let mut stream = self.connection.accept_uni().await.map_err(line)?;
        let mut reading = self.windows.account(self.connection).read(VECTOR_BYTES as u64);
        let undo = self.budget.place(VECTOR_BYTES as u64).await.map_err(line)?;
        let client = client_id(self.number);
        let upload = self.accumulator.begin(client, VECTOR_BYTES as u64, undo);
        let mut upload = upload.map_err(line)?;
        while let Some(piece) = stream.read().await.map_err(line)? {
            reading.took(piece.len());
            if let Mode::Accumulated = mode {
                upload.write(&piece).map_err(line)?;
            }
        }
        if let Mode::Accumulated = mode {
            upload.finish().map_err(line)?;
            self.accumulator.settle(client);
        }
        Ok(())
    }
}

/// Connections of quinn's own making.
struct Bare {
    pairs: Vec<(quinn::Connection, quinn::Connection)>,
    _endpoints: Vec<quinn::Endpoint>,
}

impl Bare {
    async fn connect(authority: &Authority) -> Result<Self, String> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let identity = authority.certify_server(std::time::SystemTime::now()).map_err(line)?;
        let tls_of_server = server_config(identity, authority.certificate()).map_err(line)?;
        let crypto = QuicServerConfig::try_from(tls_of_server).map_err(line)?;
        let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        let server = quinn::Endpoint::server(config, any).map_err(line)?;
        let to = server.local_addr().map_err(line)?;
        let (mut pairs, mut endpoints) = (Vec::new(), vec![server.clone()]);
        for number in 0..CLIENTS {
            let endpoint = quinn::Endpoint::client(any).map_err(line)?;
            let crypto = QuicClientConfig::try_from(tls(authority, number)?).map_err(line)?;
            let config = quinn::ClientConfig::new(Arc::new(crypto));
            let dialled = endpoint.connect_with(config, to, SERVER_NAME).map_err(line)?;
            let accepted =
                async { server.accept().await.ok_or("nobody connects")?.await.map_err(line) };
            let dialled = async { dialled.await.map_err(line) };
            pairs.push(tokio::try_join!(dialled, accepted)?);
            endpoints.push(endpoint);
        }
        Ok(Self { pairs, _endpoints: endpoints })
    }

    /// Seconds until everyone's vector is there.
    async fn upload(&self, vector: &Bytes) -> Result<f64, String> {
        let (mut tasks, began) = (JoinSet::new(), Instant::now());
        for (sender, receiver) in self.pairs.clone() {
            let vector = vector.clone();
            tasks.spawn(async move {
                let mut stream = sender.open_uni().await.map_err(line)?;
                stream.write_chunk(vector).await.map_err(line)?;
                stream.finish().map_err(line)
            });
            tasks.spawn(async move {
                let mut stream = receiver.accept_uni().await.map_err(line)?;
                while stream.read_chunk(usize::MAX, true).await.map_err(line)?.is_some() {}
                Ok::<_, String>(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.map_err(line)??;
        }
        Ok(began.elapsed().as_secs_f64())
    }
}
