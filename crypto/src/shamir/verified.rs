//! Rebuilding a seed when some shares may be wrong, and finding out which.

use subtle::ConstantTimeEq;

use super::weights::check_indices;
use super::{LagrangeWeights, Seed, ShamirError};

/// The most subsets that are tried before giving up.
const SUBSETS_MAX: usize = 2048;

/// Rebuilds the seed from shares some of which may be wrong, and names the wrong ones' indices.
pub fn combine_verified(
    shares: &[(u16, &[u8; 32])],
    needed: u16,
    check: impl Fn(&Seed) -> bool,
) -> Result<(Seed, Vec<u16>), ShamirError> {
    let at_hand = shares.len();
    let indices: Vec<u16> = shares.iter().map(|(index, _)| *index).collect();
    check_indices(&indices)?;
    if at_hand < needed.into() {
        return Err(ShamirError::TooFew { at_hand, needed });
    }
    let mut best: Option<(Seed, Vec<u16>)> = None;
    for subset in Subsets::new(at_hand, needed.into()).take(SUBSETS_MAX) {
        let used: Vec<_> = subset.iter().filter_map(|i| shares.get(*i).copied()).collect();
        let Some(found) = attempt(&used, shares, &check)? else { continue };
        if best.as_ref().is_none_or(|(_, wrong)| found.1.len() < wrong.len()) {
            let agreed = at_hand - found.1.len();
            best = Some(found);
            if 2 * agreed >= at_hand + usize::from(needed) {
                break;
            }
        }
    }
    best.ok_or(ShamirError::NotRebuilt { at_hand, needed })
}

fn attempt(
    used: &[(u16, &[u8; 32])],
    shares: &[(u16, &[u8; 32])],
    check: &impl Fn(&Seed) -> bool,
) -> Result<Option<(Seed, Vec<u16>)>, ShamirError> {
    let indices: Vec<u16> = used.iter().map(|(index, _)| *index).collect();
    let values: Vec<&[u8; 32]> = used.iter().map(|(_, value)| *value).collect();
    let weights = LagrangeWeights::new(&indices)?;
    let seed = weights.combine(&values)?;
    if !check(&seed) {
        return Ok(None);
    }
    let mut wrong = Vec::new();
    for (index, value) in shares {
        if !indices.contains(index) {
            let right = weights.share_at(*index, &values)?;
            if !bool::from(right.expose().ct_eq(*value)) {
                wrong.push(*index);
            }
        }
    }
    Ok(Some((seed, wrong)))
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
