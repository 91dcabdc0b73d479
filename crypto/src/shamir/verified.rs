//! Rebuilding a seed when some shares may be wrong, and finding out which.
//!
//! A `check` (a commitment, a public key) tells the right seed from all others. The first t
//! shares are tried; then those that Gao's decoder finds consistent, which copes with (m − t)/2
//! wrong ones of m at any size; then subsets of t, which for the small cohorts that are the
//! common case copes with m − t. Subsets alone would not do: colluders in a cohort of a hundred
//! could make their number astronomic.

use subtle::ConstantTimeEq;

use super::weights::check_indices;
use super::{LagrangeWeights, Seed, ShamirError, decode};

/// The most subsets that are tried before giving up: all 7 of 10. With more clients the decoder has
/// more to spare, and a search stays a matter of milliseconds.
const SUBSETS_MAX: usize = 256;

/// Rebuilds the seed that `check` accepts from m ≥ t shares some of which may be wrong, and
/// names the wrong ones: those that differ from the polynomial on which most of the others lie.
/// That does not prove their holders' guilt: the dealer may have dealt them so.
pub fn combine_verified(
    shares: &[(u16, &[u8; 32])],
    needed: u16,
    check: impl Fn(&Seed) -> bool,
) -> Result<(Seed, Vec<u16>), ShamirError> {
    let (at_hand, size) = (shares.len(), usize::from(needed));
    let indices: Vec<u16> = shares.iter().map(|(index, _)| *index).collect();
    check_indices(&indices)?;
    if at_hand < size {
        return Err(ShamirError::TooFew { at_hand, needed });
    }
    let mut search = Search { shares, size, check, best: None };
    search.run()?;
    search.best.ok_or(ShamirError::NotRebuilt { at_hand, needed })
}

struct Search<'a, Check> {
    shares: &'a [(u16, &'a [u8; 32])],
    size: usize,
    check: Check,
    best: Option<(Seed, Vec<u16>)>,
}

impl<Check: Fn(&Seed) -> bool> Search<'_, Check> {
    fn run(&mut self) -> Result<(), ShamirError> {
        let first: Vec<usize> = (0..self.size).collect();
        self.attempt(&first)?;
        if self.is_settled() {
            return Ok(());
        }
        if let Some(consistent) = decode::consistent(self.shares, self.size) {
            self.attempt(consistent.get(..self.size).unwrap_or(&consistent))?;
        }
        for subset in Subsets::new(self.shares.len(), self.size).take(SUBSETS_MAX) {
            if self.is_settled() {
                break;
            }
            self.attempt(&subset)?;
        }
        Ok(())
    }

    /// Two polynomials that each meet (m + t) / 2 of m shares meet t common ones: they are one.
    fn is_settled(&self) -> bool {
        self.best.as_ref().is_some_and(|(_, wrong)| {
            let agreed = self.shares.len() - wrong.len();
            2 * agreed >= self.shares.len() + self.size
        })
    }

    /// Joins the shares at t positions, and keeps the result if it is right and better.
    fn attempt(&mut self, positions: &[usize]) -> Result<(), ShamirError> {
        let used = positions.iter().filter_map(|position| self.shares.get(*position));
        let (indices, values): (Vec<u16>, Vec<&[u8; 32]>) = used.copied().unzip();
        let weights = LagrangeWeights::new(&indices)?;
        let seed = weights.combine(&values)?;
        if !(self.check)(&seed) {
            return Ok(());
        }
        let wrong = self.disagreeing(&weights, &values)?;
        if self.best.as_ref().is_none_or(|(_, fewest)| wrong.len() < fewest.len()) {
            self.best = Some((seed, wrong));
        }
        Ok(())
    }

    /// The indices of the shares that do not lie on the polynomial through `values`.
    fn disagreeing(
        &self,
        weights: &LagrangeWeights,
        values: &[&[u8; 32]],
    ) -> Result<Vec<u16>, ShamirError> {
        let mut wrong = Vec::new();
        for (index, value) in self.shares {
            if weights.indices().contains(index) {
                continue;
            }
            let right = weights.share_at(*index, values)?;
            if !bool::from(right.expose().ct_eq(*value)) {
                wrong.push(*index);
            }
        }
        Ok(wrong)
    }
}

/// All ways to choose `size` of `total` positions, in lexicographic order.
struct Subsets {
    next: Option<Vec<usize>>,
    total: usize,
}

impl Subsets {
    fn new(total: usize, size: usize) -> Self {
        Self { next: (size <= total).then(|| (0..size).collect()), total }
    }

    fn successor(&self, subset: &[usize]) -> Option<Vec<usize>> {
        let size = subset.len();
        let room = |place: usize| self.total - size + place;
        let (place, position) =
            subset.iter().enumerate().rfind(|(place, position)| **position < room(*place))?;
        let kept = subset.iter().take(place).copied();
        Some(kept.chain((position + 1..).take(size - place)).collect())
    }
}

impl Iterator for Subsets {
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Vec<usize>> {
        let current = self.next.take()?;
        self.next = self.successor(&current);
        Some(current)
    }
}
