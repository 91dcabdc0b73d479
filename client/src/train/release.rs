//! Which release of libtorch a build was made for, and which one lies beside a library. Reads files
//! alone, so that its tests run without libtorch.

use std::path::Path;

/// The libtorch release that this build was made for; its C++ interface changes with each.
pub(super) const OURS: &str = "2.11";

/// Whether a release is the one of this build.
pub(super) fn is_ours(release: &str) -> bool {
    release.strip_prefix(OURS).is_some_and(|rest| rest.starts_with('.'))
}

/// The release that the files beside a library name: `build-version`, or PyTorch's `version.py`.
pub(super) fn release_of(library: &Path) -> Option<String> {
    let root = library.parent()?.parent()?;
    if let Ok(text) = std::fs::read_to_string(root.join("build-version")) {
        return Some(text.trim().to_owned());
    }
    let python = std::fs::read_to_string(root.join("version.py")).ok()?;
    let line = python.lines().find(|line| line.starts_with("__version__"))?;
    line.split(['\'', '"']).nth(1).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_release_of_this_build_is_taken() {
        assert!(is_ours("2.11.0") && is_ours("2.11.1+cu130"));
        assert!(!is_ours("2.1.1") && !is_ours("2.12.0") && !is_ours("2.110.0") && !is_ours("2.11"));
    }

    #[test]
    fn the_release_is_read_beside_the_library() {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("lib/libtorch_cpu.so");
        assert_eq!(release_of(&library), None);
        let python = "from typing import Optional\n__version__ = '2.9.1+cu128'\ndebug = False\n";
        std::fs::write(folder.path().join("version.py"), python).unwrap();
        assert_eq!(release_of(&library), Some("2.9.1+cu128".to_owned()));
        std::fs::write(folder.path().join("build-version"), "2.11.0\n").unwrap();
        assert_eq!(release_of(&library), Some("2.11.0".to_owned()));
    }
}
