//! What the disk under the folder for temporary files costs.

use std::io::Write;
use std::time::Instant;

use super::quantile;

/// What one small durable append costs there, in milliseconds.
///
/// # Errors
/// One line: the disk refuses.
pub fn fdatasync_ms() -> Result<f64, String> {
    let measured = || -> std::io::Result<Vec<f64>> {
        let mut file = tempfile::tempfile()?;
        (0..200)
            .map(|_| {
                let began = Instant::now();
                file.write_all(&[1; 300])?;
                file.sync_data()?;
                Ok(began.elapsed().as_secs_f64() * 1_000.0)
            })
            .collect()
    };
    quantile(&measured().map_err(|error| error.to_string())?, 0.5)
}
