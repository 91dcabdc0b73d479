//! What a fresh Debian 12 with Rust needs besides, named with the line that installs it.

use crate::run::{Outcome, works};

const INSTALL: &str = "apt-get install build-essential python3-pip python3-venv";

/// Fails with the install line where a C++ compiler, or Python with pip and venv, is missing.
pub(crate) fn check() -> Outcome {
    let checks: [(&str, &str, &[&str]); 4] = [
        ("a C++ compiler (c++)", "c++", &["--version"]),
        ("Python 3", "python3", &["--version"]),
        ("pip for Python 3", "python3", &["-m", "pip", "--version"]),
        ("venv for Python 3", "python3", &["-c", "import venv, ensurepip"]),
    ];
    let missing: Vec<&str> = checks
        .iter()
        .filter(|(_, program, arguments)| !works(program, arguments))
        .map(|(name, _, _)| *name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("missing: {}. On Debian: {INSTALL}", missing.join(", ")))
}
