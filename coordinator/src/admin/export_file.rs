//! A file at a path that the user chose: it is there whole or not at all, and takes the place of
//! nothing but a file. A rename would put it in the place of a device, a pipe or a link as well.

use std::fs::{self, File, FileType};
use std::io::{BufWriter, ErrorKind, Write as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use super::{AdminError, Kind};

/// Refuses a path at which something other than a regular file stands.
pub(super) fn check(to: &Path) -> Result<(), AdminError> {
    // What can't be looked at can't be written either, and that error says more.
    let Ok(found) = fs::symlink_metadata(to) else { return Ok(()) };
    if found.file_type().is_file() {
        return Ok(());
    }
    let message = format!(
        "{} is {} and stays as it is; choose the path of a file that is new or may be replaced \
         (`--to`)",
        to.display(),
        in_words(found.file_type())
    );
    Err(AdminError::new(Kind::Invalid, "not_a_file", message))
}

fn in_words(found: FileType) -> &'static str {
    match found {
        found if found.is_dir() => "a folder",
        found if found.is_symlink() => "a symbolic link",
        found if found.is_fifo() => "a pipe",
        found if found.is_socket() => "a socket",
        _ => "a device",
    }
}

/// A file that is written beside its place and moved there once it is whole. Dropped before that,
/// nothing of it stays.
pub(super) struct ExportFile {
    to: PathBuf,
    /// None once it has moved.
    draft: Option<PathBuf>,
    file: BufWriter<File>,
    bytes: u64,
}

impl ExportFile {
    /// Begins a file for this path.
    pub(super) fn create(to: &Path) -> Result<Self, AdminError> {
        let mut draft = to.as_os_str().to_owned();
        draft.push(format!(".{}.part", std::process::id()));
        let draft = PathBuf::from(draft);
        // New, so that it is no link to elsewhere; a crash of a process with this id may have left one.
        let _ = fs::remove_file(&draft);
        let file = File::create_new(&draft).map_err(|why| failed(to, &why))?;
        let file = BufWriter::new(file);
        Ok(Self { to: to.to_owned(), draft: Some(draft), file, bytes: 0 })
    }

    /// The next bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), AdminError> {
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|why| failed(&self.to, &why))
    }

    /// Moves the file to its place; returns how many bytes it has.
    pub(super) fn finish(mut self) -> Result<u64, AdminError> {
        let written = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        written.map_err(|why| failed(&self.to, &why))?;
        check(&self.to)?;
        if let Some(draft) = &self.draft {
            fs::rename(draft, &self.to).map_err(|why| failed(&self.to, &why))?;
        }
        self.draft = None;
        Ok(self.bytes)
    }
}

impl Drop for ExportFile {
    fn drop(&mut self) {
        if let Some(draft) = &self.draft {
            // Nothing may be there to remove; the error that matters was told.
            let _ = fs::remove_file(draft);
        }
    }
}

fn failed(to: &Path, why: &std::io::Error) -> AdminError {
    let (kind, code, remedy) = match why.kind() {
        ErrorKind::NotFound => (Kind::Invalid, "export", "; make its folder first"),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            (Kind::Internal, "disk_full", "; free some space, or choose another disk (`--to`)")
        }
        ErrorKind::PermissionDenied
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::NotADirectory
        | ErrorKind::InvalidFilename => {
            (Kind::Invalid, "export", "; choose a path that the coordinator may write (`--to`)")
        }
        _ => (Kind::Internal, "export", ""),
    };
    AdminError::new(kind, code, format_args!("{}: {why}{remedy}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(to: &Path, bytes: &[u8]) -> Result<u64, AdminError> {
        let mut file = ExportFile::create(to)?;
        file.push(bytes)?;
        file.finish()
    }

    #[test]
    fn a_model_takes_the_place_of_a_file_and_of_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        write(&at("file"), b"old").unwrap();
        write(&at("file"), b"new").unwrap();
        assert_eq!(fs::read(at("file")).unwrap(), b"new");
        fs::create_dir(at("folder")).unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (name, words) in
            [("folder", "is a folder"), ("link", "is a symbolic link"), ("socket", "is a socket")]
        {
            let before = fs::symlink_metadata(at(name)).unwrap().file_type();
            for refused in [check(&at(name)), write(&at(name), b"newer").map(drop)] {
                let refused = refused.unwrap_err();
                assert_eq!(refused.kind, Kind::Invalid);
                assert!(refused.message.contains(words), "{refused}");
            }
            assert_eq!(fs::symlink_metadata(at(name)).unwrap().file_type(), before, "{name}");
        }
        assert_eq!(fs::read(at("file")).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4, "a draft was left behind");
    }

    #[test]
    fn a_device_is_refused_before_anything_is_written() {
        let refused = check(Path::new("/dev/null")).unwrap_err();
        assert!(refused.message.starts_with("/dev/null is a device"), "{refused}");
    }

    #[test]
    fn a_folder_that_is_missing_is_the_users_to_make() {
        let folder = tempfile::tempdir().unwrap();
        let refused = write(&folder.path().join("missing/file"), b"new").unwrap_err();
        assert_eq!(refused.kind, Kind::Invalid);
        assert!(refused.message.ends_with("; make its folder first"), "{refused}");
    }
}
