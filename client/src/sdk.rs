//! A client within a program of one's own, with a trainer of one's own.
//!
//! The directory has been enrolled and the manifest signed with `roundelay-client enrol` and
//! `roundelay-client manifest sign`; from there the client takes part in every round by itself.
//! What the trainer sees stays in this process: only masked vectors leave it.
//!
//! ```no_run
//! use roundelay_client::sdk::Client;
//! use roundelay_client::train::{
//!     Control, DataSummary, Metrics, TrainError, Trainer, Update,
//! };
//! use roundelay_crypto::digest::Digest;
//! use roundelay_protocol::ids::ModelVersion;
//! use roundelay_protocol::manifest::{Hyperparameters, Task};
//! use roundelay_protocol::statistics::{ColumnStatistics, Standardisation};
//!
//! /// Trains with whatever the tenant has.
//! struct Mine {
//!     rows: u64,
//! }
//!
//! impl Trainer for Mine {
//!     fn prepare(&mut self, task: &Task) -> Result<DataSummary, TrainError> {
//!         // Read the rows here and check them against `task.schema`.
//!         // `data` names this version of them: it changes when they do.
//!         let data = Digest::of("mine/rows", &[&self.rows.to_le_bytes()]);
//!         let schema = task.schema.digest();
//!         let data_set = "patients".to_owned(); // budgets of privacy are counted by this name
//!         Ok(DataSummary { rows: self.rows, held_out_rows: 10, schema, data, data_set })
//!     }
//!
//!     fn statistics(&mut self) -> Result<Vec<ColumnStatistics>, TrainError> {
//!         Ok(Vec::new()) // sums per numeric column, where the task standardises
//!     }
//!
//!     fn standardise(&mut self, _by: &Standardisation) -> Result<(), TrainError> {
//!         Ok(())
//!     }
//!
//!     fn initial(&mut self) -> Result<Vec<f32>, TrainError> {
//!         Err(TrainError::Task("the manifest's own models start from a seed".into()))
//!     }
//!
//!     fn train(
//!         &mut self,
//!         model: &[f32],
//!         hyperparameters: &Hyperparameters,
//!         _version: ModelVersion,
//!         control: &dyn Control,
//!     ) -> Result<Update, TrainError> {
//!         let delta = vec![0.0; model.len()];
//!         let total = self.rows * u64::from(hyperparameters.local_epochs);
//!         for epoch in 1..=hyperparameters.local_epochs {
//!             if control.cancelled() {
//!                 return Err(TrainError::Cancelled);
//!             }
//!             // One pass over the rows here.
//!             control.progress(self.rows * u64::from(epoch), total);
//!         }
//!         Ok(Update { delta, rows: self.rows, loss: 0.7 })
//!     }
//!
//!     fn evaluate(&mut self, _model: &[f32]) -> Result<Metrics, TrainError> {
//!         Ok(Metrics { rows: 10, correct: 7, loss_sum: 5.2 })
//!     }
//! }
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let client = Client::builder()
//!         .dir("/var/lib/roundelay")
//!         .trainer(Mine { rows: 1_000 })
//!         .once(true)
//!         .on_event(|event| println!("{event}"))
//!         .build()?;
//!     let stopper = client.stopper(); // ends it from another thread: stopper.stop()
//!     # drop(stopper);
//!     let summary = client.run()?;
//!     for (id, federation) in summary.federations {
//!         println!("{id}: model version {}", federation.version);
//!     }
//!     Ok(())
//! }
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use roundelay_protocol::ids::{ClientId, FederationId, TenantId};
use roundelay_protocol::manifest::Manifest;
use tokio::sync::watch;

use crate::checkpoint::{CheckpointError, DirLock, StateDir};
use crate::identity::certificate::CertificateError;
use crate::session::SessionError;
pub use crate::session::driver::Cause;
use crate::session::driver::{Driver, DriverError, FederationNews, News, Settings, TrainerFactory};
use crate::session::federation::Told;
use crate::session::site::Site;
use crate::train::{TrainError, Trainer};

mod board;
mod event;

pub use board::{Board, FederationStanding};
pub use event::{ClientEvent, Evaluation, FederationEvent};

/// Why a client can't run or had to end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The builder lacks something. The program is at fault.
    #[error("internal error: the client was built without {0}")]
    Incomplete(&'static str),
    /// The state directory can't be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The certificate is missing or someone else's.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The coordinator can't be reached or trusted, or does not trust this client.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// No federation can run here: the tenant's data, installation or manifest is at fault.
    #[error("federation {name}: {reason}")]
    Federation {
        /// Its name.
        name: String,
        /// Why, and what to do.
        reason: String,
        /// What is at fault.
        cause: Cause,
    },
    /// The deadline passed before everything was over.
    #[error("the deadline of {} seconds passed before every federation was over: {standing}", .deadline.as_secs())]
    Deadline {
        /// The deadline.
        deadline: Duration,
        /// Where everything stood.
        standing: String,
    },
    /// The runtime could not be started.
    #[error("internal error: no threads for the client: {0}")]
    Runtime(std::io::Error),
}

impl From<DriverError> for ClientError {
    fn from(error: DriverError) -> Self {
        match error {
            DriverError::Session(error) => Self::Session(error),
            DriverError::Checkpoint(error) => Self::Checkpoint(error),
            DriverError::Certificate(error) => Self::Certificate(error),
            DriverError::Federation { name, error } => {
                Self::Federation { name, reason: error.to_string(), cause: error.cause() }
            }
        }
    }
}

type OnEvent = Box<dyn Fn(&ClientEvent) + Send + Sync>;

/// Sets a [`Client`] up.
#[derive(Default)]
pub struct ClientBuilder {
    dir: Option<PathBuf>,
    trainers: Option<TrainerFactory>,
    on_event: Option<OnEvent>,
    settings: Settings,
    deadline: Option<Duration>,
}

