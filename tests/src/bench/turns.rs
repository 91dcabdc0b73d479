//! Clients of a model that a machine can't hold once for each of them: the engine and the wire are
//! the real ones, and so is every masked vector; but the long work goes one client at a time, and
//! equal states are there once.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use roundelay_client::engine::work::{Derivation, Derived};
use roundelay_client::train::Trainer;
use roundelay_crypto::digest::Digest;
use roundelay_program::note;
use roundelay_protocol::ids::FederationId;
use roundelay_protocol::lineage::State;
use roundelay_protocol::manifest::Task;
use tokio::sync::OwnedMutexGuard;

use super::loopback::line;
use crate::demo::federation::Federation;

mod client;

use client::Client;

/// What the clients have in common.
#[derive(Default)]
struct Common {
    /// Held by whoever has long vectors in memory.
    turn: Arc<tokio::sync::Mutex<()>>,
    states: Mutex<States>,
}

#[derive(Default, Clone)]
struct States {
    first: Option<Arc<State>>,
    /// With its hash.
    newest: Option<(Digest, Arc<State>)>,
}

type Turn = OwnedMutexGuard<()>;

impl Common {
    async fn turn(&self) -> Turn {
        Arc::clone(&self.turn).lock_owned().await
    }

    fn initial(&self, task: &Task) -> Result<Arc<State>, String> {
        let mut held = self.held();
        if let Some(first) = &held.first {
            return Ok(Arc::clone(first));
        }
        let first = Arc::new(State::initial(task, None).map_err(line)?);
        held.first = Some(Arc::clone(&first));
        Ok(first)
    }

    /// Derives a state, unless another client has derived the one that was announced.
    fn derive(&self, derivation: Derivation) -> Derived {
        let mut held = self.held();
        if let (Derivation::Advance { round, published, .. }, Some((hash, state))) =
            (&derivation, &held.newest)
            && published.state == *hash
        {
            let result = Ok((Arc::clone(state), *hash, None));
            return Derived::Advanced { round: *round, result };
        }
        let derived = derivation.run();
        if let Derived::Advanced { result: Ok((state, hash, _)), .. } = &derived {
            held.newest = Some((*hash, Arc::clone(state)));
        }
        derived
    }

    fn held(&self) -> MutexGuard<'_, States> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All clients of a federation, each on a thread of its own.
pub struct Clients {
    common: Arc<Common>,
    threads: Vec<JoinHandle<Result<(), String>>>,
}

/// The states that the clients held.
pub struct Held {
    /// Before the first round.
    pub first: Arc<State>,
    /// After the last.
    pub last: Arc<State>,
}

impl Clients {
    /// Starts them; `trainer` makes the one of each place.
    ///
    /// # Errors
    /// The federation's id is none.
    pub fn start<T: Trainer + 'static>(
        federation: &Federation,
        trainer: impl Fn(usize) -> T,
    ) -> Result<Self, String> {
        let id: FederationId = federation.id.parse().map_err(line)?;
        let common = Arc::new(Common::default());
        let start = |(place, folder): (usize, &Path)| {
            let (folder, common) = (folder.to_owned(), Arc::clone(&common));
            let trainer: Box<dyn Trainer> = Box::new(trainer(place));
            thread::spawn(move || {
                let mut runtime = tokio::runtime::Builder::new_multi_thread();
                let runtime = runtime.worker_threads(1).enable_all().build().map_err(line)?;
                let took_part = Client::new(place, common, trainer).take_part(&folder, id);
                runtime.block_on(took_part).inspect_err(|error| note!("client {place}: {error}"))
            })
        };
        let folders = federation.sites.iter().map(|site| site.folder()).enumerate();
        let threads = folders.map(start).collect();
        Ok(Self { common, threads })
    }

    /// Waits until the federation is over for all.
    ///
    /// # Errors
    /// What ended a client before.
    pub fn finish(self) -> Result<Held, String> {
        for thread in self.threads {
            thread.join().unwrap_or_else(|_| Err("a client panicked".to_owned()))?;
        }
        let held = self.common.held().clone();
        let (first, last) = held.first.zip(held.newest).ok_or("no client held a model")?;
        Ok(Held { first, last: last.1 })
    }
}
