//! What it takes to take a client back: the chunks that it added, in memory or in a spool.

use std::any::Any;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::chunks::{Chunk, Chunks};

/// A file, or anything that can be written and read again from the start.
pub trait Spool: Read + Write + Seek + Send {}

impl<T: Read + Write + Seek + Send> Spool for T {}

/// Where the chunks of one upload wait until the client is certain to be in the sum.
pub struct Undo {
    place: Place,
    chunks: Chunks,
}

enum Place {
    /// In memory; what stands for that memory in a budget is held as long.
    Memory { kept: Vec<Chunk>, filling: Option<Chunk>, _hold: Box<dyn Any + Send> },
    /// In a spool, the chunk that is filling too: it is in memory only while it is added.
    Spool(Box<dyn Spool>),
}

impl std::fmt::Debug for Undo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_spooled() { "Undo(spool)" } else { "Undo(memory)" })
    }
}

impl Undo {
    /// Keeps chunks in memory. `hold` is dropped with them: a permit of a budget.
    pub fn in_memory(chunks: &Chunks, hold: impl Any + Send) -> Self {
        let place = Place::Memory { kept: Vec::new(), filling: None, _hold: Box::new(hold) };
        Self { place, chunks: chunks.clone() }
    }

    /// Keeps chunks in an empty spool.
    pub fn in_spool(file: impl Spool + 'static, chunks: &Chunks) -> Self {
        Self { place: Place::Spool(Box::new(file)), chunks: chunks.clone() }
    }

    /// Whether keeping and reading back may wait for a disk.
    #[must_use]
    pub fn is_spooled(&self) -> bool {
        matches!(self.place, Place::Spool(_))
    }

    /// Takes the next bytes of the chunk that is filling, of which `missing` are missing.
    pub(super) fn fill(&mut self, bytes: &[u8], missing: usize) -> io::Result<()> {
        match &mut self.place {
            Place::Memory { filling, .. } => {
                // At once for the whole chunk: pieces are small, and a chunk is added as one.
                filling.get_or_insert_with(|| self.chunks.lend(missing)).extend(bytes);
                Ok(())
            }
            Place::Spool(file) => file.write_all(bytes),
        }
    }

    /// Keeps the chunk that has filled, of so many bytes, and shows it.
    pub(super) fn keep<R>(&mut self, size: usize, show: impl FnOnce(&[u8]) -> R) -> io::Result<R> {
        match &mut self.place {
            Place::Memory { kept, filling, .. } => {
                kept.extend(filling.take());
                Ok(show(kept.last().map_or(&[], |chunk| chunk)))
            }
            Place::Spool(file) => {
                let mut chunk = self.chunks.lend(size);
                let back = i64::try_from(size).map_err(io::Error::other)?;
                file.seek(SeekFrom::Current(-back))?;
                file.read_exact(chunk.whole(size))?;
                Ok(show(&chunk))
            }
        }
    }

    /// Hands back the chunks in order; `sizes` are the lengths with which they were kept.
    pub(super) fn replay(
        self,
        sizes: impl Iterator<Item = usize>,
        mut each: impl FnMut(usize, &[u8]),
    ) -> io::Result<()> {
        match self.place {
            Place::Memory { kept, .. } => {
                kept.into_iter().enumerate().for_each(|(index, chunk)| each(index, &chunk));
            }
            Place::Spool(mut file) => {
                file.seek(SeekFrom::Start(0))?;
                let mut buffer = Vec::new();
                for (index, size) in sizes.enumerate() {
                    buffer.resize(size, 0);
                    file.read_exact(&mut buffer)?;
                    each(index, &buffer);
                }
            }
        }
        Ok(())
    }
}
