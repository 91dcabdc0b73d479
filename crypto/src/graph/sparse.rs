//! The numbers of a sparse graph: how many neighbours, and how many of them rebuild a seed.
//!
//! Among n clients c collude and ⌈δn⌉ drop out; of the other n − 1, a client's k neighbours are a
//! random choice. With exact hypergeometric tails, and all n clients counted (union bound):
//! - c_k is the least number that more than c_k colluders among k neighbours exceed with at most
//!   2^-40 for any client;
//! - t = ⌊(k + c_k) / 2⌋ + 1, the least with 2t > k + c_k: no two answers about one client, with
//!   the colluders in both, can gather t shares each;
//! - fewer than t neighbours stay, for any client, with at most 2^-20;
//! - n((c + ⌈δn⌉) / n)^(k/2) ≤ 2^-40: the graph stays in one piece without colluders and dropouts
//!   (SecAgg+, Bell et al. 2020, section 3).
//!
//! The degree is the least even one with all of these. Every comparison is one of integers.

use super::integer::Natural;

/// What a sum is kept safe with: 2^-40 for the whole round.
pub(super) const SECURITY_BITS: u32 = 40;
/// How surely a round's seeds can be rebuilt: 2^-20 for the whole round.
pub(super) const CORRECTNESS_BITS: u32 = 20;
/// The largest degree that is looked for: beyond it the search, and each dropout, cost too much.
pub(super) const DEGREE_MAX: u32 = 1024;
/// Degrees at the upper end that are tried before the search; larger ones are easier but for
/// rounding, which takes turns from one degree to the next.
const TRIED_FIRST: u32 = 4;

/// What a graph has to withstand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Demand {
    /// n.
    pub(super) clients: u32,
    /// c, below n.
    pub(super) corrupt: u32,
    /// ⌈δn⌉, at most n.
    pub(super) dropped: u32,
    /// −log2 of the probability that a sum is not safe.
    pub(super) security_bits: u32,
    /// −log2 of the probability that a seed can't be rebuilt.
    pub(super) correctness_bits: u32,
}

/// A degree that meets a demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Neighbourhood {
    /// k.
    pub(super) degree: u32,
    /// t.
    pub(super) threshold: u32,
    /// c_k.
    pub(super) corrupt: u32,
}

impl Demand {
    /// The least even degree that meets the demand, up to [`DEGREE_MAX`].
    pub(super) fn neighbourhood(&self) -> Option<Neighbourhood> {
        let (first, last) = (self.connected_degree()?, self.degree_max());
        if !self.is_met() {
            return None;
        }
        (first..=last).step_by(2).find_map(|degree| self.at(degree))
    }

    /// Whether one of the largest degrees meets it: quick, where a whole search is not.
    pub(super) fn is_met(&self) -> bool {
        let last = self.degree_max();
        let Some(first) = self.connected_degree() else { return false };
        let largest = (first..=last).rev().filter(|degree| degree.is_multiple_of(2));
        largest.take(TRIED_FIRST as usize).any(|degree| self.at(degree).is_some())
    }

    /// With all others for neighbours it would be the complete graph, whose bounds are others.
    fn degree_max(&self) -> u32 {
        self.clients.saturating_sub(2).min(DEGREE_MAX)
    }

    /// The least even degree at which the graph stays in one piece.
    fn connected_degree(&self) -> Option<u32> {
        let lost = self.corrupt + self.dropped;
        if lost >= self.clients {
            return None;
        }
        let (mut gone, mut all) = (Natural::one(), Natural::one());
        gone.multiply(self.clients);
        gone.double(self.security_bits);
        for half in 1..=self.degree_max() / 2 {
            gone.multiply(lost);
            all.multiply(self.clients);
            if gone <= all {
                return Some(2 * half);
            }
        }
        None
    }

    /// The numbers at one degree, if it meets the demand.
    fn at(&self, degree: u32) -> Option<Neighbourhood> {
        let corrupt = self.exceeded_rarely(self.corrupt, degree, self.security_bits);
        let threshold = (degree + corrupt) / 2 + 1;
        let staying = degree.checked_sub(threshold)?;
        let dropped = self.exceeded_rarely(self.dropped, degree, self.correctness_bits);
        (dropped <= staying).then_some(Neighbourhood { degree, threshold, corrupt })
    }

