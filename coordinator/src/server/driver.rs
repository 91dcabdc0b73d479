//! The driver: one task for each federation carries out what its engine says.
//!
//! ```text
//! connections ──mail──▶ task ──Event──▶ engine ──Effect──▶ one transaction ─▶ messages
//!      │                  ▲                                        └─▶ jobs on other threads
//!      └─chunks─▶ accumulator ──────────── results as events ◀──────────────┘
//! ```
//! All mail that waits is taken at once, and what it leads to is one transaction: what has to be
//! durable is, before the first message of the batch leaves. A failing store stops the task, which
//! begins again from what is stored. Every started federation is resumed when the driver starts.
//!
//! | module | for |
//! |---|---|
//! | [`boundary`] | what connections and the driver ask of each other |
//! | `connected` | one connection's place in the driver: join, messages, uploads, vectors |
//! | `desk` | where uploads of the rounds at hand go |
//! | `load` | an engine from what is stored |
//! | `past` | what of earlier rounds stays stored |
//! | `sharing` | the vector that many clients are sent at once |
//! | `task` | mail in, effects out |
//! | `batch` | the facts of a batch as writes |
//! | `jobs` | sums, unmasking and the server optimiser, on other threads |

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use roundelay_protocol::ids::{FederationId, TenantId};
use roundelay_protocol::round::horizontal::coordinator::Timing;
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::accumulator::budget::Budget;
use crate::authority::Peer;
use crate::blobs::Blobs;
use crate::clock::now_unix_ms;
use crate::engine::audit::Status;
use crate::engine::scheduler::Pace;
use crate::federations::Writer;
use crate::store::{FederationState, LeaseName, Store, StoreError, Write, transact_leased};

mod batch;
pub mod boundary;
mod connected;
mod desk;
mod jobs;
mod load;
mod past;
mod sharing;
pub(crate) mod states;
mod task;
#[cfg(test)]
mod tests;

pub use boundary::{ChunkSource, Outbox, SourceGone, VectorSource};
pub use connected::Connected;
pub use load::LoadError;
pub use past::Keep;

use desk::Desk;
use sharing::Sharing;
use task::Mail;

/// Mail of one federation that may wait; whoever sends more waits with it.
const MAILBOX: usize = 1024;

/// What uploads have not used for so long, or twice that, goes back to the system.
const UNUSED: Duration = Duration::from_secs(5);

/// How the driver drives.
#[derive(Debug, Clone)]
pub struct DriverSettings {
    /// Names this process in leases. The same name takes its leases over from itself, so a
    /// coordinator that was killed goes on at once.
    pub holder: String,
    /// Memory for undo data, and for vectors that many clients are sent; above it uploads wait or
    /// are spooled.
    pub budget_bytes: u64,
    /// What a connection takes of that, unread bytes included.
    pub connection_bytes: u64,
    /// How much of each federation's past is kept.
    pub keep: Keep,
    /// Folder of the spools.
    pub spool: PathBuf,
    /// When rounds are planned.
    pub pace: Pace,
    /// How long the stages of a round may take.
    pub timing: Timing,
}

/// Why a verb of the operator failed, in one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The federation can't be driven as it is stored.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder of the spools.
    #[error(
        "the spool folder {}: {why}; move away what is there, or let this user write to it",
        path.display()
    )]
    Spool {
        /// The folder.
        path: PathBuf,
        /// The operating system's words.
        why: std::io::Error,
    },
    /// It was never started.
    #[error(
        "federation {0} is not running; start it with `roundelay-coordinator federation start`"
    )]
    NotRunning(FederationId),
    /// Everything is done.
    #[error("federation {0} has finished all rounds of its task")]
    Finished(FederationId),
    /// It can't be driven now.
    #[error("the federation can't be driven now: {0}")]
    Trouble(String),
    /// The coordinator is going down.
    #[error("the coordinator is shutting down")]
    Closed,
}

/// How a federation stands, for people and for machines.
#[derive(Debug, Clone, Serialize)]
pub struct FederationStatus {
    /// The federation.
    #[serde(serialize_with = "as_text")]
    pub federation: FederationId,
    /// What its engine says; none while it is not driven.
    pub engine: Option<Status>,
    /// Why it is not driven now, in words; it is tried again.
    pub trouble: Option<String>,
}

