//! Where the programs under test are.

use std::path::{Path, PathBuf};

/// The three programs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `roundelay-coordinator`.
    pub coordinator: PathBuf,
    /// `roundelay-client`.
    pub client: PathBuf,
    /// `roundelay-trainer`.
    pub trainer: PathBuf,
}

impl Programs {
    /// Finds them in the folder that `ROUNDELAY_BINARIES` names, else beside this very program
    /// (a test program lies one folder deeper, in `deps`).
    ///
    /// # Errors
    /// Names the program that is missing and the command that builds it.
    pub fn find() -> Result<Self, String> {
        let folder = match std::env::var_os("ROUNDELAY_BINARIES") {
            Some(folder) => PathBuf::from(folder),
            None => beside_this_program()?,
        };
        let program = |name: &str| {
            let path = folder.join(name);
            if path.exists() {
                Ok(path)
            } else {
                let build = "cargo build --workspace --bins";
                Err(format!("{} is missing; build it with `{build}`", path.display()))
            }
        };
        Ok(Self {
            coordinator: program("roundelay-coordinator")?,
            client: program("roundelay-client")?,
            trainer: program("roundelay-trainer")?,
        })
    }
}

fn beside_this_program() -> Result<PathBuf, String> {
    let this = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let folder = this.parent().unwrap_or(Path::new("."));
    let deeper = folder.file_name().is_some_and(|name| name == "deps");
    Ok(if deeper { folder.parent().unwrap_or(folder) } else { folder }.to_path_buf())
}

/// scikit-learn's digits table: `ROUNDELAY_DIGITS`, which `cargo xtask` sets.
#[must_use]
pub fn digits_file() -> Option<PathBuf> {
    std::env::var_os("ROUNDELAY_DIGITS").map(PathBuf::from).filter(|file| file.is_file())
}
