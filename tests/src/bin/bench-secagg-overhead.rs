//! `cargo xtask bench secagg-overhead`: processor time of the coordinator for a secure round of 16
//! clients with ten million parameters over loopback QUIC, against a process that receives the same
//! vectors unmasked through the same connections, sums them and sends the sum to everyone.
//!
//! The secure side is the real coordinator with real clients, from the start of the federation to
//! its end, over its train rounds: preparations, signatures, the store and the last evaluation are
//! in it. The plain side has the coordinator's endpoint and its sum, and nothing else. Its clients
//! are threads of this process, as those of the secure side are.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roundelay_client::session::connection as client;
use roundelay_coordinator::accumulator::{Shape, Sum};
use roundelay_coordinator::authority::Authority;
use roundelay_coordinator::config::Limits;
use roundelay_coordinator::server::transport::Connection;
use roundelay_coordinator::server::windows::{Account, Windows};
use roundelay_crypto::mask::Ring;
use roundelay_crypto::secret::Secret;
use roundelay_program::note;
use roundelay_tests::bench::loopback::{accept, dial, line, listen, send};
use roundelay_tests::bench::processes::cpu_ms;
use roundelay_tests::bench::small::found;
use roundelay_tests::bench::still::Clients;
use roundelay_tests::bench::{Figure, machine, wants_json};
use roundelay_tests::harness::Programs;
use tokio::task::JoinSet;

const CLIENTS: usize = 16;
const ROUNDS: u32 = 5;
/// 4 × 3160 + 3160 × 3160 + 3160 × 2 weights and 6,322 biases: 10.01 million.
const MODEL: &str = "mlp = { hidden = [3160, 3160], seed = 1 }";
const CHUNK_BYTES: usize = 1 << 20;
/// As many whole chunks as those parameters in 32 bits fill.
const CHUNKS: usize = 38;
const TARGET: f64 = 1.4;
/// Sixteen clients share the processors of this machine: stages take longer than on machines of
/// their own.
const CONFIGURATION: &str = "\
[rounds]
assembly_ms = 60000
advertise_keys_ms = 120000
share_keys_ms = 120000
consistency_check_ms = 120000
";
/// Has this program be the plain side's server.
const SERVE: &str = "--serve-plainly";