impl ClientBuilder {
    /// The state directory, as `roundelay-client enrol` made it.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// The trainer, for a client of one federation.
    #[must_use]
    pub fn trainer(self, trainer: impl Trainer + 'static) -> Self {
        let mut trainer: Option<Box<dyn Trainer>> = Some(Box::new(trainer));
        self.trainers(move |_| {
            let one = "this client has one trainer and several federations, or an amended one";
            trainer.take().ok_or_else(|| TrainError::Installation(one.to_owned()))
        })
    }

    /// Makes a trainer for each federation, given its manifest.
    #[must_use]
    pub fn trainers(
        mut self,
        make: impl FnMut(&Manifest) -> Result<Box<dyn Trainer>, TrainError> + Send + 'static,
    ) -> Self {
        self.trainers = Some(Box::new(make));
        self
    }

    /// `host:port` to dial whatever enrolment said. The authority stays pinned, so another address
    /// can't make the client trust anyone else.
    #[must_use]
    pub fn coordinator(mut self, address: impl Into<String>) -> Self {
        self.settings.coordinator = Some(address.into());
        self
    }

    /// Whether [`Client::run`] ends when every federation is over, and fails where the coordinator
    /// is not there. Default: it runs until it is stopped.
    #[must_use]
    pub fn once(mut self, once: bool) -> Self {
        self.settings.once = once;
        self
    }

    /// How long the coordinator may say nothing about a round, as while others train, before this
    /// client burns its keys of it. Default: 8 days, longer than a coordinator can wait.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.settings.patience = Some(patience);
        self
    }

    /// [`Client::run`] fails if it has not ended by then.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Called for every event, from the client's own threads: it should return at once.
    #[must_use]
    pub fn on_event(mut self, call: impl Fn(&ClientEvent) + Send + Sync + 'static) -> Self {
        self.on_event = Some(Box::new(call));
        self
    }

    /// Reads keys and certificate, and claims the directory.
    ///
    /// # Errors
    /// The directory is not enrolled, in use, damaged, or another client's.
    pub fn build(self) -> Result<Client, ClientError> {
        let dir = self.dir.ok_or(ClientError::Incomplete("a directory"))?;
        let trainers = self.trainers.ok_or(ClientError::Incomplete("a trainer"))?;
        let dir = StateDir::open(dir)?;
        let lock = dir.lock()?;
        let site = Site::load(dir)?;
        let (stop, stopped) = watch::channel(false);
        let board = Arc::new(Mutex::new(Board::default()));
        let (client, tenant) = (site.client, site.enrolment.tenant.clone());
        let on_news = report(Arc::clone(&board), self.on_event);
        let make_dialer = Box::new(Site::dialer);
        let driver = Driver::new(site, self.settings, make_dialer, trainers, on_news, stopped)?;
        let stopper = Stopper { stop: Arc::new(stop) };
        Ok(Client { driver, _lock: lock, stopper, board, deadline: self.deadline, client, tenant })
    }
}

/// Turns news into events, and keeps the board.
fn report(board: Arc<Mutex<Board>>, on_event: Option<OnEvent>) -> Arc<dyn Fn(News) + Send + Sync> {
    Arc::new(move |news| {
        let event = ClientEvent::of(&news);
        {
            let mut board = board.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(event) = &event {
                board.take(event);
            }
            if let News::Federation(id, FederationNews::Told(Told::Model(state))) = news {
                board.federations.entry(id).or_default().state = Some(state);
            }
        }
        if let (Some(event), Some(on_event)) = (event, &on_event) {
            on_event(&event);
        }
    })
}

/// Stops a client from anywhere.
#[derive(Debug, Clone)]
pub struct Stopper {
    stop: Arc<watch::Sender<bool>>,
}

impl Stopper {
    /// The client stores what it holds, tells the coordinator, and ends. Rounds that it is in count
    /// it as a dropout.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Where each federation stands, with the model that this client derived.
    pub federations: BTreeMap<FederationId, FederationStanding>,
}

/// A client that is ready to run.
pub struct Client {
    driver: Driver,
    _lock: DirLock,
    stopper: Stopper,
    board: Arc<Mutex<Board>>,
    deadline: Option<Duration>,
    client: ClientId,
    tenant: TenantId,
}

impl Client {
    /// A builder.
    #[must_use]
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// This client.
    #[must_use]
    pub fn id(&self) -> ClientId {
        self.client
    }

    /// Its tenant.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// A handle that stops the client.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Runs the client on threads of its own until it is stopped or everything is over.
    ///
    /// # Errors
    /// Something that waiting does not mend; see [`ClientError`].
    pub fn run(self) -> Result<Summary, ClientError> {
        runtime().map_err(ClientError::Runtime)?.block_on(self.run_async())
    }

    /// As [`run`](Self::run), on the tokio runtime at hand, which has to have its timers and I/O.
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    pub async fn run_async(self) -> Result<Summary, ClientError> {
        let Self { driver, stopper, board, deadline, _lock, .. } = self;
        let running = driver.run();
        tokio::pin!(running);
        let late = async {
            match deadline {
                Some(deadline) => tokio::time::sleep(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = &mut running => ended?,
            () = late => {
                stopper.stop();
                running.await?;
                let standing = board.lock().unwrap_or_else(PoisonError::into_inner).to_string();
                let deadline = deadline.unwrap_or_default();
                return Err(ClientError::Deadline { deadline, standing });
            }
        }
        let board = board.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Summary { federations: board.federations.clone() })
    }
}

/// One thread for the session: a message passes several tasks, and waking another thread for each
/// would cost more than what they do. Disks, masks and trainers have threads of their own.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
