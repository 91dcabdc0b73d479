//! The unnamed file that a daemon shares with its trainer: memory where the system offers it
//! (Linux), else a file in the temporary folder whose name is removed at once.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::train::job::Vectors;

/// An empty file without a name.
pub(super) fn unnamed() -> io::Result<Vectors> {
    in_memory().or_else(|_| unlinked(&std::env::temp_dir())).map(Vectors)
}

#[cfg(target_os = "linux")]
fn in_memory() -> io::Result<File> {
    use rustix::fs::{MemfdFlags, memfd_create};
    Ok(File::from(memfd_create("roundelay-vectors", MemfdFlags::CLOEXEC)?))
}

#[cfg(not(target_os = "linux"))]
fn in_memory() -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A file that only this process has had time to open.
fn unlinked(folder: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!(".roundelay-{}-{count}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_come_back_from_memory_and_from_an_unlinked_file() {
        let folder = tempfile::tempdir().unwrap();
        for file in [in_memory().unwrap(), unlinked(folder.path()).unwrap()] {
            let vectors = Vectors(file);
            let mut read = vec![9.0; 7];
            vectors.write(&[1.0, -2.5, 3.0]).unwrap();
            vectors.read(3, &mut read).unwrap();
            assert_eq!(read, [1.0, -2.5, 3.0]);
            vectors.write(&[4.0]).unwrap();
            vectors.read(1, &mut read).unwrap();
            assert_eq!(read, [4.0]);
            assert!(vectors.read(4, &mut read).is_err());
            assert!(vectors.read(u64::MAX, &mut read).is_err());
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
