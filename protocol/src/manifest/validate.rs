//! What no manifest may say: refused when it is drafted and again by whoever is asked to sign it,
//! with the number that would do.

use std::collections::BTreeSet;

use super::quantisation::LEVELS_MIN;
use super::{CoordinatorTrust, FloorsError, Hyperparameters, Manifest, Member, Task};
use crate::ids::TenantId;
use crate::layout::{Contributors, Layout, LayoutError};
use crate::limits::{ATTESTATIONS_MAX, MANIFEST_BYTES_MAX, MANIFEST_SIGNATURES_BYTES, MEMBERS_MAX};
use crate::model::ModelError;
use crate::optimiser::OptimiserError;
use crate::plain::is_plain;
use crate::plan::PlanKind;
use crate::privacy::{Mechanism, Privacy, Release};
use crate::schema::SchemaError;

/// The least that clients_min may be.
pub(super) const CLIENTS_MIN_MIN: u16 = 2;

/// Bytes of a manifest without its signatures, for which room is kept.
const UNSIGNED_BYTES_MAX: usize = MANIFEST_BYTES_MAX - MANIFEST_SIGNATURES_BYTES - 8;

/// Why a manifest is none. Whoever drafted it is at fault.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ManifestError {
    /// A name that is empty, too long or not plain.
    #[error("a federation's name has 1 to 64 bytes, without control characters")]
    Name,
    /// Version and predecessor contradict each other.
    #[error("version 0 has no predecessor, every later version names one")]
    Version,
    /// Too few or too many members.
    #[error("a federation has 1 to {MEMBERS_MAX} members, not {0}")]
    Members(usize),
    /// Members out of order, or one twice.
    #[error("member `{0}` is out of order or there twice: members stand sorted by tenant")]
    MemberOrder(TenantId),
    /// A member without clients.
    #[error("member `{0}` has no client: enrol one, or leave the tenant out")]
    NoClients(TenantId),
    /// A key with two roles.
    #[error("a key of member `{0}` is also another client's or tenant's: every key has one role")]
    KeyTwice(TenantId),
    /// Too few clients to hide in.
    #[error(
        "a federation has 3 to {max} clients, not {clients}: the other of two would see everything"
    )]
    Clients {
        /// As drafted.
        clients: usize,
        /// The most, as the coordinator is trusted.
        max: usize,
    },
    /// More colluders than signatures under a state travel together.
    #[error("{corrupt} clients may collude: lower corrupt_max to {max}")]
    Corrupt {
        /// c.
        corrupt: u16,
        /// The most.
        max: usize,
    },
    /// A floor that means nothing.
    #[error(
        "clients_min is at least {CLIENTS_MIN_MIN}, not {0}: a sum over one client is its secret"
    )]
    ClientsMin(u16),
    /// A rate of 1 or more.
    #[error("dropout_permille is below 1000, not {0}")]
    Dropout(u16),
    /// The whole federation could not run a round.
    #[error(transparent)]
    Floors(#[from] FloorsError),
    /// More pinned peers than there are.
    #[error("pinned_peers_min = {asked}, but a client has only {peers} peers")]
    PinnedPeers {
        /// As asked.
        asked: u16,
        /// Clients less one.
        peers: usize,
    },
    /// Noise by a coordinator that may lie.
    #[error(
        "privacy.mechanism = \"central\" has the coordinator add the noise: it needs rules.coordinator \
         = \"semi_honest\", or make the mechanism \"distributed\""
    )]
    UntrustedNoise,
    /// The task.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The manifest is too long for the wire.
    #[error("the manifest has {0} bytes, at most {UNSIGNED_BYTES_MAX} are possible")]
    TooLong(usize),
}

/// Why a task is none. Whoever wrote it is at fault.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TaskError {
    /// The schema.
    #[error("schema: {0}")]
    Schema(#[from] SchemaError),
    /// The model.
    #[error("model: {0}")]
    Model(#[from] ModelError),
    /// The server optimiser.
    #[error("optimiser: {0}")]
    Optimiser(#[from] OptimiserError),
    /// The layout of an upload: quantisation or ring.
    #[error("quantisation: {0}")]
    Layout(#[from] LayoutError),
    /// The ring holds too few levels of an update.
    #[error(
        "quantisation: a ring of {ring_bits} bits has too few levels for {clients} clients of weight \
         up to {weight_max}, {levels} on either side of zero; updates would be rounded away. At \
         least {LEVELS_MIN} are needed: {remedy}"
    )]
    Coarse {
        /// As given.
        ring_bits: u8,
        /// Of the federation.
        clients: u32,
        /// As given.
        weight_max: u32,
        /// What fits.
        levels: u32,
        /// What would do.
        remedy: String,
    },
    /// More rounds than the budget pays.
    #[error(
        "privacy: the budget of ε = {epsilon} at δ = {delta} pays {paid} of {rounds} rounds with \
         noise_multiplier {noise_multiplier}: {remedy}"
    )]
    Budget {
        /// ε.
        epsilon: f64,
        /// δ.
        delta: f64,
        /// z.
        noise_multiplier: f64,
        /// As asked.
        rounds: u32,
        /// As paid.
        paid: u64,
        /// What would do.
        remedy: String,
    },
    /// A number outside its range.
    #[error("{field} is {range}, not {value}")]
    Range {
        /// Its name.
        field: &'static str,
        /// What would do.
        range: &'static str,
        /// What was given.
        value: f64,
    },
}

