//! The numbers of a round: threshold, quorum and floors, as the manifest's rules give them for a
//! cohort: over the complete graph (Bonawitz et al. 2017, malicious model), or above 512 clients and
//! for a semi-honest coordinator over a sparse one (SecAgg+, Bell et al. 2020).

use roundelay_crypto::graph::{COMPLETE_CLIENTS_MAX, Parameters, ParametersError};

use super::validate::CLIENTS_MIN_MIN;
use super::{CoordinatorTrust, Manifest, Rules};

/// The numbers below which a round of one cohort does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floors {
    parameters: Parameters,
    members_min: u16,
    clients_min: u16,
    dropout_permille: u16,
}

/// Why a cohort cannot run a round under the manifest's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FloorsError {
    /// The manifest's numbers do not fit the cohort.
    #[error(transparent)]
    Parameters(#[from] ParametersError),
    /// Fewer clients than the floors ask of the survivors.
    #[error(
        "clients_min = {clients_min} honest clients and {corrupt} colluding ones need a cohort of \
         {required}; it has {clients}: {}have more clients",
        remedy(*.clients, *.clients_min, *.fits)
    )]
    TooFewClients {
        /// n.
        clients: u16,
        /// The rule.
        clients_min: u16,
        /// c for this cohort.
        corrupt: u16,
        /// Clients that would do.
        required: u16,
        /// The largest clients_min that this cohort would do for; below 2 there is none.
        fits: u16,
    },
    /// Sums over parts of a sparse graph may be over fewer honest clients.
    #[error(
        "in a sparse graph of {clients} clients a sum may be over {fits} honest ones alone: lower \
         clients_min from {clients_min} to {fits}"
    )]
    SmallComponents {
        /// n.
        clients: u16,
        /// The rule.
        clients_min: u16,
        /// t − c_k + 1.
        fits: u16,
    },
}

/// What the rules may say instead, where they may: a cohort that is too small for c colluders and
/// two honest clients has to be one of fewer colluders.
fn remedy(clients: u16, clients_min: u16, fits: u16) -> String {
    match clients.checked_sub(clients_min) {
        _ if fits >= CLIENTS_MIN_MIN => format!("lower clients_min to {fits}, or "),
        Some(corrupt) => format!("lower corrupt_max to {corrupt}, or "),
        None => String::new(),
    }
}

impl Rules {
    /// The floors for a cohort of so many clients, where it can run a round at all.
    pub fn floors(&self, cohort: usize) -> Result<Floors, FloorsError> {
        let clients = u16::try_from(cohort).unwrap_or(u16::MAX);
        let parameters = self.parameters(clients)?;
        let (clients_min, corrupt) = (self.clients_min, parameters.corrupt());
        // With an empty roster the rate has no say: what is left are quorum and clients_min + c.
        let members_min = parameters.survivors_min(0, clients_min, self.dropout_permille)?;
        if members_min > clients {
            let required = clients_min.saturating_add(corrupt);
            let fits = clients.saturating_sub(corrupt);
            return Err(FloorsError::TooFewClients {
                clients,
                clients_min,
                corrupt,
                required,
                fits,
            });
        }
        let fits = parameters.honest_share_holders_min().saturating_add(1);
        if !parameters.is_complete() && fits < clients_min {
            return Err(FloorsError::SmallComponents { clients, clients_min, fits });
        }
        let dropout_permille = self.dropout_permille;
        Ok(Floors { parameters, members_min, clients_min, dropout_permille })
    }

    fn parameters(&self, clients: u16) -> Result<Parameters, ParametersError> {
        match self.coordinator {
            CoordinatorTrust::Malicious => Parameters::complete(clients, self.corrupt_max),
            CoordinatorTrust::SemiHonest => {
                Parameters::semi_honest(clients, self.corrupt_max, self.dropout_permille)
            }
        }
    }

    /// The fewest clients s such that every cohort of s to `clients` can run a round; `None` where
    /// not even all can. Of cohorts with a sparse graph, whose numbers take long to find, only some
    /// are tried: they become easier as they grow, but for rounding, and a cohort that is not possible
    /// after all is refused when it is planned.
    #[must_use]
    pub fn cohort_min(&self, clients: usize) -> Option<usize> {
        let complete = match self.coordinator {
            CoordinatorTrust::Malicious => clients,
            CoordinatorTrust::SemiHonest => clients.min(COMPLETE_CLIENTS_MAX.into()),
        };
        let (mut impossible, mut possible) = (complete, clients);
        if clients > complete {
            self.floors(clients).ok()?;
            while possible - impossible > 1 {
                let middle = impossible + (possible - impossible) / 2;
                if self.floors(middle).is_ok() { possible = middle } else { impossible = middle }
            }
            if possible > complete + 1 {
                return Some(possible);
            }
        }
        let last_impossible = (0..=complete).rev().find(|n| self.floors(*n).is_err());
        let smallest = last_impossible.map_or(0, |n| n + 1);
        (smallest <= clients).then_some(smallest)
    }
}

impl Manifest {
    /// The floors for a cohort of so many clients ([`Rules::floors`]).
    pub fn floors(&self, cohort: usize) -> Result<Floors, FloorsError> {
        self.rules.floors(cohort)
    }
}

impl Floors {
    /// t: shares that rebuild a seed.
    #[must_use]
    pub fn threshold(&self) -> u16 {
        self.parameters.threshold()
    }

    /// k: neighbours of a client.
    #[must_use]
    pub fn degree(&self) -> u16 {
        self.parameters.degree()
    }

    /// Neighbours of a client that have to be left in a sparse graph, t: they hold its shares, and
    /// their masks hide it. In a complete graph the quorum says more.
    #[must_use]
    pub fn neighbours_min(&self) -> u16 {
        if self.parameters.is_complete() { 0 } else { self.parameters.threshold() }
    }

    /// c_k: colluders among those who hold a client's shares, at most.
    #[must_use]
    pub fn corrupt_neighbours(&self) -> u16 {
        self.parameters.corrupt_neighbours()
    }

    /// q: signatures over one survivor set.
    #[must_use]
    pub fn quorum(&self) -> u16 {
        self.parameters.quorum()
    }

    /// c: clients that may collude with the coordinator.
    #[must_use]
    pub fn corrupt(&self) -> u16 {
        self.parameters.corrupt()
    }

    /// Members of a cohort of so many that, once they never sign a survivor set of it, keep any
    /// from a quorum though c of them lie: n − q + c + 1. It is at most q, for 2q > n + c.
    #[must_use]
    pub fn witnesses(&self, cohort: usize) -> u16 {
        let cohort = u16::try_from(cohort).unwrap_or(u16::MAX);
        cohort.saturating_sub(self.quorum()).saturating_add(self.corrupt()).saturating_add(1)
    }

    /// Clients that have to be left before MaskedInput: max(q, clients_min + c).
    #[must_use]
    pub fn members_min(&self) -> u16 {
        self.members_min
    }

    /// Clients that a survivor set has at least, for an active roster of so many:
    /// max(q, clients_min + c, ⌈(1 − δ)·|A|⌉).
    #[must_use]
    pub fn survivors_min(&self, active: usize) -> u16 {
        let active = u16::try_from(active).unwrap_or(u16::MAX);
        // The rate was checked when the floors were made.
        self.parameters
            .survivors_min(active, self.clients_min, self.dropout_permille)
            .unwrap_or(u16::MAX)
    }
}