    /// The least x such that more than x of `degree` draws from the n − 1 others, `marked` of
    /// which are marked, are marked with n · P ≤ 2^-`bits`.
    fn exceeded_rarely(&self, marked: u32, degree: u32, bits: u32) -> u32 {
        // n · 2^bits · tail > all exactly where the tail is above this quotient, rounded down.
        let mut limit = Natural::binomial(self.clients - 1, degree);
        limit.halve(bits);
        limit.divide(self.clients);
        let mut draws = Draws::of(self.clients - 1, marked, degree);
        let mut tail = Natural::zero();
        loop {
            tail.add(&draws.ways);
            if tail > limit || !draws.descend() {
                return draws.drawn;
            }
        }
    }

    /// The largest x with n · P ≤ 2^-x, where P is the probability that more than `exceeded` of
    /// `degree` draws from the n − 1 others, `marked` of which are marked, are marked; none where
    /// that cannot be.
    fn rarity(&self, marked: u32, degree: u32, exceeded: u32) -> Option<u32> {
        let mut draws = Draws::of(self.clients - 1, marked, degree);
        let mut tail = Natural::zero();
        while draws.drawn > exceeded {
            tail.add(&draws.ways);
            if !draws.descend() {
                break;
            }
        }
        tail.multiply(self.clients);
        bits_below(&tail, &Natural::binomial(self.clients - 1, degree))
    }

    /// How rarely the numbers of a degree fail, each over all n clients.
    pub(super) fn rarities(&self, found: &Neighbourhood) -> Rarities {
        let Neighbourhood { degree, threshold, corrupt } = *found;
        let lost = self.corrupt + self.dropped;
        let (mut gone, mut all) = (Natural::one(), Natural::one());
        gone.multiply(self.clients);
        for _ in 0..degree / 2 {
            gone.multiply(lost);
            all.multiply(self.clients);
        }
        Rarities {
            exposed: self.rarity(self.corrupt, degree, corrupt),
            cut: bits_below(&gone, &all),
            stuck: self.rarity(self.dropped, degree, degree.saturating_sub(threshold)),
        }
    }
}

/// −log2 of the probabilities of failure, rounded down; none where something cannot fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rarities {
    /// Some client has more than c_k colluders around it.
    pub(super) exposed: Option<u32>,
    /// Some part of the graph is cut off by colluders and dropouts.
    pub(super) cut: Option<u32>,
    /// Some client has fewer than t neighbours that stay.
    pub(super) stuck: Option<u32>,
}

/// The largest x with `part` · 2^x ≤ `whole`; none for nothing.
fn bits_below(part: &Natural, whole: &Natural) -> Option<u32> {
    if *part == Natural::zero() {
        return None;
    }
    let mut part = part.clone();
    let mut bits = 0;
    part.double(1);
    while part <= *whole {
        part.double(1);
        bits += 1;
    }
    Some(bits)
}

/// In how many ways so many marked ones are drawn, from the largest number downwards.
struct Draws {
    marked: u32,
    unmarked: u32,
    degree: u32,
    drawn: u32,
    ways: Natural,
}

impl Draws {
    fn of(others: u32, marked: u32, degree: u32) -> Self {
        let marked = marked.min(others);
        let unmarked = others - marked;
        let drawn = degree.min(marked);
        let ways = times(Natural::binomial(marked, drawn), unmarked, degree - drawn);
        Self { marked, unmarked, degree, drawn, ways }
    }

    /// One marked one less; not where there are none, or no others to draw.
    fn descend(&mut self) -> bool {
        let Self { marked, unmarked, degree, drawn, ways } = self;
        let others = *degree - *drawn;
        if *drawn == 0 || others >= *unmarked {
            return false;
        }
        // C(m, i) · C(u, k − i) to C(m, i − 1) · C(u, k − i + 1).
        ways.multiply(*drawn);
        ways.multiply(*unmarked - others);
        ways.divide(*marked - *drawn + 1);
        ways.divide(others + 1);
        *drawn -= 1;
        true
    }
}

/// `ways` times the number of ways to choose `chosen` of `all`.
fn times(mut ways: Natural, all: u32, chosen: u32) -> Natural {
    if chosen > all {
        return Natural::zero();
    }
    for done in 0..chosen {
        // A product of binomials at every step: no remainder.
        ways.multiply(all - done);
        ways.divide(done + 1);
    }
    ways
}

#[cfg(test)]
mod tests;
