//! `cargo xtask bench store`: how long the embedded store takes, on the disk of the system's folder
//! for temporary files (`TMPDIR` chooses another): one record alone (its median is the figure), a
//! stage of ten clients, batches side by side, and blobs. Every figure is with fsync.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roundelay_coordinator::blobs::{Blobs, Shelf};
use roundelay_coordinator::keys::{FileKms, Kms};
use roundelay_coordinator::store::{
    AuditEvent, AuditRecord, Federation, FederationState, Fence, LeaseName, SqliteStore, Store,
    StoreError, Tenant, TenantStore, Write,
};
use roundelay_crypto::digest::Digest;
use roundelay_program::note;
use roundelay_protocol::ids::{FederationId, RoundNumber, TenantId};
use roundelay_protocol::round::horizontal::coordinator::{AuditEntry, Record};
use roundelay_tests::bench::disk::fdatasync_ms;
use roundelay_tests::bench::{Figure, machine, tell_parts, wants_json};

const TENANTS: usize = 10;
const BATCHES: usize = 500;
const SIDE_BY_SIDE: usize = 16;
const BLOB_BYTES: usize = 40_000_000;
const BLOBS: usize = 9;
const FEDERATION: FederationId = FederationId([7; 16]);

#[tokio::main]
async fn main() -> ExitCode {
    match figures().await {
        Ok(figures) => tell_parts(&figures, wants_json()),
        Err(reason) => {
            note!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}

async fn figures() -> Result<Vec<Figure>, Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let bench = Bench::new(folder.path()).await?;
    let record = bench.sequential(|_| vec![append(1)]).await?;
    let step = bench.sequential(|members| vec![append(10), audit(members)]).await?;
    let side_by_side = bench.side_by_side().await?;
    let (put, get) = bench.blob(BLOB_BYTES).await?;
    let (small_put, _) = bench.blob(64).await?;
    let append = fdatasync_ms()?;
    let durable = |name, ours, runs| figure(name, ours, "ms", Some(append), runs);
    Ok(vec![
        durable("store", at(&record, 50), BATCHES),
        durable("store: a record, p99", at(&record, 99), BATCHES),
        durable("store: a stage of 10 clients, p50", at(&step, 50), BATCHES),
        durable("store: a stage of 10 clients, p99", at(&step, 99), BATCHES),
        figure("store: batches side by side", side_by_side, "1/s", None, SIDE_BY_SIDE * BATCHES),
        durable("store: a blob of 64 B written", ms(small_put), BLOBS),
        figure("store: a blob of 40 MB written", ms(put), "ms", None, BLOBS),
        figure("store: a blob of 40 MB read", ms(get), "ms", None, BLOBS),
    ])
}

/// A figure without a target. What is durable is compared with one fdatasync of the same disk.
fn figure(
    bench: &'static str,
    ours: f64,
    unit: &'static str,
    reference: Option<f64>,
    runs: usize,
) -> Figure {
    let ratio = reference.map(|reference| ours / reference);
    let (target, pass, notes) = (None, true, Vec::new());
    let part = None;
    Figure {
        bench,
        part,
        ours,
        reference,
        unit,
        ratio,
        target,
        pass,
        runs,
        machine: machine(),
        notes,
    }
}

struct Bench {
    owner: Arc<dyn TenantStore>,
    members: Vec<TenantId>,
    fence: Fence,
    shelf: Shelf,
}

impl Bench {
    async fn new(folder: &Path) -> Result<Self, StoreError> {
        let kms: Arc<dyn Kms> = Arc::new(FileKms::open(&folder.join("keys"))?);
        let store = SqliteStore::open(&folder.join("store.sqlite"), Arc::clone(&kms)).await?;
        let names = (0..TENANTS).map(|at| format!("tenant-{at}").parse());
        let members: Vec<TenantId> = names.map(|name| name.expect("a tenant's name")).collect();
        for tenant in &members {
            store.add_tenant(Tenant { tenant: tenant.clone(), created_unix_ms: 0 }).await?;
        }
        let owner = store.tenant(&members[0]);
        let federation = Federation {
            federation: FEDERATION,
            name: "bench".to_owned(),
            state: FederationState::Running,
            created_unix_ms: 0,
        };
        let join = Write::PutMembers { federation: FEDERATION, members: members.clone() };
        let writes = vec![Write::PutFederation(Box::new(federation)), join];
        let lease = LeaseName { owner: members[0].clone(), federation: FEDERATION };
        let fence = store.acquire(&lease, "bench", 0, 1_000_000).await?;
        owner.transact("bench", Some(&fence), writes).await?;
        let blobs = Blobs::in_folder(&folder.join("blobs"), kms)?;
        Ok(Self { owner, shelf: blobs.shelf(&members[0], FEDERATION), members, fence })
    }

    /// Batches one after another: how long each took, sorted.
    async fn sequential(
        &self,
        writes: impl Fn(&[TenantId]) -> Vec<Write>,
    ) -> Result<Vec<Duration>, StoreError> {
        let mut took = Vec::with_capacity(BATCHES);
        for _ in 0..BATCHES {
            let began = Instant::now();
            self.owner.transact("bench", Some(&self.fence), writes(&self.members)).await?;
            took.push(began.elapsed());
        }
        took.sort();
        Ok(took)
    }

    /// Batches per second when so many callers write at once.
    async fn side_by_side(&self) -> Result<f64, StoreError> {
        let began = Instant::now();
        let callers: Vec<_> = (0..SIDE_BY_SIDE)
            .map(|_| {
                let (owner, fence) = (Arc::clone(&self.owner), self.fence.clone());
                tokio::spawn(async move {
                    for _ in 0..BATCHES {
                        owner.transact("bench", Some(&fence), vec![append(1)]).await?;
                    }
                    Ok::<_, StoreError>(())
                })
            })
            .collect();
        for caller in callers {
            caller.await.map_err(|_| StoreError::Closed)??;
        }
        Ok((SIDE_BY_SIDE * BATCHES) as f64 / began.elapsed().as_secs_f64())
    }

    /// The median of nine: writing a new blob, and reading it.
    async fn blob(&self, bytes: usize) -> Result<(Duration, Duration), StoreError> {
        let (mut put, mut get) = (Vec::new(), Vec::new());
        for round in 0..BLOBS as u8 {
            let content = bytes::Bytes::from(vec![round; bytes]);
            let began = Instant::now();
            let name = self.shelf.put(content).await?;
            put.push(began.elapsed());
            let began = Instant::now();
            let mut reader = self.shelf.get(name).await?;
            while reader.next().await?.is_some() {}
            get.push(began.elapsed());
            self.shelf.delete(name).await?;
        }
        put.sort();
        get.sort();
        Ok((put[BLOBS / 2], get[BLOBS / 2]))
    }
}

fn append(records: usize) -> Write {
    let records = vec![Record::AdvertsClosed; records];
    Write::AppendRound { federation: FEDERATION, round: RoundNumber(1), records }
}

fn audit(members: &[TenantId]) -> Write {
    let event = AuditEvent::Round(AuditEntry::Survivors { set: Digest([1; 32]), clients: 10 });
    let federation = Some(FEDERATION);
    let round = Some(RoundNumber(1));
    let record = Box::new(AuditRecord { unix_ms: 1, federation, round, event });
    Write::Audit { to: members.to_vec(), record }
}

fn at(sorted: &[Duration], percent: usize) -> f64 {
    ms(sorted[(sorted.len() - 1) * percent / 100])
}

fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e5).round() / 1e2
}
