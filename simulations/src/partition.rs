//! Splits of one data set over clients, as the federated-learning literature makes them.

use rand::SeedableRng;
use rand::rngs::ChaCha12Rng;
use rand::seq::SliceRandom;
use rand_distr::{Distribution, Gamma};

/// Why a split is impossible.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PartitionError {
    /// Fewer rows than every client must get.
    #[error("{rows} rows can't give {clients} clients {rows_min} rows each")]
    TooFewRows {
        /// Rows at hand.
        rows: usize,
        /// Clients asked for.
        clients: usize,
        /// Rows that each client must get.
        rows_min: usize,
    },
    /// The concentration is not a positive number.
    #[error("the Dirichlet concentration must be a positive number, it is {0}")]
    BadConcentration(f64),
    /// No client at all.
    #[error("a split needs at least one client")]
    NoClients,
}

/// Dirichlet split by label (Hsu et al. 2019, §3.1): for each label the rows are dealt out in
/// proportions drawn from a symmetric Dirichlet distribution. Small `alpha`: uneven; large: even.
///
/// `labels` holds the label of each row. Returns the row numbers of each client, each at least
/// `rows_min` long; rows are moved from the largest client where the draw left one short. The same
/// seed gives the same split.
///
/// # Errors
/// Where such a split is impossible.
pub fn dirichlet_by_label(
    labels: &[u32],
    clients: usize,
    alpha: f64,
    rows_min: usize,
    seed: u64,
) -> Result<Vec<Vec<usize>>, PartitionError> {
    if clients == 0 {
        return Err(PartitionError::NoClients);
    }
    if labels.len() < clients.saturating_mul(rows_min) {
        return Err(PartitionError::TooFewRows { rows: labels.len(), clients, rows_min });
    }
    let gamma = Gamma::new(alpha, 1.0).map_err(|_| PartitionError::BadConcentration(alpha))?;
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    let mut split = vec![Vec::new(); clients];
    let classes = labels.iter().max().map_or(0, |label| label + 1);
    for class in 0..classes {
        let mut rows: Vec<usize> =
            (0..labels.len()).filter(|row| labels.get(*row) == Some(&class)).collect();
        rows.shuffle(&mut rng);
        let draws: Vec<f64> = (0..clients).map(|_| gamma.sample(&mut rng)).collect();
        deal(&rows, &draws, &mut split);
    }
    top_up(&mut split, rows_min);
    split.iter_mut().for_each(|rows| rows.sort_unstable());
    Ok(split)
}

/// Deals rows out in proportion to the draws; every row goes to exactly one client.
fn deal(rows: &[usize], draws: &[f64], split: &mut [Vec<usize>]) {
    let total: f64 = draws.iter().sum();
    let (mut start, mut reached) = (0, 0.0);
    for (at, (client, draw)) in split.iter_mut().zip(draws).enumerate() {
        reached += draw / total;
        let last = at + 1 == draws.len();
        // Draws of a tiny alpha may all underflow to zero: then the last client takes the rows.
        let border = if last { rows.len() } else { (reached * rows.len() as f64).round() as usize };
        let end = border.clamp(start, rows.len());
        client.extend(rows.get(start..end).unwrap_or_default());
        start = end;
    }
}

/// Moves rows from the largest client until every one has enough.
fn top_up(split: &mut [Vec<usize>], rows_min: usize) {
    while let Some(short) = split.iter().position(|rows| rows.len() < rows_min) {
        let largest = (0..split.len()).max_by_key(|client| split[*client].len()).unwrap_or(short);
        let Some(row) = split[largest].pop() else { return };
        split[short].push(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_row_goes_to_exactly_one_client(
            labels in prop::collection::vec(0u32..10, 60..300),
            clients in 1usize..12,
            alpha in 0.01f64..100.0,
            seed in any::<u64>(),
        ) {
            let split = dirichlet_by_label(&labels, clients, alpha, 5, seed).unwrap();
            prop_assert!(split.iter().all(|rows| rows.len() >= 5));
            let mut all: Vec<usize> = split.into_iter().flatten().collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..labels.len()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_small_concentration_gives_less_even_labels_than_a_large_one() {
        let labels: Vec<u32> = (0..2_000).map(|row| row % 10).collect();
        let spread = |alpha: f64| {
            let split = dirichlet_by_label(&labels, 5, alpha, 10, 7).unwrap();
            let share = |rows: &Vec<usize>| {
                let zeros = rows.iter().filter(|row| labels[**row] == 0).count();
                (zeros as f64 / rows.len() as f64 - 0.1).abs()
            };
            split.iter().map(share).sum::<f64>()
        };
        assert!(spread(0.1) > 3.0 * spread(100.0), "{} {}", spread(0.1), spread(100.0));
    }

    #[test]
    fn the_same_seed_gives_the_same_split() {
        let labels: Vec<u32> = (0..500).map(|row| row % 7).collect();
        let split = |seed| dirichlet_by_label(&labels, 4, 0.5, 1, seed).unwrap();
        assert_eq!(split(1), split(1));
        assert_ne!(split(1), split(2));
    }

    #[test]
    fn an_impossible_split_is_refused_with_its_numbers() {
        let few = dirichlet_by_label(&[0, 1], 3, 1.0, 1, 0);
        assert_eq!(few, Err(PartitionError::TooFewRows { rows: 2, clients: 3, rows_min: 1 }));
        assert_eq!(dirichlet_by_label(&[0], 0, 1.0, 0, 0), Err(PartitionError::NoClients));
        assert!(dirichlet_by_label(&[0, 1], 1, 0.0, 1, 0).is_err());
        assert!(dirichlet_by_label(&[0, 1], 1, f64::NAN, 1, 0).is_err());
    }
}
