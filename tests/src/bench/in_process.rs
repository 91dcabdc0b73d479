//! Secure rounds of a whole federation in this process, and what each party computed for.
//!
//! The machines, the kernels, the accumulator, the lineage and the codec are the real ones: a message
//! is encoded at its sender's cost and decoded at its receiver's, and nobody handles two at a time.
//! There is no socket and no disk.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use roundelay_crypto::digest::Digest;
use roundelay_crypto::identity::IdentityKey;
use roundelay_crypto::secret::Secret;
use roundelay_protocol::ids::{ClientId, RoundNumber};
use roundelay_protocol::lineage::{Standing, State};
use roundelay_protocol::manifest::{Manifest, Member, Rules, Task};
use roundelay_protocol::model::{ModelSpec, ParameterSpec, module_digest};
use roundelay_protocol::privacy::Account;
use roundelay_protocol::round::horizontal::client::Setup;
use roundelay_protocol::round::horizontal::terms::Terms;
use roundelay_protocol::testing;
use roundelay_protocol::time::{Millis, Time};
use roundelay_simulations::packet::{Frames, WireError};

use crate::cpu;

mod client;
mod coordinator;

use client::Client;
use coordinator::Coordinator;

/// More tenants than this have several clients each.
const TENANTS_MAX: usize = 256;

/// What a party has computed for, and how many bytes it sent and received.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// Seconds of processor time.
    pub seconds: f64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
}

/// Does something, and gives the seconds that this process computed for it, on all cores.
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = cpu::process_seconds();
    let done = work();
    (done, cpu::process_seconds() - start)
}

/// What a round cost.
#[derive(Debug, Clone, Copy)]
pub struct Costs {
    /// The coordinator.
    pub coordinator: Cost,
    /// A client whose contribution is in the sum, on average.
    pub client: Cost,
    /// Seconds of the coordinator's that went into taking masks off.
    pub unmasking_seconds: f64,
}

/// Why there are no costs.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The federation can't be.
    #[error("{0}")]
    Setup(String),
    /// A message did not survive the wire.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The round did not publish.
    #[error("the round ended without a result: {0}")]
    Round(String),
}

fn setup(error: impl std::fmt::Display) -> Failed {
    Failed::Setup(error.to_string())
}

/// Something on its way.
enum Mail {
    ToClient(usize, Frames),
    FromClient(usize, Frames),
    Vector(usize, Vec<u8>),
    Lost(usize),
}

/// A federation.
pub struct Federation {
    terms: Arc<Terms>,
    coordinator: Coordinator,
    clients: Vec<Client>,
    round: RoundNumber,
}

impl Federation {
    /// So many clients with a model of so many parameters.
    ///
    /// # Errors
    /// The rules do not allow it.
    pub fn new(clients: usize, parameters: u32, rules: Rules) -> Result<Self, Failed> {
        let keys: Vec<Arc<IdentityKey>> = (0..clients).map(identity).collect();
        let manifest = manifest(&keys, parameters, rules);
        manifest.validate().map_err(setup)?;
        let initial = State::initial(&manifest.task, Some(vec![0.0; parameters as usize]));
        let initial = Arc::new(initial.map_err(setup)?);
        let standing = Standing::initial(initial.hash());
        let terms = Arc::new(Terms::new(manifest));
        let pinned: Arc<BTreeSet<ClientId>> = Arc::new(terms.clients().collect());
        let task = Arc::new(terms.manifest().task.clone());
        let client = |(number, identity)| {
            let (terms, pinned) = (Arc::clone(&terms), Arc::clone(&pinned));
            let setup = Setup {
                terms,
                identity,
                pinned,
                patience: Millis(u64::from(u32::MAX)),
                account: Account::default(),
            };
            Client::new(setup, number, Arc::clone(&task), (Arc::clone(&initial), standing))
        };
        let clients = keys.into_iter().enumerate().map(client).collect();
        let coordinator = Coordinator::new(Arc::clone(&terms), initial, standing);
        Ok(Self { terms, coordinator, clients, round: RoundNumber(0) })
    }

    /// Neighbours of a client.
    #[must_use]
    pub fn degree(&self) -> u16 {
        self.terms.manifest().floors(self.clients.len()).map_or(0, |floors| floors.degree())
    }