impl Manifest {
    /// Refuses a manifest under which no round could run.
    pub fn validate(&self) -> Result<(), ManifestError> {
        if !(1..=64).contains(&self.name.len()) || !is_plain(&self.name) {
            return Err(ManifestError::Name);
        }
        if (self.version == 0) != self.predecessor.is_none() {
            return Err(ManifestError::Version);
        }
        validate_members(&self.members)?;
        self.validate_rules()?;
        self.task.validate(self.client_count())?;
        self.validate_privacy()?;
        match crate::codec::encode(self).len() {
            0..=UNSIGNED_BYTES_MAX => Ok(()),
            bytes => Err(ManifestError::TooLong(bytes)),
        }
    }

    /// The whole federation can run a private round; smaller cohorts are tried when they are planned.
    fn validate_privacy(&self) -> Result<(), ManifestError> {
        let Some(privacy) = &self.task.privacy else { return Ok(()) };
        let trusted = self.rules.coordinator == CoordinatorTrust::SemiHonest;
        if privacy.mechanism == Mechanism::Central && !trusted {
            return Err(ManifestError::UntrustedNoise);
        }
        let clients = self.client_count();
        let all = Contributors::of(clients, clients, &self.floors(clients)?);
        let layout = Layout::for_plan(PlanKind::Train, &self.task, all);
        layout.map(|_| ()).map_err(|error| TaskError::from(error).into())
    }

    fn validate_rules(&self) -> Result<(), ManifestError> {
        let (clients, rules) = (self.client_count(), &self.rules);
        let max = rules.coordinator.cohort_max();
        if !(3..=max).contains(&clients) {
            return Err(ManifestError::Clients { clients, max });
        }
        if rules.clients_min < CLIENTS_MIN_MIN {
            return Err(ManifestError::ClientsMin(rules.clients_min));
        }
        if rules.dropout_permille >= 1000 {
            return Err(ManifestError::Dropout(rules.dropout_permille));
        }
        let (corrupt, max) = (self.floors(clients)?.corrupt(), ATTESTATIONS_MAX - 2);
        if usize::from(corrupt) > max {
            return Err(ManifestError::Corrupt { corrupt, max });
        }
        if usize::from(rules.pinned_peers_min) >= clients {
            let (asked, peers) = (rules.pinned_peers_min, clients - 1);
            return Err(ManifestError::PinnedPeers { asked, peers });
        }
        Ok(())
    }
}

fn validate_members(members: &[Member]) -> Result<(), ManifestError> {
    if !(1..=MEMBERS_MAX).contains(&members.len()) {
        return Err(ManifestError::Members(members.len()));
    }
    let mut keys = BTreeSet::new();
    let mut before: Option<&TenantId> = None;
    for Member { tenant, tenant_key, clients } in members {
        if before.replace(tenant).is_some_and(|before| before >= tenant) {
            return Err(ManifestError::MemberOrder(tenant.clone()));
        }
        if clients.is_empty() {
            return Err(ManifestError::NoClients(tenant.clone()));
        }
        if !std::iter::once(tenant_key).chain(clients).all(|key| keys.insert(*key)) {
            return Err(ManifestError::KeyTwice(tenant.clone()));
        }
    }
    Ok(())
}

impl Task {
    /// Refuses a task that no federation of so many clients could run.
    pub fn validate(&self, clients: usize) -> Result<(), TaskError> {
        self.schema.validate()?;
        self.model.parameters(&self.schema)?;
        self.optimiser.validate()?;
        self.hyperparameters.validate()?;
        within("rounds", "1 to 1000000", f64::from(self.rounds), 1.0..=1e6)?;
        self.quantisation.validate()?;
        if let Some(privacy) = &self.privacy {
            privacy.validate()?;
            let weight_max = f64::from(self.quantisation.weight_max);
            let range = "1 where privacy is promised: every client weighs the same";
            within("quantisation.weight_max", range, weight_max, 1.0..=1.0)?;
        }
        let contributors = u32::try_from(clients).unwrap_or(u32::MAX);
        if self.privacy.is_none() && self.quantisation.ring().is_some() {
            self.quantisation.validate_levels(contributors)?;
        }
        self.kinds().try_for_each(|kind| Layout::for_plan(kind, self, contributors).map(|_| ()))?;
        self.validate_budget(contributors)
    }

    /// The budget pays all rounds.
    fn validate_budget(&self, clients: u32) -> Result<(), TaskError> {
        let (Some(privacy), Some(release)) = (&self.privacy, self.release(clients)) else {
            return Ok(());
        };
        let paid = privacy.pays(release, self.rounds.into());
        if paid >= self.rounds.into() {
            return Ok(());
        }
        let Privacy { epsilon, delta, noise_multiplier, .. } = *privacy;
        let rounds = self.rounds;
        let remedy = self.remedy(privacy, clients, paid);
        Err(TaskError::Budget { epsilon, delta, noise_multiplier, rounds, paid, remedy })
    }

