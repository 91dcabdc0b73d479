//! Thresholds and quorums of a round: of the complete graph, and of sparse ones.

use super::sparse::{CORRECTNESS_BITS, DEGREE_MAX, Demand, Neighbourhood, Rarities, SECURITY_BITS};

/// The largest cohort whose graph is complete whatever the coordinator is taken for.
pub const COMPLETE_CLIENTS_MAX: u16 = 512;

/// Why numbers were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParametersError {
    /// A sum over fewer than two clients hides nothing.
    #[error("{0} clients are too few: a round needs at least 2")]
    TooFewClients(u16),
    /// More colluders than the threshold withstands.
    #[error("{clients} clients withstand at most {corrupt_max} colluders, not {corrupt}")]
    TooManyCorrupt {
        /// n.
        clients: u16,
        /// c as asked for.
        corrupt: u16,
        /// The largest c.
        corrupt_max: u16,
    },
    /// A rate above 1000 per mille.
    #[error("a dropout rate of {0} per mille is above 1000")]
    DropoutRate(u16),
    /// No degree of a sparse graph withstands the colluders and the dropouts together.
    #[error(
        "no graph of degree up to {DEGREE_MAX} is safe for {clients} clients with {corrupt} \
         colluders and {dropout_per_mille} per mille dropouts: {}",
        remedy(*.corrupt, *.dropout_per_mille, *.corrupt_fits, *.dropout_per_mille_fits)
    )]
    NoDegree {
        /// n.
        clients: u16,
        /// c.
        corrupt: u16,
        /// δ as asked for.
        dropout_per_mille: u16,
        /// The largest c that would do with these dropouts.
        corrupt_fits: Option<u16>,
        /// The largest δ that would do with these colluders.
        dropout_per_mille_fits: Option<u16>,
    },
}

/// The numbers of a round over one graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    clients: u16,
    degree: u16,
    threshold: u16,
    quorum: u16,
    corrupt: u16,
    corrupt_neighbours: u16,
}

/// −log2 of the probability that a round goes wrong in a way, at most; none where it cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assurance {
    /// Some client has more than c_k colluders among its neighbours: its seeds are less safe.
    pub exposed_bits: Option<u32>,
    /// Colluders and dropouts cut the graph in two: sums over its parts come open.
    pub cut_bits: Option<u32>,
    /// Fewer than t neighbours of some client stay: the round ends without a sum.
    pub stuck_bits: Option<u32>,
}

impl Parameters {
    /// Over the complete graph (Bonawitz et al. 2017, malicious model), whose share holders are all
    /// n clients: t = ⌊2n/3⌋ + 1 shares rebuild a seed, q = t signatures make a quorum, and up to
    /// c ≤ 2t − n − 1 clients may collude with the coordinator; by default ⌊(n − 1)/4⌋.
    pub fn complete(clients: u16, corrupt: Option<u16>) -> Result<Self, ParametersError> {
        if clients < 2 {
            return Err(ParametersError::TooFewClients(clients));
        }
        let threshold = two_thirds(clients) + 1;
        // 2t − n − 1 with 2t > n: written so that it cannot overflow.
        let corrupt_max = threshold - (clients - threshold) - 1;
        let corrupt = corrupt.unwrap_or((clients - 1) / 4);
        if corrupt > corrupt_max {
            return Err(ParametersError::TooManyCorrupt { clients, corrupt, corrupt_max });
        }
        Ok(Self {
            clients,
            degree: clients - 1,
            threshold,
            quorum: threshold,
            corrupt,
            corrupt_neighbours: corrupt,
        })
    }

    /// Against a semi-honest coordinator: the complete graph up to [`COMPLETE_CLIENTS_MAX`]
    /// clients, above it a sparse one (SecAgg+, Bell et al. 2020) whose share holders are the k
    /// neighbours alone. k is the least even degree with which, but for 2^-40, every client has so
    /// few colluders among its neighbours that 2t > k + c_k and no part of the graph is cut off,
    /// and, but for 2^-20, t neighbours of every client stay. The tails are exact integers. The
    /// quorum is over the whole cohort: the least q with 2q > n + c.
    pub fn semi_honest(
        clients: u16,
        corrupt: Option<u16>,
        dropout_per_mille: u16,
    ) -> Result<Self, ParametersError> {
        if dropout_per_mille > 1000 {
            return Err(ParametersError::DropoutRate(dropout_per_mille));
        }
        if clients <= COMPLETE_CLIENTS_MAX {
            return Self::complete(clients, corrupt);
        }
        let corrupt = corrupt.unwrap_or((clients - 1) / 4);
        let found = demand(clients, corrupt, dropout_per_mille)
            .and_then(|demand| demand.neighbourhood())
            .and_then(|found| Self::sparse(clients, corrupt, found));
        found.ok_or_else(|| no_degree(clients, corrupt, dropout_per_mille))
    }

    fn sparse(clients: u16, corrupt: u16, found: Neighbourhood) -> Option<Self> {
        Some(Self {
            clients,
            degree: u16::try_from(found.degree).ok()?,
            threshold: u16::try_from(found.threshold).ok()?,
            quorum: u16::try_from(quorum(clients, corrupt)).ok()?,
            corrupt,
            corrupt_neighbours: u16::try_from(found.corrupt).ok()?,
        })
    }

    /// n: clients of the cohort.
    pub fn clients(&self) -> u16 {
        self.clients
    }

