//! Who shares masks with whom, and how many of them it takes: graphs, thresholds, quorums.

/// The graph of a round's clients: an edge is a pair of clients with a common mask.
/// Clients are numbered from zero, in the order of the roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    clients: u16,
}

impl Graph {
    /// Everybody with everybody: the only graph for a malicious coordinator.
    pub fn complete(clients: u16) -> Self {
        Self { clients }
    }

    /// How many clients there are.
    pub fn clients(&self) -> u16 {
        self.clients
    }

    /// The neighbours of client `client`, in ascending order.
    pub fn neighbours(&self, client: u16) -> impl Iterator<Item = u16> + use<> {
        (0..self.clients).filter(move |other| *other != client)
    }
}

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
}

/// The numbers of a round over the complete graph (Bonawitz et al. 2017, malicious model).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    clients: u16,
    threshold: u16,
    quorum: u16,
    corrupt: u16,
}

impl Parameters {
    /// t = ⌊2n/3⌋ + 1 shares rebuild a seed, q = t signatures make a quorum, and up to
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
        Ok(Self { clients, threshold, quorum: threshold, corrupt })
    }

    /// n: clients of the cohort.
    pub fn clients(&self) -> u16 {
        self.clients
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

/// ⌊2n/3⌋ without leaving u16.
fn two_thirds(n: u16) -> u16 {
    n / 3 * 2 + (n % 3) * 2 / 3
}

#[cfg(test)]
mod tests;
