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
pub(crate) const CRATES: [&str; 8] =
    ["crypto", "protocol", "program", "coordinator", "client", "simulations", "tests", "xtask"];

/// The lines of a file before its unit tests: the module at its end that only tests compile. Single
/// items that only tests compile, and tests in a file of their own, hide nothing of what follows.
pub(crate) fn before_tests(text: &str) -> impl Iterator<Item = &str> {
    let lines: Vec<&str> = text.lines().collect();
    let is_module = |line: &str| line.starts_with("mod ") && line.ends_with('{');
    let tests = lines.windows(2).position(|pair| pair[0] == "#[cfg(test)]" && is_module(pair[1]));
    let end = tests.unwrap_or(lines.len());
    lines.into_iter().take(end)
}

#[test]
fn only_the_module_of_tests_hides_what_follows() {
    let text =
        "a\n#[cfg(test)]\nfn b() {}\n#[cfg(test)]\nmod tests;\nc\n#[cfg(test)]\nmod tests {\nd\n}";
    let shown: Vec<&str> = before_tests(text).collect();
    assert_eq!(shown.last(), Some(&"c"));
    assert_eq!(shown.len(), 6);
}
