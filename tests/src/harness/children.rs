//! A test that runs again as a process of its own: to be killed, or where disks are full. Tests of
//! several packages need it, so their crates take this file in by its path.
//!
//! The child is the same test, started once more by this same program: a test that needs one opens
//! with [`folder_of_child`], and where that says that this process is the child it does the child's
//! part and returns. So no test exists that only another one may run, and none passes for nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::skip::skip;

/// Where a child finds its data.
const FOLDER: &str = "ROUNDELAY_TEST_FOLDER";

/// The folder that [`child`] gave this process; none in the process that people start.
#[must_use]
pub fn folder_of_child() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// The test of this path (`module_path!()` and its name) in a process of its own. A path that no
/// test has runs nothing: the caller sees that its child neither died nor spoke.
///
/// # Panics
/// Where this program does not know its own path.
#[must_use]
pub fn child(test: &str, folder: &Path) -> Command {
    let program = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(program);
    command.args(["--exact", "--nocapture", in_crate(test)]).env(FOLDER, folder);
    command
}

/// The path as libtest has it: without the crate.
fn in_crate(test: &str) -> &str {
    test.split_once("::").map_or(test, |(_, path)| path)
}

/// Runs the child of a test whose folder is a disk of `size` (as in `mount -o size=`), and returns
/// what it printed. The disk is in a mount namespace of the child's own, where the child may mount
/// more of them; that needs no root where the system lets users have namespaces. Elsewhere the test
/// is skipped.
///
/// # Panics
/// Where the child fails.
#[must_use]
pub fn on_small_disk(size: &str, test: &str) -> Option<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let name = in_crate(test);
    let inner = child(test, folder.path());
    let script = format!("mount -t tmpfs -o size={size} none \"${FOLDER}\" && exec \"$0\" \"$@\"");
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .arg(inner.get_program())
        .args(inner.get_args())
        .env(FOLDER, folder.path())
        .output();
    match output {
        Ok(Output { status, stdout, .. }) if status.success() => {
            Some(String::from_utf8_lossy(&stdout).into_owned())
        }
        Ok(Output { stdout, stderr, .. }) if stdout.is_empty() => {
            let said = String::from_utf8_lossy(&stderr);
            skip(name, &format!("no disk of its own: {}", said.trim()));
            None
        }
        Ok(Output { status, stdout, stderr }) => {
            let (out, said) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
            panic!("{name} failed, {status}\n{out}\n{said}")
        }
        Err(error) => {
            skip(name, &format!("unshare: {error}"));
            None
        }
    }
}
