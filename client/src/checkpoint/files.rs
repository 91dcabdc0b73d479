//! Whole files: written so that a crash leaves the old content or the new one, read so that a
//! foreign, newer or damaged file is refused in one clear line.
//!
//! ```text
//! file = "roundelay <kind> <format>\n" ‖ body ‖ digest of the first line and the body (32 bytes)
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use roundelay_crypto::digest::Digest;

use super::failpoint::reached;
use super::{CheckpointError, at};

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// The owner alone (0600): keys.
    Secret,
    /// As the directory allows (0644): all else.
    Plain,
}

impl Access {
    fn mode(self) -> u32 {
        match self {
            Self::Secret => 0o600,
            Self::Plain => 0o644,
        }
    }
}

/// The kind of a file and the newest format of it that this build writes and reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// One word, such as `state`.
    pub(crate) name: &'static str,
    /// Rises by one when the body changes.
    pub(crate) format: u32,
}

impl Kind {
    /// The first line of such a file.
    pub(crate) fn header(self) -> String {
        format!("roundelay {} {}\n", self.name, self.format)
    }

    /// What stands after a header that fits, or why it does not.
    pub(crate) fn strip(self, path: &Path, bytes: &[u8]) -> Result<usize, CheckpointError> {
        let end = bytes.iter().take(64).position(|byte| *byte == b'\n');
        let words = end
            .and_then(|end| std::str::from_utf8(&bytes[..end]).ok())
            .map(|line| line.split(' ').collect::<Vec<_>>());
        let (Some(end), Some([magic, name, format])) = (end, words.as_deref()) else {
            return Err(CheckpointError::damaged(path, "its first line is not Roundelay's"));
        };
        if *magic != "roundelay" || *name != self.name {
            return Err(CheckpointError::damaged(path, "it is a file of another kind"));
        }
        match format.parse::<u32>() {
            Ok(format) if format == self.format => Ok(end + 1),
            Ok(format) if format > self.format => {
                Err(CheckpointError::Newer { path: path.to_owned(), format })
            }
            _ => Err(CheckpointError::damaged(path, "its format number is unknown")),
        }
    }
}

/// Replaces the whole content of `path`: temporary file, fsync, rename, fsync of the directory.
pub(crate) fn replace(path: &Path, access: Access, parts: &[&[u8]]) -> Result<(), CheckpointError> {
    let temporary = temporary_name(path);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let step = |step: &str| reached(&["file", name, step]);
    let written = write_new(&temporary, access, parts, &step)
        .and_then(|()| step("rename.before"))
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| step("directory.before"))
        .and_then(|()| sync_directory(path))
        .and_then(|()| step("after"));
    if written.is_err() {
        // Best effort: a leftover is overwritten by the next attempt.
        let _ = fs::remove_file(&temporary);
    }
    written.map_err(|error| at(path, error))
}

fn temporary_name(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

fn write_new(
    path: &Path,
    access: Access,
    parts: &[&[u8]],
    step: &dyn Fn(&str) -> io::Result<()>,
) -> io::Result<()> {
    // Removed first, so that the mode is ours and not a leftover's.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    step("create.before")?;
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(access.mode()).open(path)?;
    for part in parts {
        step("write.before")?;
        file.write_all(part)?;
    }
    step("sync.before")?;
    file.sync_all()
}

/// Makes the names in the directory of `path` durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        // The parent of a bare name is the empty path, which no system call takes.
        Some(parent) if parent.as_os_str().is_empty() => File::open(".")?.sync_all(),
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Writes a sealed file (header, body, digest) in place of `path`.
pub(crate) fn write_sealed(
    path: &Path,
    kind: Kind,
    access: Access,
    body: &[u8],
) -> Result<(), CheckpointError> {
    let header = kind.header();
    let digest = seal(header.as_bytes(), body);
    replace(path, access, &[header.as_bytes(), body, &digest.0])
}

fn seal(header: &[u8], body: &[u8]) -> Digest {
    Digest::of("roundelay/client/file", &[header, body])
}

/// Reads the body of a sealed file; `None` where there is no such file.
pub(crate) fn read_sealed(
    path: &Path,
    kind: Kind,
    bytes_max: u64,
) -> Result<Option<Vec<u8>>, CheckpointError> {
    let Some(mut bytes) = read(path, bytes_max)? else { return Ok(None) };
    let start = kind.strip(path, &bytes)?;
    let cut = bytes.len().checked_sub(32).filter(|cut| *cut >= start);
    let Some(cut) = cut else { return Err(CheckpointError::damaged(path, "it is cut off")) };
    let expected = seal(&bytes[..start], &bytes[start..cut]);
    if expected.0[..] != bytes[cut..] {
        return Err(CheckpointError::damaged(path, "its checksum does not match"));
    }
    bytes.truncate(cut);
    bytes.drain(..start);
    Ok(Some(bytes))
}

/// Reads a whole file of at most `bytes_max` bytes; `None` where there is none.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, CheckpointError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(path, error)),
    };
    let mut bytes = Vec::new();
    let limit = bytes_max.saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(|error| at(path, error))?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > bytes_max) {
        return Err(CheckpointError::damaged(path, "it is larger than such a file can be"));
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::failpoint::{Fault, arm, disarm};

    const KIND: Kind = Kind { name: "test", format: 3 };

    #[test]
    fn a_crash_at_any_step_leaves_the_old_content_or_the_new_one() {
        let steps = [
            "file.file.create.before",
            "file.file.write.before",
            "file.file.sync.before",
            "file.file.rename.before",
            "file.file.directory.before",
        ];
        for fault in [Fault::Kill, Fault::Full] {
            for step in steps {
                let dir = tempfile::tempdir().unwrap();
                let path = dir.path().join("file");
                write_sealed(&path, KIND, Access::Plain, b"old").unwrap();
                arm(step, fault);
                let ended = std::panic::catch_unwind(|| {
                    write_sealed(&path, KIND, Access::Plain, b"new").is_err()
                });
                assert!(!disarm(), "{step} was reached");
                assert!(matches!(ended, Err(_) | Ok(true)), "{step}");
                let expected = if step == "file.file.directory.before" { b"new" } else { b"old" };
                let read = read_sealed(&path, KIND, 1 << 10).unwrap().unwrap();
                assert_eq!(read, expected, "{step}");
                write_sealed(&path, KIND, Access::Plain, b"next").unwrap();
                assert_eq!(read_sealed(&path, KIND, 1 << 10).unwrap().unwrap(), b"next");
            }
        }
    }

    #[test]
    fn a_changed_or_cut_off_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        write_sealed(&path, KIND, Access::Plain, b"body").unwrap();
        let whole = fs::read(&path).unwrap();
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 1;
            fs::write(&path, changed).unwrap();
            assert!(read_sealed(&path, KIND, 1 << 10).is_err(), "{place}");
            fs::write(&path, &whole[..place]).unwrap();
            assert!(read_sealed(&path, KIND, 1 << 10).is_err(), "{place}");
        }
    }

    #[test]
    fn a_file_that_is_missing_is_no_error_and_one_that_is_too_long_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert!(read_sealed(&path, KIND, 10).unwrap().is_none());
        write_sealed(&path, KIND, Access::Plain, &[1; 100]).unwrap();
        assert!(read_sealed(&path, KIND, 99).is_err());
    }

    #[test]
    fn a_secret_file_is_for_its_owner_alone_even_over_a_leftover() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(temporary_name(&path), b"leftover of a crash").unwrap();
        replace(&path, Access::Secret, &[b"secret"]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
