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

/// Keeps the masked vectors of train rounds that a client has stored to send, byte for byte as they
/// go to the coordinator. The client takes each file away when its round is over.
pub struct Tap {
    kept: PathBuf,
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A masked vector, and the round that it was sent in.
pub struct Upload {
    /// The round.
    pub round: u64,
    /// The vector.
    pub masked: Vec<u8>,
}

impl Tap {
    /// Watches the folder of one federation at one site for vectors of a length, and copies them
    /// into a folder of its own.
    ///
    /// # Errors
    /// Where that folder can't be made.
    pub fn on(federation: PathBuf, kept: PathBuf, bytes: u64) -> Result<Self, String> {
        std::fs::create_dir_all(&kept).map_err(|error| format!("{}: {error}", kept.display()))?;
        let done = Arc::new(AtomicBool::new(false));
        let (stop, target) = (Arc::clone(&done), kept.clone());
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                for file in vectors_in(&federation, bytes) {
                    let to = file.file_name().map(|name| target.join(name));
                    if let Some(to) = to.filter(|to| !to.exists()) {
                        // It may be gone since it was listed.
                        let _ = std::fs::copy(&file, to);
                    }
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Ok(Self { kept, done, thread: Some(thread) })
    }

    /// Stops watching and returns the vector of the newest round that was seen.
    #[must_use]
    pub fn newest(mut self) -> Option<Upload> {
        self.stop();
        let rounds = std::fs::read_dir(&self.kept).ok()?.flatten();
        let (round, path) =
            rounds.filter_map(|kept| Some((round_of(&kept.path())?, kept.path()))).max()?;
        Some(Upload { round, masked: std::fs::read(path).ok()? })
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

fn vectors_in(folder: &Path, bytes: u64) -> impl Iterator<Item = PathBuf> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    files.filter(move |path| {
        round_of(path).is_some() && path.metadata().is_ok_and(|metadata| metadata.len() == bytes)
    })
}

/// The round of a file that the client calls `round-N.masked`.
fn round_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("round-")?.strip_suffix(".masked")?.parse().ok()
}

/// Whether words fall into the parts of the ring as evenly as random ones do: Pearson's statistic,
/// at a level that one honest vector in a million fails.
#[must_use]
pub fn is_flat(counts: &[u64]) -> bool {
    /// The normal distribution's quantile at 1 - 1e-6.
    const QUANTILE: f64 = 4.753;
    // The chi-squared distribution's, after Wilson and Hilferty (1931): off by less than 1 %.
    let scale = 2.0 / (9.0 * (counts.len() as f64 - 1.0));
    let limit = (counts.len() as f64 - 1.0) * (1.0 - scale + QUANTILE * scale.sqrt()).powi(3);
    let expected = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    let distance = |count: &u64| (*count as f64 - expected).powi(2) / expected;
    expected > 0.0 && counts.iter().map(distance).sum::<f64>() < limit
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
    use rand::{RngExt as _, SeedableRng as _};

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

    #[test]
    fn random_words_are_flat_and_an_update_is_not() {
        let mut rng = rand::rngs::ChaCha20Rng::from_seed([7; 32]);
        let random: Vec<u8> = (0..40_000).map(|_| rng.random()).collect();
        assert!(is_flat(&words(&random)));
        let small: Vec<u8> =
            random.as_chunks::<2>().0.iter().flat_map(|w| [w[0], w[1], 0, 0]).collect();
        assert!(!is_flat(&words(&small)));
        assert!(!is_flat(&words(&[])), "nothing seen shows nothing");
    }

    #[test]
    fn the_newest_rounds_vector_is_kept_after_the_client_removed_it() {
        let folder = tempfile::tempdir().unwrap();
        let (site, kept) = (folder.path().join("site"), folder.path().join("kept"));
        std::fs::create_dir(&site).unwrap();
        let tap = Tap::on(site.clone(), kept.clone(), 4).unwrap();
        for (round, bytes) in [(9, &b"nine"[..]), (10, b"ten."), (11, b"of another length")] {
            let file = site.join(format!("round-{round}.masked"));
            std::fs::write(&file, bytes).unwrap();
            let name = format!("round-{round}.masked");
            let until = std::time::Instant::now() + Duration::from_secs(5);
            while bytes.len() == 4
                && !kept.join(&name).exists()
                && std::time::Instant::now() < until
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::fs::remove_file(&file).unwrap();
        }
        let newest = tap.newest().unwrap();
        assert_eq!((newest.round, newest.masked), (10, b"ten.".to_vec()));
    }
}