    /// The noise multiplier that would pay all rounds, to a thousandth, and the rounds that are paid.
    fn remedy(&self, privacy: &Privacy, clients: u32, paid: u64) -> String {
        let pays = |thousandths: u32| {
            let noise_multiplier = f64::from(thousandths) / 1000.0;
            let privacy = Privacy { noise_multiplier, ..*privacy };
            let task = Self { privacy: Some(privacy), ..self.clone() };
            task.release(clients).is_some_and(|release| {
                privacy.pays(release, self.rounds.into()) >= self.rounds.into()
            })
        };
        let (mut quiet, mut loud) = (0, 1_000_000);
        let rounds = (paid > 0).then(|| format!("set rounds to {paid} at most"));
        // More noise pays more rounds, as long as the ring holds it.
        while loud - quiet > 1 {
            let middle = quiet + (loud - quiet) / 2;
            let holds = f64::from(middle) / 1000.0 > privacy.noise_multiplier;
            if holds && (pays(middle) || !self.holds(privacy, middle, clients)) {
                loud = middle;
            } else {
                quiet = middle;
            }
        }
        let noise = pays(loud)
            .then(|| format!("set noise_multiplier to {:.3} at least", f64::from(loud) / 1000.0));
        let ways: Vec<String> = rounds.into_iter().chain(noise).collect();
        if ways.is_empty() { "raise epsilon".to_owned() } else { ways.join(", or ") }
    }

    fn holds(&self, privacy: &Privacy, thousandths: u32, clients: u32) -> bool {
        let noise_multiplier = f64::from(thousandths) / 1000.0;
        let privacy = Some(Privacy { noise_multiplier, ..*privacy });
        Self { privacy, ..self.clone() }.release(clients).is_some()
    }

    /// What a round costs the data of each client, in a federation of so many; none where nothing is
    /// promised.
    #[must_use]
    pub fn release(&self, clients: u32) -> Option<Release> {
        self.privacy?;
        let layout = Layout::for_plan(PlanKind::Train, self, clients).ok()?;
        layout.private().map(|(_, private)| private.release())
    }

    /// Whether columns are standardised by a statistics round: not where privacy is promised, since
    /// its sums would be released without noise.
    #[must_use]
    pub fn takes_statistics(&self) -> bool {
        self.schema.standardises() && self.privacy.is_none()
    }

    /// Whether models are evaluated over all members' rows: not where privacy is promised.
    #[must_use]
    pub fn evaluates(&self) -> bool {
        self.privacy.is_none()
    }

    /// The kinds of plan that the task has.
    pub fn kinds(&self) -> impl Iterator<Item = PlanKind> + use<> {
        let statistics = self.takes_statistics().then_some(PlanKind::Statistics);
        let evaluate = self.evaluates().then_some(PlanKind::Evaluate);
        statistics.into_iter().chain([PlanKind::Train]).chain(evaluate)
    }
}

impl Hyperparameters {
    /// Refuses numbers with which nothing can be trained.
    pub fn validate(&self) -> Result<(), TaskError> {
        let Self { local_epochs, batch_rows, learning_rate, momentum, proximal } = *self;
        within("hyperparameters.local_epochs", "1 to 10000", local_epochs.into(), 1.0..=1e4)?;
        let batch_rows = f64::from(batch_rows);
        within("hyperparameters.batch_rows", "1 to 1048576", batch_rows, 1.0..=1_048_576.0)?;
        let smallest = f64::from(f32::MIN_POSITIVE);
        let (field, rate) = ("hyperparameters.learning_rate", f64::from(learning_rate));
        within(field, "above 0, up to 1000", rate, smallest..=1e3)?;
        within("hyperparameters.momentum", "0 to 0.9999", momentum.into(), 0.0..=0.9999)?;
        within("hyperparameters.proximal", "0 to 1000000", proximal.into(), 0.0..=1e6)
    }
}

impl Privacy {
    /// Refuses numbers that promise nothing, or that nobody can compute with.
    pub fn validate(&self) -> Result<(), TaskError> {
        let Self { epsilon, delta, noise_multiplier, l2_clip, .. } = *self;
        within("privacy.epsilon", "0.001 to 1000", epsilon, 0.001..=1e3)?;
        within("privacy.delta", "1e-15 to 0.01", delta, 1e-15..=0.01)?;
        let multipliers = Self::MULTIPLIERS;
        within("privacy.noise_multiplier", "0.01 to 1000", noise_multiplier, multipliers)?;
        let clips = f64::from(*Self::CLIPS.start())..=f64::from(*Self::CLIPS.end());
        within("privacy.l2_clip", "0.000001 to 1000000", l2_clip.into(), clips)
    }
}

/// NaN is in no range.
pub(super) fn within(
    field: &'static str,
    range: &'static str,
    value: f64,
    allowed: std::ops::RangeInclusive<f64>,
) -> Result<(), TaskError> {
    if allowed.contains(&value) { Ok(()) } else { Err(TaskError::Range { field, range, value }) }
}