    /// k: neighbours of a client.
    pub fn degree(&self) -> u16 {
        self.degree
    }

    /// Whether everybody is everybody's neighbour.
    pub fn is_complete(&self) -> bool {
        self.degree == self.clients - 1
    }

    /// t: shares that rebuild a seed.
    pub fn threshold(&self) -> u16 {
        self.threshold
    }

    /// q: signatures over one survivor set.
    pub fn quorum(&self) -> u16 {
        self.quorum
    }

    /// c: clients that may collude with the coordinator.
    pub fn corrupt(&self) -> u16 {
        self.corrupt
    }

    /// c_k: colluders among a client's share holders, at most (but for 2^-40 in a sparse graph).
    pub fn corrupt_neighbours(&self) -> u16 {
        self.corrupt_neighbours
    }

    /// How surely a round with so many dropouts keeps its sums and gives them: exact, over all its
    /// clients together. A complete graph of these numbers cannot fail.
    pub fn assurance(&self, dropout_per_mille: u16) -> Assurance {
        let none = Assurance { exposed_bits: None, cut_bits: None, stuck_bits: None };
        let demand = demand(self.clients, self.corrupt, dropout_per_mille);
        let (false, Some(demand)) = (self.is_complete(), demand) else { return none };
        let found = Neighbourhood {
            degree: self.degree.into(),
            threshold: self.threshold.into(),
            corrupt: self.corrupt_neighbours.into(),
        };
        let Rarities { exposed, cut, stuck } = demand.rarities(&found);
        Assurance { exposed_bits: exposed, cut_bits: cut, stuck_bits: stuck }
    }

    /// t − c_k: honest share holders that have to take part before a seed is rebuilt; with the
    /// client itself, no sum is over fewer than t − c_k + 1 honest clients of a sparse graph.
    pub fn honest_share_holders_min(&self) -> u16 {
        self.threshold.saturating_sub(self.corrupt_neighbours)
    }

    /// The fewest survivors that a client signs for: max(q, clients_min + c, ⌈(1 − δ)·|A|⌉) with
    /// δ the manifest's dropout rate in per mille and A the active roster.
    pub fn survivors_min(
        &self,
        active: u16,
        clients_min: u16,
        dropout_per_mille: u16,
    ) -> Result<u16, ParametersError> {
        let kept = 1000_u16
            .checked_sub(dropout_per_mille)
            .ok_or(ParametersError::DropoutRate(dropout_per_mille))?;
        let staying = (u32::from(active) * u32::from(kept)).div_ceil(1000);
        // At most |A|, since no more than all of 1000 are kept.
        let staying = u16::try_from(staying).unwrap_or(active);
        Ok(self.quorum.max(clients_min.saturating_add(self.corrupt)).max(staying))
    }
}

/// What a sparse graph has to withstand, unless the dropouts leave no quorum.
fn demand(clients: u16, corrupt: u16, dropout_per_mille: u16) -> Option<Demand> {
    let n = u32::from(clients);
    let dropped = (n * u32::from(dropout_per_mille)).div_ceil(1000);
    let demand = Demand {
        clients: n,
        corrupt: corrupt.into(),
        dropped,
        security_bits: SECURITY_BITS,
        correctness_bits: CORRECTNESS_BITS,
    };
    let has_quorum = quorum(clients, corrupt) <= n.saturating_sub(dropped);
    (has_quorum && corrupt < clients).then_some(demand)
}

/// The least q with 2q > n + c.
fn quorum(clients: u16, corrupt: u16) -> u32 {
    (u32::from(clients) + u32::from(corrupt)) / 2 + 1
}

/// The refusal, with the largest numbers that would do.
fn no_degree(clients: u16, corrupt: u16, dropout_per_mille: u16) -> ParametersError {
    let meets =
        |corrupt, dropout| demand(clients, corrupt, dropout).is_some_and(|demand| demand.is_met());
    let corrupt_fits = largest(corrupt, |corrupt| meets(corrupt, dropout_per_mille));
    let dropout_per_mille_fits = largest(dropout_per_mille, |dropout| meets(corrupt, dropout));
    ParametersError::NoDegree {
        clients,
        corrupt,
        dropout_per_mille,
        corrupt_fits,
        dropout_per_mille_fits,
    }
}

/// A number below `below` that fits, where larger ones don't.
fn largest(below: u16, fits: impl Fn(u16) -> bool) -> Option<u16> {
    let (mut least, mut beyond) = (0, below);
    while least < beyond {
        let middle = least + (beyond - least) / 2;
        if fits(middle) { least = middle + 1 } else { beyond = middle }
    }
    least.checked_sub(1)
}

fn remedy(
    corrupt: u16,
    dropout_per_mille: u16,
    corrupt_fits: Option<u16>,
    dropout_fits: Option<u16>,
) -> String {
    match (dropout_fits, corrupt_fits) {
        (Some(dropout), Some(colluders)) => format!(
            "at most {dropout} per mille dropouts would do with {corrupt} colluders, or at most \
             {colluders} colluders with {dropout_per_mille} per mille dropouts"
        ),
        (Some(dropout), None) => format!("at most {dropout} per mille dropouts would do"),
        (None, Some(colluders)) => format!("at most {colluders} colluders would do"),
        (None, None) => "fewer of both are needed".to_owned(),
    }
}

/// ⌊2n/3⌋ without leaving u16.
fn two_thirds(n: u16) -> u16 {
    n / 3 * 2 + (n % 3) * 2 / 3
}
