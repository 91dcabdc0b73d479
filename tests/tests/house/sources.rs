//! The Rust files of the repository, and what stands in them before their tests.

use std::path::{Path, PathBuf};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").to_path_buf()
}

/// Every Rust file below a folder, by its path from the root, sorted.
pub(crate) fn rust_files(folder: &str) -> Vec<(String, String)> {
    let root = root();
    let mut waiting = vec![root.join(folder)];
    let mut files = Vec::new();
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = std::fs::read_to_string(&path).expect("a Rust file is text");
                let name = path.strip_prefix(&root).expect("below the root");
                files.push((name.display().to_string(), text));
            }
        }
    }
    files.sort();
    files
}

/// Every crate of the workspace.
pub(crate) const CRATES: [&str; 7] =
    ["crypto", "protocol", "coordinator", "client", "simulations", "tests", "xtask"];

/// The lines of a file before its unit tests.
pub(crate) fn before_tests(text: &str) -> impl Iterator<Item = &str> {
    text.lines().take_while(|line| line.trim() != "#[cfg(test)]")
}
