//! Merkle trees over BLAKE3 in the shape of RFC 6962: one root for a list, a short path per leaf.

use crate::digest::Digest;

/// The most steps of a path: a list of 2^32 leaves.
pub const PATH_STEPS_MAX: usize = 32;

/// What leads from a leaf to the root: the sibling at each step, the lowest first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Path(Vec<Digest>);

impl Path {
    /// Refuses more steps than any list needs.
    pub fn new(steps: Vec<Digest>) -> Option<Self> {
        (steps.len() <= PATH_STEPS_MAX).then_some(Self(steps))
    }

    /// The siblings, the lowest first.
    pub fn steps(&self) -> &[Digest] {
        &self.0
    }
}

/// The root over `leaves` in their order; an empty list has a root of its own.
pub fn root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => empty(),
        [single] => leaf(single),
        _ => {
            let (left, right) = halves(leaves);
            node(&root(left), &root(right))
        }
    }
}

/// The path of leaf number `index`, counted from zero; nothing where there is no such leaf.
pub fn path(leaves: &[Digest], index: usize) -> Option<Path> {
    let mut steps = Vec::new();
    let (mut subtree, mut index) = (leaves, index);
    if index >= leaves.len() {
        return None;
    }
    while subtree.len() > 1 {
        let (left, right) = halves(subtree);
        if index < left.len() {
            steps.push(root(right));
            subtree = left;
        } else {
            steps.push(root(left));
            index -= left.len();
            subtree = right;
        }
    }
    steps.reverse();
    Path::new(steps)
}

/// The paths of all leaves in their order, with every node hashed once.
pub fn paths(leaves: &[Digest]) -> Vec<Path> {
    let mut steps = vec![Vec::new(); leaves.len()];
    climb(leaves, &mut steps);
    steps.into_iter().map(Path).collect()
}

/// Adds to the steps of each leaf what lies beside it on the way up, and gives the root.
fn climb(leaves: &[Digest], steps: &mut [Vec<Digest>]) -> Digest {
    match leaves {
        [] => empty(),
        [single] => leaf(single),
        _ => {
            let (left, right) = halves(leaves);
            let (left_steps, right_steps) = steps.split_at_mut(left.len());
            let (left, right) = (climb(left, left_steps), climb(right, right_steps));
            left_steps.iter_mut().for_each(|steps| steps.push(right));
            right_steps.iter_mut().for_each(|steps| steps.push(left));
            node(&left, &right)
        }
    }
}

/// Whether `leaf` is number `index` of the `count` leaves under `root` (RFC 9162, 2.1.3.2).
pub fn verify(root: &Digest, leaf: &Digest, index: usize, count: usize, path: &Path) -> bool {
    if index >= count {
        return false;
    }
    let (mut position, mut last) = (index, count - 1);
    let mut hash = self::leaf(leaf);
    for sibling in path.steps() {
        if last == 0 {
            return false;
        }
        if position & 1 == 1 || position == last {
            hash = node(sibling, &hash);
            while position & 1 == 0 && position != 0 {
                position >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, sibling);
        }
        position >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// The largest power of two below the number of leaves goes left.
fn halves(leaves: &[Digest]) -> (&[Digest], &[Digest]) {
    leaves.split_at(leaves.len().div_ceil(2).next_power_of_two())
}

pub(crate) fn empty() -> Digest {
    Digest::of("roundelay/tree/empty", &[])
}

pub(crate) fn leaf(value: &Digest) -> Digest {
    Digest::of("roundelay/tree/leaf", &[&value.0])
}

pub(crate) fn node(left: &Digest, right: &Digest) -> Digest {
    Digest::of("roundelay/tree/node", &[&left.0, &right.0])
}

#[cfg(feature = "serde")]
mod wire {
    use serde::{Deserialize, Deserializer, de::Error};

    use super::Path;

    impl<'de> Deserialize<'de> for Path {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let steps = Vec::deserialize(deserializer)?;
            Self::new(steps).ok_or_else(|| D::Error::custom("a path has at most 32 steps"))
        }
    }
}

#[cfg(test)]
mod tests;
