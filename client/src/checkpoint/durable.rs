//! The one way in which what was appended or written to an open file becomes durable. A unit test
//! notes the order, to hold what leaves this machine against what is on its disk by then.

use std::fs::File;
use std::io;
use std::path::Path;

/// Makes all bytes of the file at `path` durable.
pub(crate) fn sync(file: &File, path: &Path) -> io::Result<()> {
    file.sync_data().inspect(|()| note(path))
}

#[cfg(not(test))]
fn note(_path: &Path) {}

#[cfg(test)]
pub(crate) use order::{note, noted_in};

#[cfg(test)]
mod order {
    use std::path::{Path, PathBuf};
    use std::sync::Mutex;

    /// Of all tests of this process: work that is to be durable is done on other threads too.
    static NOTED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

    /// The file at this path is durable, or a test says that something of this name has happened.
    pub(crate) fn note(path: &Path) {
        NOTED.lock().unwrap().push(path.to_owned());
    }

    /// The names of what was noted below a test's folder, in its order.
    pub(crate) fn noted_in(folder: &Path) -> Vec<String> {
        let noted = NOTED.lock().unwrap();
        let below = noted.iter().filter(|path| path.starts_with(folder));
        below.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect()
    }
}