    /// One training round, in which the first so many clients vanish when they would upload. After
    /// it they take over the model that the others derived.
    ///
    /// # Errors
    /// It did not publish.
    pub fn round(&mut self, dropouts: usize) -> Result<Costs, Failed> {
        self.round = self.round.next();
        self.clients.iter_mut().enumerate().for_each(|(at, one)| one.begin(at < dropouts));
        let mut post = Post { waiting: VecDeque::new(), clients: &mut self.clients };
        let coordinator = &mut self.coordinator;
        coordinator.begin(self.round, &mut post)?;
        let mut now = Time(1);
        while !coordinator.is_over() {
            match post.waiting.pop_front() {
                Some(mail) => deliver(mail, coordinator, &mut post, now)?,
                // Nothing comes any more: whoever is missing is late.
                None => now = coordinator.late(&mut post)?,
            }
        }
        while let Some(mail) = post.waiting.pop_front() {
            deliver(mail, coordinator, &mut post, now)?;
        }
        let costs = self.costs(dropouts);
        let (state, standing) = self.coordinator.head();
        self.clients[..dropouts].iter_mut().for_each(|one| one.catch_up(state, *standing));
        costs
    }

    fn costs(&self, dropouts: usize) -> Result<Costs, Failed> {
        let (_, standing) = self.coordinator.head();
        let survivors = &self.clients[dropouts..];
        if let Some(astray) = survivors.iter().find(|one| one.state_hash() != standing.state) {
            return Err(Failed::Round(format!("client {} has another model", astray.id())));
        }
        let count = survivors.len() as u64;
        let total = survivors.iter().fold(Cost::default(), |sum, one| Cost {
            seconds: sum.seconds + one.cost.seconds,
            sent: sum.sent + one.cost.sent,
            received: sum.received + one.cost.received,
        });
        let client = Cost {
            seconds: total.seconds / count as f64,
            sent: total.sent / count,
            received: total.received / count,
        };
        let (coordinator, unmasking_seconds) = self.coordinator.costs();
        Ok(Costs { coordinator, client, unmasking_seconds })
    }
}

/// What is on its way, and those to whom the coordinator writes.
struct Post<'a> {
    waiting: VecDeque<Mail>,
    clients: &'a mut [Client],
}

fn deliver(
    mail: Mail,
    coordinator: &mut Coordinator,
    post: &mut Post<'_>,
    now: Time,
) -> Result<(), Failed> {
    match mail {
        Mail::ToClient(to, frames) => {
            let aggregate = coordinator.aggregate();
            let answers = post.clients[to].read(&frames, aggregate, now)?;
            post.waiting.extend(answers.into_iter().map(|answer| answer.from(to)));
            Ok(())
        }
        Mail::FromClient(from, frames) => coordinator.read(from, &frames, post, now),
        Mail::Vector(from, vector) => coordinator.take(from, &vector, post, now),
        Mail::Lost(from) => coordinator.lost(from, post, now),
    }
}

fn identity(number: usize) -> Arc<IdentityKey> {
    Arc::new(IdentityKey::from_seed(Secret::new(seed("identity", number))))
}

/// What the randomness of a client starts from: the same in every run.
fn seed(purpose: &str, number: usize) -> [u8; 32] {
    Digest::of("roundelay/bench", &[purpose.as_bytes(), &number.to_le_bytes()]).0
}

fn manifest(keys: &[Arc<IdentityKey>], parameters: u32, rules: Rules) -> Manifest {
    let of_tenant = keys.len().div_ceil(TENANTS_MAX);
    let members = keys.chunks(of_tenant).enumerate().map(|(number, keys)| Member {
        tenant: format!("t{number:03}").parse().expect("a tenant's name"),
        tenant_key: IdentityKey::from_seed(Secret::new(seed("tenant", number))).public(),
        clients: keys.iter().map(|key| key.public()).collect(),
    });
    let parameters = vec![ParameterSpec { name: "flat".into(), shape: vec![parameters] }];
    let model = ModelSpec::TorchScript { module: module_digest(&[]), parameters };
    let task = Task { rounds: 1_000, ..testing::task(testing::images(8, 10), model) };
    Manifest { name: "bench".into(), rules, task, ..testing::manifest(members.collect()) }
}