fn as_text<T: std::fmt::Display, S: serde::Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Drives all federations of an installation. Cheap to clone.
#[derive(Clone)]
pub struct Driver {
    shared: Arc<Shared>,
}

/// What all federations share.
struct Shared {
    store: Arc<dyn Store>,
    blobs: Blobs,
    budget: Budget,
    settings: DriverSettings,
    federations: Mutex<HashMap<FederationId, Arc<Handle>>>,
    /// Held over a first start: two of them would store two first states.
    starting: tokio::sync::Mutex<()>,
    connections: AtomicU64,
    /// Held while boxes are read back for a client.
    resending: Arc<Semaphore>,
}

/// A federation that a task drives.
struct Handle {
    owner: TenantId,
    mail: mpsc::Sender<Mail>,
    desk: Arc<Desk>,
    sharing: Sharing,
    status: watch::Receiver<FederationStatus>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Shared {
    fn find(&self, federation: FederationId) -> Option<Arc<Handle>> {
        self.lock().get(&federation).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<FederationId, Arc<Handle>>> {
        self.federations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Driver {
    /// Resumes every federation that was started and not stopped, each from its records.
    ///
    /// # Errors
    /// The store can't be read, or the spool folder can't be made. A federation that can't be
    /// resumed keeps the others from nothing; its status says why.
    pub async fn start(
        store: Arc<dyn Store>,
        blobs: Blobs,
        settings: DriverSettings,
    ) -> Result<Self, DriverError> {
        let (path, bytes) = (settings.spool.clone(), settings.budget_bytes);
        let budget =
            Budget::new(bytes, path.clone()).map_err(|why| DriverError::Spool { path, why })?;
        let shared = Shared {
            store,
            blobs,
            budget,
            settings,
            federations: Mutex::default(),
            starting: tokio::sync::Mutex::default(),
            connections: AtomicU64::new(0),
            resending: Arc::new(Semaphore::new(1)),
        };
        let driver = Self { shared: Arc::new(shared) };
        tokio::spawn(trim(Arc::downgrade(&driver.shared)));
        for tenant in driver.shared.store.tenants().await? {
            let rows = driver.shared.store.tenant(&tenant.tenant);
            for federation in rows.federations().await? {
                if federation.state != FederationState::Draft {
                    driver.spawn(&tenant.tenant, federation.federation);
                }
            }
        }
        Ok(driver)
    }

    /// A connection's place in the driver. Dropped, the client counts as gone.
    #[must_use]
    pub fn connect(&self, peer: Peer, outbox: Arc<dyn Outbox>) -> Connected {
        let number = self.shared.connections.fetch_add(1, Ordering::Relaxed);
        Connected::new(Arc::clone(&self.shared), peer, number, outbox)
    }

    /// Starts a federation whose manifest is complete, or starts it again after it stalled or was
    /// stopped. `module`: the initial parameters of a TorchScript model, none for the others; only
    /// the first start needs them.
    ///
    /// # Errors
    /// Signatures are missing, the model has no initial state, everything is done already, or the
    /// store failed.
    pub async fn start_federation(
        &self,
        owner: &TenantId,
        federation: FederationId,
        module: Option<Vec<f32>>,
    ) -> Result<(), DriverError> {
        let row = self.row(owner, federation).await?;
        if row.state == FederationState::Finished {
            return Err(DriverError::Finished(federation));
        }
        let starting = self.shared.starting.lock().await;
        load::first_state(&self.shared, owner, federation, module).await?;
        let handle = match self.shared.find(federation) {
            Some(handle) => handle,
            None => self.spawn(owner, federation),
        };
        drop(starting);
        ask(&handle, Mail::Start).await
    }

    /// Stops a federation. A round whose survivor set was shown ends first, all else is aborted.
    ///
    /// # Errors
    /// It is not running.
    pub async fn stop_federation(
        &self,
        owner: &TenantId,
        federation: FederationId,
    ) -> Result<(), DriverError> {
        let handle = self.of(owner, federation)?;
        ask(&handle, Mail::Stop).await
    }

    /// A newer manifest of a running federation has all its signatures: it takes force between
    /// two rounds.
    ///
    /// # Errors
    /// It is not running.
    pub async fn amended(
        &self,
        owner: &TenantId,
        federation: FederationId,
    ) -> Result<(), DriverError> {
        let handle = self.of(owner, federation)?;
        handle.mail.send(Mail::Amended).await.map_err(|_| DriverError::Closed)
    }

    /// How a federation stands.
    ///
    /// # Errors
    /// It was never started.
    pub fn status(
        &self,
        owner: &TenantId,
        federation: FederationId,
    ) -> Result<FederationStatus, DriverError> {
        Ok(self.of(owner, federation)?.status.borrow().clone())
    }

    /// How a federation stands, each time that it changes.
    ///
    /// # Errors
    /// It was never started.
    pub fn watch(
        &self,
        owner: &TenantId,
        federation: FederationId,
    ) -> Result<watch::Receiver<FederationStatus>, DriverError> {
        Ok(self.of(owner, federation)?.status.clone())
    }

    /// Ends all tasks at a border between two batches. Rounds go on when the driver starts again.
    pub async fn shutdown(&self) {
        let handles: Vec<_> = self.shared.lock().drain().map(|(_, handle)| handle).collect();
        for handle in &handles {
            // A task that is gone already needs no telling.
            let _ = handle.mail.send(Mail::Shutdown).await;
        }
        for handle in handles {
            let task = handle.task.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(task) = task {
                let _ = task.await;
            }
        }
    }

    /// Ends all tasks where they stand, as a killed process would.
    #[cfg(test)]
    fn kill(&self) {
        for (_, handle) in self.shared.lock().drain() {
            let task = handle.task.lock().unwrap_or_else(PoisonError::into_inner).take();
            task.iter().for_each(JoinHandle::abort);
        }
    }

    async fn row(
        &self,
        owner: &TenantId,
        federation: FederationId,
    ) -> Result<crate::store::Federation, DriverError> {
        let row = self.shared.store.tenant(owner).federation(federation).await?;
        row.ok_or(DriverError::NotRunning(federation))
    }

    fn of(&self, owner: &TenantId, federation: FederationId) -> Result<Arc<Handle>, DriverError> {
        let handle = self.shared.find(federation).filter(|handle| handle.owner == *owner);
        handle.ok_or(DriverError::NotRunning(federation))
    }

    fn spawn(&self, owner: &TenantId, federation: FederationId) -> Arc<Handle> {
        let mut federations = self.shared.lock();
        if let Some(handle) = federations.get(&federation) {
            return Arc::clone(handle);
        }
        let (mail, mailbox) = mpsc::channel(MAILBOX);
        let idle = FederationStatus { federation, engine: None, trouble: None };
        let (status, watched) = watch::channel(idle);
        let desk = Arc::new(Desk::default());
        let place = task::Place {
            shared: Arc::clone(&self.shared),
            owner: owner.clone(),
            federation,
            desk: Arc::clone(&desk),
            mail: mail.clone(),
        };
        let task = tokio::spawn(task::run(place, mailbox, status));
        let handle = Arc::new(Handle {
            owner: owner.clone(),
            mail,
            desk,
            sharing: Sharing::default(),
            status: watched,
            task: Mutex::new(Some(task)),
        });
        federations.insert(federation, Arc::clone(&handle));
        handle
    }
}

#[async_trait]
impl Writer for Driver {
    /// Through the task that holds the federation's lease, where there is one.
    async fn write(
        &self,
        lease: &LeaseName,
        name: &'static str,
        writes: Vec<Write>,
    ) -> Result<(), StoreError> {
        if let Ok(handle) = self.of(&lease.owner, lease.federation) {
            let (answer, answered) = oneshot::channel();
            let mail = Mail::Write { name, writes: writes.clone(), answer };
            // A task that failed answers nothing; it begins again from what is written here.
            if handle.mail.send(mail).await.is_ok()
                && let Ok(written) = answered.await
            {
                return written;
            }
        }
        let (store, holder) = (&*self.shared.store, &self.shared.settings.holder);
        transact_leased(store, lease, holder, now_unix_ms(), name, writes).await
    }
}

/// Sends mail that is answered when it was carried out.
async fn ask(
    handle: &Handle,
    mail: impl FnOnce(oneshot::Sender<Result<(), DriverError>>) -> Mail,
) -> Result<(), DriverError> {
    let (answer, answered) = oneshot::channel();
    handle.mail.send(mail(answer)).await.map_err(|_| DriverError::Closed)?;
    answered.await.map_err(|_| DriverError::Closed)?
}

/// As long as there is a driver.
async fn trim(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(UNUSED).await;
        let Some(shared) = shared.upgrade() else { return };
        shared.budget.trim();
    }
}
