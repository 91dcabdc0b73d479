//! Tests of this crate run again as processes of their own: to be killed, or on a disk that is
//! full. A child is an ignored test, named by its path.

use std::path::Path;
use std::process::Command;

use self::skip::skip;

#[path = "../../tests/src/harness/skip.rs"]
#[allow(unreachable_pub, reason = "the file is public in the package that it belongs to")]
mod skip;

/// Where a child finds its data.
pub(crate) const FOLDER: &str = "ROUNDELAY_TEST_FOLDER";

/// The ignored test `name` in a process of its own.
pub(crate) fn child(name: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", name]).env(FOLDER, folder);
    command
}

/// Runs a child whose folder is a disk of `size` (as in `mount -o size=`), and returns what it
/// printed. The disk is in a mount namespace of the child's own, which needs no root where the
/// system lets users have namespaces; elsewhere the test is skipped.
pub(crate) fn on_small_disk(size: &str, name: &str) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let inner = child(name, folder.path());
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