fn main() -> ExitCode {
    let serves = std::env::args().any(|one| one == SERVE);
    let done = if serves { on_runtime(serve()).map(|()| None) } else { figure().map(Some) };
    match done {
        Ok(Some(figure)) => figure.tell(wants_json()),
        Ok(None) => ExitCode::SUCCESS,
        Err(reason) => {
            note!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn on_runtime<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::runtime::Runtime::new().map_err(line)?.block_on(work)
}

fn figure() -> Result<Figure, String> {
    let secure = secure_ms()?;
    let plain = plain_ms()?;
    let ratio = secure / plain;
    Ok(Figure {
        bench: "secagg-overhead",
        part: None,
        ours: secure,
        reference: Some(plain),
        unit: "ms",
        ratio: Some(ratio),
        target: Some(TARGET),
        pass: ratio <= TARGET,
        runs: ROUNDS as usize,
        machine: machine(),
        notes: Vec::new(),
    })
}

/// Processor time of the real coordinator for a train round.
fn secure_ms() -> Result<f64, String> {
    let (programs, folder) = (Programs::find()?, tempfile::tempdir().map_err(line)?);
    let data = folder.path().join("coordinator");
    std::fs::create_dir_all(&data).map_err(line)?;
    std::fs::write(data.join("coordinator.toml"), CONFIGURATION).map_err(line)?;
    let mut federation = found(&programs, folder.path(), CLIENTS, ROUNDS, MODEL)?;
    let clients = Clients::start(&federation)?;
    let process = federation.coordinator.id().ok_or("the coordinator is gone")?;
    let id = federation.id.clone();
    let before = cpu_ms(process);
    federation.coordinator.verb(&["federation", "start", &id])?;
    let finished = federation.watch_every(Duration::from_millis(500), &mut |_| {});
    let after = cpu_ms(process);
    clients.stop();
    finished?;
    Ok((after - before) / f64::from(ROUNDS))
}

/// Processor time of a process that only receives, sums and sends, for a round.
fn plain_ms() -> Result<f64, String> {
    let authority = Authority::create(std::time::SystemTime::now()).map_err(line)?;
    let mut server = PlainServer::start(&authority)?;
    on_runtime(async {
        let mut connections = Vec::new();
        for number in 0..CLIENTS {
            connections.push(dial(&authority, number, server.listens_on).await?);
        }
        let vector = Bytes::from(vec![1; CHUNKS * CHUNK_BYTES]);
        let before = cpu_ms(server.process.id());
        for _ in 0..ROUNDS {
            let mut tasks = JoinSet::new();
            for connection in &connections {
                tasks.spawn(plain_round(Arc::clone(connection), vector.clone()));
            }
            while let Some(done) = tasks.join_next().await {
                done.map_err(line)??;
            }
        }
        let after = cpu_ms(server.process.id());
        // It has nothing to end well.
        let _ = server.process.kill();
        Ok((after - before) / f64::from(ROUNDS))
    })
}

async fn plain_round(connection: Arc<dyn client::Connection>, vector: Bytes) -> Result<(), String> {
    send(&*connection, vector).await?;
    let mut sum = connection.accept().await.map_err(line)?;
    while sum.receive(CHUNK_BYTES).await.map_err(line)?.is_some() {}
    Ok(())
}

/// A process that serves the plain side.
struct PlainServer {
    process: Child,
    listens_on: std::net::SocketAddr,
}

impl PlainServer {
    fn start(authority: &Authority) -> Result<Self, String> {
        let own = std::env::current_exe().map_err(line)?;
        let mut process = Command::new(own)
            .arg(SERVE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(line)?;
        let mut to = process.stdin.take().ok_or("no way in")?;
        writeln!(to, "{}", hex::encode(authority.to_secret().expose())).map_err(line)?;
        let mut said = String::new();
        BufReader::new(process.stdout.take().ok_or("no way out")?)
            .read_line(&mut said)
            .map_err(line)?;
        let listens_on = said.trim().parse().map_err(|_| "the plain server did not start")?;
        Ok(Self { process, listens_on })
    }
}

/// The plain side's server, until it is killed.
async fn serve() -> Result<(), String> {
    let mut secret = String::new();
    std::io::stdin().read_line(&mut secret).map_err(line)?;
    let secret = Secret::new(hex::decode(secret.trim()).map_err(line)?);
    let authority = Authority::from_secret(&secret).map_err(line)?;
    let limits = Limits::default();
    let endpoint = listen(&authority, &limits)?;
    roundelay_program::out!("{}", endpoint.listens_on());
    let windows = Windows::new(&limits);
    let mut connections = Vec::new();
    for _ in 0..CLIENTS {
        let connection = accept(&endpoint).await?;
        connections.push((windows.account(Arc::clone(&connection)), connection));
    }
    loop {
        let sum = Arc::new(Sum::zero(shapes()));
        let receive = |(account, connection): (Arc<Account>, Arc<dyn Connection>)| {
            receive(account, connection, Arc::clone(&sum))
        };
        all(connections.iter().cloned().map(receive)).await?;
        let whole = sum.take().freeze();
        all(connections.iter().map(|(_, connection)| give(Arc::clone(connection), whole.clone())))
            .await?;
    }
}

async fn all(
    work: impl Iterator<Item = impl Future<Output = Result<(), String>> + Send + 'static>,
) -> Result<(), String> {
    let mut tasks: JoinSet<_> = work.collect();
    while let Some(done) = tasks.join_next().await {
        done.map_err(line)??;
    }
    Ok(())
}

fn shapes() -> Vec<Shape> {
    let shape = |chunk: usize| Shape {
        offset: (chunk * CHUNK_BYTES) as u64,
        bytes: CHUNK_BYTES,
        ring: Ring::Z32,
    };
    (0..CHUNKS).map(shape).collect()
}

/// Adds a client's vector, chunk by chunk.
async fn receive(
    account: Arc<Account>,
    connection: Arc<dyn Connection>,
    sum: Arc<Sum>,
) -> Result<(), String> {
    let mut stream = connection.accept_uni().await.map_err(line)?;
    let mut reading = account.read((CHUNKS * CHUNK_BYTES) as u64);
    let (mut chunk, mut added) = (Vec::with_capacity(CHUNK_BYTES), 0);
    while let Some(mut piece) = stream.read().await.map_err(line)? {
        reading.took(piece.len());
        while !piece.is_empty() {
            let fits = (CHUNK_BYTES - chunk.len()).min(piece.len());
            chunk.extend_from_slice(&piece.split_to(fits));
            if chunk.len() == CHUNK_BYTES {
                sum.add(added, &chunk);
                chunk.clear();
                added += 1;
            }
        }
    }
    if added == CHUNKS { Ok(()) } else { Err("a vector ended early".to_owned()) }
}

async fn give(connection: Arc<dyn Connection>, sum: Bytes) -> Result<(), String> {
    let mut stream = connection.open_uni().await.map_err(line)?;
    let mut rest = sum;
    while !rest.is_empty() {
        let piece = rest.split_to(CHUNK_BYTES.min(rest.len()));
        stream.write(piece).await.map_err(line)?;
    }
    stream.finish();
    stream.delivered().await;
    Ok(())
}
