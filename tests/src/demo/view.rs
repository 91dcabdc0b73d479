//! What left a site in a round, and what stayed: histograms of one tenant's update, masked and
//! plain.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Bins of a histogram at most.
const BINS: usize = 64;

/// Words in a bin on average, where a vector has enough of them: with fewer, chance alone makes a
/// flat histogram look ragged.
const WORDS_PER_BIN: usize = 128;

/// Keeps the newest masked vector of a train round that a client has stored to send, byte for byte
/// as it goes to the coordinator. The client removes the file when its round is over; a second link keeps it.
pub struct Tap {
    kept: PathBuf,
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Tap {
    /// Watches the folder of one federation at one site for vectors of a length.
    #[must_use]
    pub fn on(federation: PathBuf, kept: PathBuf, bytes: u64) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let (stop, target) = (Arc::clone(&done), kept.clone());
        let thread = std::thread::spawn(move || {
            let mut last = None;
            while !stop.load(Ordering::Relaxed) {
                if let Some(file) = masked_in(&federation)
                    && last.as_ref() != Some(&file)
                    && file.metadata().is_ok_and(|metadata| metadata.len() == bytes)
                    && keep(&file, &target)
                {
                    last = Some(file);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { kept, done, thread: Some(thread) }
    }

    /// Stops watching and returns the newest vector, if there was one.
    #[must_use]
    pub fn newest(mut self) -> Option<Vec<u8>> {
        self.stop();
        std::fs::read(&self.kept).ok()
    }

    fn stop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the watcher leaves no vector, which the caller sees.
            let _ = thread.join();
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.stop();
    }
}

fn masked_in(folder: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    files.filter(|path| path.extension().is_some_and(|ending| ending == "masked")).max()
}

fn keep(file: &Path, target: &Path) -> bool {
    let next = target.with_extension("next");
    // The file may be gone by now: then an older vector is kept.
    let _ = std::fs::remove_file(&next);
    std::fs::hard_link(file, &next).is_ok() && std::fs::rename(&next, target).is_ok()
}

/// How often the 32-bit words of a masked vector fall into equal parts of the ring.
#[must_use]
pub fn words(masked: &[u8]) -> Vec<u64> {
    let words = masked.as_chunks::<4>().0;
    let mut counts = vec![0; (words.len() / WORDS_PER_BIN).clamp(8, BINS)];
    for word in words {
        let bin = (u64::from(u32::from_le_bytes(*word)) * counts.len() as u64) >> 32;
        counts[bin as usize] += 1;
    }
    counts
}

/// How often coordinates fall into equal parts of their range, and that range.
#[must_use]
pub fn coordinates(update: &[f32]) -> (Vec<u64>, (f32, f32)) {
    let low = update.iter().copied().fold(f32::INFINITY, f32::min);
    let high = update.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut counts = vec![0; BINS];
    for value in update {
        let part = (value - low) / (high - low).max(f32::MIN_POSITIVE);
        counts[((part * BINS as f32) as usize).min(BINS - 1)] += 1;
    }
    (counts, (low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_and_every_coordinate_is_counted_once() {
        let masked: Vec<u8> =
            [0u32, 1, u32::MAX, 1 << 31].iter().flat_map(|w| w.to_le_bytes()).collect();
        let counts = words(&masked);
        assert_eq!(counts, [2, 0, 0, 0, 1, 0, 0, 1]);
        assert_eq!(words(&[0; 4 * 128 * 20]).len(), 20);
        let (counts, range) = coordinates(&[-1.0, 0.0, 1.0, 1.0]);
        assert_eq!((counts.iter().sum::<u64>(), counts[BINS - 1]), (4, 2));
        assert_eq!(range, (-1.0, 1.0));
    }
}
