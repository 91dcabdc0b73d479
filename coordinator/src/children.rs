//! Tests of this crate run again as processes of their own: to be killed, or on a disk that is
//! full.
//!
//! The child is the same test, started once more by this same program: a test that needs one opens
//! with [`folder_of_child`], and where that says that this process is the child it does the child's
//! part and returns. So no test exists that only another one may run, and none passes for nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use self::skip::skip;

#[path = "../../tests/src/harness/skip.rs"]
#[allow(unreachable_pub, reason = "the file is public in the package that it belongs to")]
mod skip;

/// Where a child finds its data.
const FOLDER: &str = "ROUNDELAY_TEST_FOLDER";

/// The folder that [`child`] gave this process; none in the process that people start.
pub(crate) fn folder_of_child() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// The test of this path (`module_path!()` and its name) in a process of its own. A path that no
/// test has runs nothing: the caller sees that its child neither died nor spoke.
pub(crate) fn child(test: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--nocapture", in_crate(test)]).env(FOLDER, folder);
    command
}

/// The path as libtest has it: without the crate.
fn in_crate(test: &str) -> &str {
    test.split_once("::").map_or(test, |(_, path)| path)
}

/// Runs the child of a test whose folder is a disk of `size` (as in `mount -o size=`), and returns what it
/// printed. The disk is in a mount namespace of the child's own, which needs no root where the
/// system lets users have namespaces; elsewhere the test is skipped.
pub(crate) fn on_small_disk(size: &str, test: &str) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
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
        Ok(output) if output.status.code() == Some(0) => {
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(output) if output.stdout.is_empty() => {
            let said = String::from_utf8_lossy(&output.stderr);
            skip(name, &format!("no disk of its own: {}", said.trim()));
            None
        }
        Ok(failed) => panic!("{name} failed: {failed:?}"),
        Err(error) => {
            skip(name, &format!("unshare: {error}"));
            None
        }
    }
}
