//! Pinned wheels, downloaded by pip and unpacked in part.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Outcome, succeed, target};

/// One wheel, for one platform.
pub(crate) struct Wheel {
    /// Name and version as pip wants them.
    pub(crate) requirement: &'static str,
    /// SHA-256 of the file.
    pub(crate) sha256: &'static str,
    /// The platform tag that selects it.
    pub(crate) platform: &'static str,
}

/// Unpacks the members whose names start with one of the prefixes. A file of a wheel never leaves
/// the folder: `ZipFile.extract` drops `..` and roots.
const UNPACK: &str = "
import sys, zipfile
wheel, folder, *prefixes = sys.argv[1:]
archive = zipfile.ZipFile(wheel)
names = [n for n in archive.namelist() if n.startswith(tuple(prefixes))]
if not names: sys.exit(f'{wheel} holds none of {prefixes}')
for name in names: archive.extract(name, folder)
";

impl Wheel {
    /// Downloads the wheel unless a finished copy is there. pip checks the hash either way.
    ///
    /// The Python version is fixed, so the choice of wheel does not depend on the Python that
    /// happens to run pip.
    pub(crate) fn download(&self) -> Result<PathBuf, String> {
        let folder = target().join("wheels").join(self.sha256);
        let made = fs::create_dir_all(&folder);
        made.map_err(|error| format!("can't create {}: {error}", folder.display()))?;
        let pinned = folder.join("requirements.txt");
        let line = format!("{} --hash=sha256:{}\n", self.requirement, self.sha256);
        let written = fs::write(&pinned, line);
        written.map_err(|error| format!("can't write {}: {error}", pinned.display()))?;
        succeed(
            Command::new("python3")
                .args(["-m", "pip", "download", "--disable-pip-version-check", "--no-deps"])
                .args(["--require-hashes", "--only-binary=:all:", "--python-version=3.11"])
                .arg(format!("--platform={}", self.platform))
                .arg("--dest")
                .arg(&folder)
                .arg("--requirement")
                .arg(&pinned),
        )
        .map_err(|reason| format!("can't download {}: {reason}", self.requirement))?;
        wheel_in(&folder)
    }

    /// Frees the space of the finished copy.
    pub(crate) fn forget(&self) {
        // A copy that stays behind costs space and nothing else.
        let _ = fs::remove_dir_all(target().join("wheels").join(self.sha256));
    }
}

/// Unpacks members by prefix into a folder.
pub(crate) fn unpack(wheel: &Path, folder: &Path, prefixes: &[&str]) -> Outcome {
    succeed(Command::new("python3").args(["-c", UNPACK]).arg(wheel).arg(folder).args(prefixes))
        .map_err(|_| format!("can't unpack {} into {}", wheel.display(), folder.display()))
}

fn wheel_in(folder: &Path) -> Result<PathBuf, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or_else(|| format!("pip left no wheel in {}", folder.display()))
}
