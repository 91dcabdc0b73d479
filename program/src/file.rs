//! Files that people name: opened only if they are files, and read up to a bound.

use std::fs::{self, File, FileType};
use std::io::{self, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

/// Opens a regular file to read. A pipe would keep its reader waiting, a device may go on for ever.
///
/// # Errors
/// It is none, or can't be opened.
pub fn open(path: &Path) -> io::Result<File> {
    match other_than_file(fs::metadata(path)?.file_type()) {
        Some(other) => Err(io::Error::other(format!("{other}, not a file"))),
        None => File::open(path),
    }
}

fn other_than_file(kind: FileType) -> Option<&'static str> {
    match kind {
        kind if kind.is_file() => None,
        kind if kind.is_dir() => Some("it is a folder"),
        kind if kind.is_fifo() => Some("it is a pipe"),
        kind if kind.is_socket() => Some("it is a socket"),
        _ => Some("it is a device"),
    }
}

/// The bytes of a regular file of at most `bytes_max`.
///
/// # Errors
/// It is none, is longer, or can't be read.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("it has more than {bytes_max} bytes, too many here")));
    }
    Ok(bytes)
}

/// The text of a regular file of at most `bytes_max` bytes.
///
/// # Errors
/// As of [`read`]; or it is no UTF-8.
pub fn read_text(path: &Path, bytes_max: u64) -> io::Result<String> {
    String::from_utf8(read(path, bytes_max)?)
        .map_err(|_| io::Error::other("it is no text in UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_is_read_and_only_up_to_the_bound() {
        let folder = std::env::temp_dir();
        let refused = |path: &Path| read(path, 10).map_err(|error| error.to_string());
        assert_eq!(refused(&folder), Err("it is a folder, not a file".to_owned()));
        assert_eq!(refused(Path::new("/dev/zero")), Err("it is a device, not a file".to_owned()));
        let file = folder.join(format!("roundelay-program-{}", std::process::id()));
        fs::write(&file, [b'a'; 11]).unwrap();
        assert_eq!(refused(&file), Err("it has more than 10 bytes, too many here".to_owned()));
        fs::write(&file, b"word").unwrap();
        assert_eq!(read_text(&file, 10).unwrap(), "word");
        fs::write(&file, [0xff]).unwrap();
        assert!(read_text(&file, 10).is_err());
        fs::remove_file(&file).unwrap();
    }
}
