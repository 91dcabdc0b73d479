//! The numbers of a round before there is one: which graph, threshold and quorum a cohort gets, what
//! they guarantee, and what they cost (the verb `parameters`). Pure: the same numbers come from the
//! same code that plans rounds.

use roundelay_crypto::graph::{Parameters, ParametersError};
use roundelay_protocol::manifest::CoordinatorTrust;
use serde::Serialize;

pub use cost::Cost;

mod cost;

/// What numbers are asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Question {
    /// How far the coordinator is trusted.
    pub coordinator: CoordinatorTrust,
    /// n: clients of a cohort.
    pub clients: u16,
    /// The share of them that may collude with the coordinator; by default ⌊(n − 1)/4⌋ of them.
    pub corrupt: Option<f64>,
    /// δ: the share of them that may drop out.
    pub dropout: f64,
    /// d: parameters of the model.
    pub parameters: u64,
    /// Bits of a word of an update, 16 or 32.
    pub ring_bits: u8,
}

/// Why there are no such numbers.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QuestionError {
    /// Not a share.
    #[error("{name} is a share from 0 to 1, not {value}")]
    NotAShare {
        /// Of what.
        name: &'static str,
        /// As asked for.
        value: f64,
    },
    /// No graph has such numbers.
    #[error(transparent)]
    Parameters(#[from] ParametersError),
    /// The complete graph does not bear so many dropouts.
    #[error(
        "{clients} clients go on with {threshold} of them, so that {fits} may drop out, not \
         {dropouts}: a dropout of {share:.3} would do"
    )]
    TooManyDropouts {
        /// n.
        clients: u16,
        /// t.
        threshold: u16,
        /// Dropouts asked for.
        dropouts: u16,
        /// Dropouts that would do.
        fits: u16,
        /// The share that they are.
        share: f64,
    },
}

/// The numbers of a round, what they guarantee and what they cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// How far the coordinator is trusted.
    pub coordinator: CoordinatorTrust,
    /// n.
    pub clients: u16,
    /// c.
    pub corrupt: u16,
    /// ⌈δn⌉.
    pub dropouts: u16,
    /// Whether everybody shares masks with everybody.
    pub complete: bool,
    /// k.
    pub degree: u16,
    /// t.
    pub threshold: u16,
    /// q.
    pub quorum: u16,
    /// c_k.
    pub corrupt_neighbours: u16,
    /// Clients at most in one round of such a federation.
    pub clients_max: u16,
    /// What holds, and how surely.
    pub guarantees: Guarantees,
    /// By formula, for one client and round.
    pub cost: Cost,
}

/// What holds, and how surely. A probability is given as −log2 of an upper bound, over all clients of
/// the round together; none where it cannot fail.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Guarantees {
    /// Honest clients at least in any sum that comes open.
    pub honest_in_a_sum_min: u16,
    /// Of more than c_k colluders around some client.
    pub exposed_bits: Option<u32>,
    /// Of a graph that colluders and dropouts cut in two.
    pub cut_bits: Option<u32>,
    /// Of a round that ends without a sum though no more than δ drop out.
    pub stuck_bits: Option<u32>,
}

impl Question {
    /// The numbers.
    ///
    /// # Errors
    /// No graph has such numbers; the error names some that would do.
    pub fn answer(&self) -> Result<Report, QuestionError> {
        let permille = share("dropout", self.dropout, 1000)?.1;
        let corrupt = self.corrupt.map(|it| share("corrupt", it, self.clients)).transpose()?;
        let corrupt = corrupt.map(|(least, _)| least);
        let found = match self.coordinator {
            CoordinatorTrust::Malicious => Parameters::complete(self.clients, corrupt)?,
            CoordinatorTrust::SemiHonest => {
                Parameters::semi_honest(self.clients, corrupt, permille)?
            }
        };
        let dropouts = (u32::from(self.clients) * u32::from(permille)).div_ceil(1000);
        let dropouts = u16::try_from(dropouts).unwrap_or(self.clients);
        check_dropouts(&found, dropouts)?;
        Ok(self.report(&found, dropouts, permille))
    }

    fn report(&self, found: &Parameters, dropouts: u16, permille: u16) -> Report {
        let assurance = found.assurance(permille);
        // Of a complete graph the quorum's honest signers are in the sum, each with its vector.
        let honest = match found.is_complete() {
            true => found.quorum().saturating_sub(found.corrupt()),
            false => found.honest_share_holders_min().saturating_add(1),
        };
        Report {
            coordinator: self.coordinator,
            clients: self.clients,
            corrupt: found.corrupt(),
            dropouts,
            complete: found.is_complete(),
            degree: found.degree(),
            threshold: found.threshold(),
            quorum: found.quorum(),
            corrupt_neighbours: found.corrupt_neighbours(),
            clients_max: u16::try_from(self.coordinator.cohort_max()).unwrap_or(u16::MAX),
            guarantees: Guarantees {
                honest_in_a_sum_min: honest,
                exposed_bits: assurance.exposed_bits,
                cut_bits: assurance.cut_bits,
                stuck_bits: assurance.stuck_bits,
            },
            cost: Cost::of(found, self.parameters, self.ring_bits),
        }
    }
}

/// A complete graph needs t of its clients; a sparse one has its dropouts counted in its degree.
fn check_dropouts(found: &Parameters, dropouts: u16) -> Result<(), QuestionError> {
    let (clients, threshold) = (found.clients(), found.threshold());
    let fits = clients.saturating_sub(threshold);
    if found.is_complete() && dropouts > fits {
        // Rounded down, so that it would do.
        let share = (f64::from(fits) / f64::from(clients) * 1000.0).floor() / 1000.0;
        return Err(QuestionError::TooManyDropouts { clients, threshold, dropouts, fits, share });
    }
    Ok(())
}

/// A share of a number, rounded down and up.
fn share(name: &'static str, value: f64, of: u16) -> Result<(u16, u16), QuestionError> {
    if !(0.0..=1.0).contains(&value) {
        return Err(QuestionError::NotAShare { name, value });
    }
    // A tenth of 1000 is 100, whatever the last bit of a tenth.
    let exact = (value * f64::from(of) * 1e6).round() / 1e6;
    let whole = |number: f64| (0..=of).find(|it| f64::from(*it) >= number).unwrap_or(of);
    Ok((whole(exact.floor()), whole(exact)))
}

#[cfg(test)]
mod tests;
