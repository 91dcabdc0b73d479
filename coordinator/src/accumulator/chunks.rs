//! Memory for chunks, used again from upload to upload.
//!
//! Undo data is most of what a coordinator holds while uploads come, it comes and goes with each of
//! them and on any thread. Left to an allocator, as much again stays behind as was in use (decision
//! 0084). Lent from one place it never takes more than was out at one time; and when nothing is out any
//! more, and nothing was for a while, everything goes back to the system. Not at once: the next round
//! would have every page of it cleared and mapped anew, which takes longer than to add the chunks.

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where chunks are lent from.
#[derive(Debug, Clone, Default)]
pub struct Chunks(Arc<Mutex<Shelf>>);

#[derive(Debug, Default)]
struct Shelf {
    free: Vec<Vec<u8>>,
    lent: usize,
    /// Something was lent since the last look.
    used: bool,
}

/// The memory of one chunk, which fills. Dropped, it can be lent again.
#[derive(Debug)]
pub(super) struct Chunk {
    bytes: Vec<u8>,
    home: Chunks,
}

impl Chunks {
    /// An empty chunk with room for `size` bytes.
    pub(super) fn lend(&self, size: usize) -> Chunk {
        let mut shelf = self.shelf();
        (shelf.lent, shelf.used) = (shelf.lent + 1, true);
        let bytes = shelf.of(size);
        drop(shelf);
        let bytes = bytes.unwrap_or_else(|| Vec::with_capacity(size));
        Chunk { bytes, home: self.clone() }
    }

    /// Gives everything back to the system, if nothing is lent now or was since the last call.
    pub(super) fn trim(&self) {
        let mut shelf = self.shelf();
        let idle = shelf.lent == 0 && !std::mem::take(&mut shelf.used);
        let unused = if idle { std::mem::take(&mut shelf.free) } else { Vec::new() };
        // The system takes its time, and others need not wait for that.
        drop(shelf);
        drop(unused);
    }

    /// Gives so many bytes back to the system, or what is free of them: others need that memory now.
    pub(super) fn give_back(&self, bytes: u64) {
        let mut given = Vec::new();
        let mut left = bytes;
        let mut shelf = self.shelf();
        while left > 0
            && let Some(free) = shelf.free.pop()
        {
            left = left.saturating_sub(free.capacity() as u64);
            given.push(free);
        }
        // As above.
        drop(shelf);
        drop(given);
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    /// A free chunk of exactly this size. Where there is none, others make room for a new one: what
    /// is free and what is lent are never more together than was lent at some time.
    fn of(&mut self, size: usize) -> Option<Vec<u8>> {
        let fitting = self.free.iter().rposition(|free| free.capacity() == size);
        if let Some(at) = fitting {
            return Some(self.free.swap_remove(at));
        }
        let mut room = 0;
        while room < size
            && let Some(other) = self.free.pop()
        {
            room += other.capacity();
        }
        None
    }
}

impl Chunk {
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// All of its `size` bytes, to be written.
    pub(super) fn whole(&mut self, size: usize) -> &mut [u8] {
        self.bytes.resize(size, 0);
        &mut self.bytes
    }
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        let mut shelf = self.home.shelf();
        shelf.lent -= 1;
        shelf.free.push(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(chunks: &Chunks) -> usize {
        chunks.shelf().free.iter().map(Vec::capacity).sum()
    }

    #[test]
    fn a_chunk_that_came_back_is_lent_again_and_empty() {
        let chunks = Chunks::default();
        let _other = chunks.lend(64);
        let mut first = chunks.lend(64);
        first.extend(&[7; 64]);
        let address = first.as_ptr();
        drop(first);
        let mut again = chunks.lend(64);
        assert!(again.is_empty());
        assert_eq!(again.whole(64).as_ptr(), address);
        assert_eq!(*again, [0; 64]);
    }

    #[test]
    fn all_memory_goes_back_when_nothing_was_lent_for_a_while_and_not_before() {
        let chunks = Chunks::default();
        let lent: Vec<_> = (0..8).map(|_| chunks.lend(64)).collect();
        let last = chunks.lend(64);
        drop(lent);
        for _ in 0..2 {
            chunks.trim();
            assert_eq!(held(&chunks), 8 * 64, "the last one is out");
        }
        drop(last);
        drop(chunks.lend(64));
        chunks.trim();
        assert_eq!(held(&chunks), 9 * 64, "one was out a moment ago");
        chunks.trim();
        assert_eq!(held(&chunks), 0);
    }

    #[test]
    fn what_others_need_goes_back_at_once_as_far_as_it_is_free() {
        let chunks = Chunks::default();
        let lent: Vec<_> = (0..4).map(|_| chunks.lend(64)).collect();
        chunks.give_back(64);
        drop(lent);
        assert_eq!(held(&chunks), 4 * 64, "nothing was free");
        chunks.give_back(65);
        assert_eq!(held(&chunks), 2 * 64);
        chunks.give_back(1 << 20);
        assert_eq!(held(&chunks), 0);
    }

    #[test]
    fn a_chunk_of_another_size_takes_the_place_of_free_ones() {
        let chunks = Chunks::default();
        let _stays = chunks.lend(64);
        let lent: Vec<_> = (0..4).map(|_| chunks.lend(64)).collect();
        drop(lent);
        let _long = chunks.lend(100);
        assert_eq!(held(&chunks), 2 * 64, "two of 64 bytes made room for one of 100");
        let _short = chunks.lend(16);
        assert_eq!(held(&chunks), 64);
    }
}
