//! What is due, in virtual time: the moment decides, then the order in which it was written down,
//! so that the same run has the same order of everything.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use roundelay_protocol::time::Time;

/// Things with the moments at which they are due.
#[derive(Debug)]
pub struct Agenda<T> {
    due: BinaryHeap<Reverse<Due<T>>>,
    written: u64,
}

#[derive(Debug)]
struct Due<T> {
    at: Time,
    order: u64,
    what: T,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self { due: BinaryHeap::new(), written: 0 }
    }
}

impl<T> Agenda<T> {
    /// Writes something down for a moment.
    pub fn put(&mut self, at: Time, what: T) {
        self.written += 1;
        self.due.push(Reverse(Due { at, order: self.written, what }));
    }

    /// When the next thing is due.
    #[must_use]
    pub fn next_at(&self) -> Option<Time> {
        self.due.peek().map(|Reverse(due)| due.at)
    }

    /// The next thing, with its moment.
    pub fn pop(&mut self) -> Option<(Time, T)> {
        self.due.pop().map(|Reverse(due)| (due.at, due.what))
    }
}

impl<T> Due<T> {
    fn key(&self) -> (Time, u64) {
        (self.at, self.order)
    }
}

impl<T> PartialEq for Due<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Due<T> {}

impl<T> PartialOrd for Due<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Due<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earlier_comes_first_and_of_equals_the_one_written_first() {
        let mut agenda = Agenda::default();
        for (at, what) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b')] {
            agenda.put(Time(at), what);
        }
        assert_eq!(agenda.next_at(), Some(Time(1)));
        let order: Vec<_> = std::iter::from_fn(|| agenda.pop()).map(|(_, what)| what).collect();
        assert_eq!(order, ['a', 'b', 'c', 'd']);
    }
}
