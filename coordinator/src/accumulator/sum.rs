//! The masked sum: one vector in the shape of an upload, cut where the upload is cut, with a lock
//! for each chunk so that uploads of many clients are added on all cores.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use roundelay_crypto::mask::{self, MaskKey, Masks, Ring};
use roundelay_protocol::layout::Layout;

/// Where a chunk lies in an upload, and how its words are added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Position of its first byte in the upload, and so in every keystream.
    pub offset: u64,
    /// Its length in bytes, check lanes included.
    pub bytes: usize,
    /// The ring of its words.
    pub ring: Ring,
}

impl Shape {
    /// The chunks of an upload in order.
    #[must_use]
    pub fn all(layout: &Layout) -> Vec<Self> {
        let shape = |chunk: roundelay_protocol::layout::Chunk| Self {
            offset: chunk.offset as u64,
            bytes: chunk.bytes(),
            ring: chunk.ring,
        };
        layout.chunks().map(shape).collect()
    }
}

/// A sum that is being added to. As large as one upload, whatever the number of clients.
#[derive(Debug)]
pub struct Sum {
    shapes: Vec<Shape>,
    /// Pieces of one allocation, so that taking the whole copies nothing.
    chunks: Vec<Mutex<Piece>>,
}

#[derive(Debug)]
struct Piece {
    words: BytesMut,
    /// Nothing was added yet: zeros that the system has not even given memory to. To read them first
    /// would cost each page a second fault, and a call to all other processors.
    untouched: bool,
}

impl Sum {
    /// Zero everywhere.
    #[must_use]
    pub fn zero(shapes: Vec<Shape>) -> Self {
        let mut rest = BytesMut::zeroed(shapes.iter().map(|shape| shape.bytes).sum());
        let piece = |shape: &Shape| Piece { words: rest.split_to(shape.bytes), untouched: true };
        let chunks = shapes.iter().map(piece).map(Mutex::new).collect();
        Self { shapes, chunks }
    }

    /// The shape of chunk number `index`, if there is one.
    #[must_use]
    pub fn shape(&self, index: usize) -> Option<Shape> {
        self.shapes.get(index).copied()
    }

    /// Length of the vector in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shapes.last().map_or(0, |last| last.offset + last.bytes as u64)
    }

    /// The longest chunk, in bytes.
    #[must_use]
    pub fn chunk_bytes_max(&self) -> usize {
        self.shapes.iter().map(|shape| shape.bytes).max().unwrap_or(0)
    }

    /// Adds chunk number `index` of an upload.
    pub fn add(&self, index: usize, chunk: &[u8]) {
        let piece = &mut *self.lock(index);
        if std::mem::take(&mut piece.untouched) {
            piece.words.copy_from_slice(chunk);
        } else {
            mask::add_words(&mut piece.words, self.shapes[index].ring, chunk);
        }
    }

    /// Takes back what [`Sum::add`] added.
    pub fn subtract(&self, index: usize, chunk: &[u8]) {
        mask::sub_words(&mut self.lock(index).words, self.shapes[index].ring, chunk);
    }

    /// The vector as it stands, in one piece. Nothing may be added afterwards.
    #[must_use]
    pub fn take(&self) -> BytesMut {
        let mut whole = BytesMut::new();
        for at in 0..self.chunks.len() {
            whole.unsplit(std::mem::take(&mut self.lock(at).words));
        }
        whole
    }

    fn lock(&self, index: usize) -> MutexGuard<'_, Piece> {
        // A panic while a chunk is added aborts the round; its lock carries no meaning of its own.
        self.chunks[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that a thread takes the masks of all keys off before it looks for more: a short vector
/// still has work for every core, and a long one is not cut finer than its caches ask for.
const PIECE_BYTES: usize = 64 * 1024;

/// Takes the masks of all keys off a sum, in place: on all cores of the pool, piece by piece, each
/// in strips over all keys. `sum` has the length of the shapes together.
pub fn unmask(sum: &mut [u8], shapes: &[Shape], keys: &[MaskKey]) {
    #[cfg(feature = "server")]
    let length = sum.len();
    let mut pieces = Vec::new();
    let mut rest = sum;
    for shape in shapes {
        let (chunk, after) = rest.split_at_mut(shape.bytes);
        let offsets = (shape.offset..).step_by(PIECE_BYTES);
        pieces.extend(chunk.chunks_mut(PIECE_BYTES).zip(offsets).map(|at| (at, shape.ring)));
        rest = after;
    }
    let masks = Masks::new(keys);
    let take_off = |((piece, offset), ring): ((&mut [u8], u64), Ring)| {
        masks.add(piece, ring, offset);
    };
    // Waking the pool for a short sum costs more than its masks.
    #[cfg(feature = "server")]
    if length > PIECE_BYTES {
        let pieces = rayon::iter::IntoParallelIterator::into_par_iter(pieces);
        return rayon::iter::ParallelIterator::for_each(pieces, take_off);
    }
    pieces.into_iter().for_each(take_off);
}
