//! How long the embedded store takes, on the disk of the system's folder for temporary files
//! (`TMPDIR` chooses another): a batch alone, batches side by side, and a blob of 40 MB. Every
//! figure is with fsync.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use roundelay_coordinator::blobs::{Blobs, Shelf};
use roundelay_coordinator::keys::{FileKms, Kms};
use roundelay_coordinator::store::{
    AuditEvent, AuditRecord, Federation, FederationState, Fence, LeaseName, SqliteStore, Store,
    StoreError, Tenant, TenantStore, Write,
};
use roundelay_program::out;
use roundelay_protocol::error::Stage;
use roundelay_protocol::ids::{FederationId, RoundNumber, TenantId};
use roundelay_protocol::round::horizontal::coordinator::{AuditEntry, Record};
use serde_json::json;

const TENANTS: usize = 10;
const BATCHES: usize = 500;
const SIDE_BY_SIDE: usize = 16;
const BLOB_BYTES: usize = 40_000_000;
const FEDERATION: FederationId = FederationId([7; 16]);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let bench = Bench::new(folder.path()).await?;
    let record = bench.sequential(|_| vec![append(1)]).await?;
    let step = bench.sequential(|members| vec![append(10), audit(members)]).await?;
    let side_by_side = bench.side_by_side().await?;
    let (put, get) = bench.blob(BLOB_BYTES).await?;
    let (small_put, _) = bench.blob(64).await?;
    let figures = json!({
        "record_ms_p50": at(&record, 50),
        "record_ms_p99": at(&record, 99),
        "stage_of_10_clients_ms_p50": at(&step, 50),
        "stage_of_10_clients_ms_p99": at(&step, 99),
        "side_by_side_16_batches_per_s": side_by_side.round(),
        "blob_64_B_put_ms": ms(small_put),
        "blob_40_MB_put_ms": ms(put),
        "blob_40_MB_get_ms": ms(get),
    });
    if std::env::args().any(|argument| argument == "--json") {
        out!("{figures}");
    } else {
        figures.as_object().into_iter().flatten().for_each(|(name, value)| out!("{name}: {value}"));
    }
    Ok(())
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
        for round in 0..9_u8 {
            let content = vec![round; bytes].into();
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
        Ok((put[4], get[4]))
    }
}

fn append(records: usize) -> Write {
    let records = vec![Record::AdvertsClosed; records];
    Write::AppendRound { federation: FEDERATION, round: RoundNumber(1), records }
}

fn audit(members: &[TenantId]) -> Write {
    let event = AuditEvent::Round(AuditEntry::StageBegan { stage: Stage::ShareKeys, clients: 10 });
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
