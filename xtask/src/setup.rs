//! `setup`: the optional programs that some tests use. Nothing else in the repository needs root.

use std::process::Command;

use crate::run::{Outcome, succeed, works};

/// A Debian package, a command that shows it is there, and what uses it.
struct Optional {
    package: &'static str,
    program: &'static str,
    used_for: &'static str,
}

const OPTIONAL: &[Optional] = &[
    Optional {
        package: "chromium",
        program: "chromium",
        used_for: "opening the demo's report page",
    },
    Optional {
        package: "openssl",
        program: "openssl",
        used_for: "recomputing frozen signatures by other code",
    },
    Optional { package: "util-linux", program: "unshare", used_for: "disks that are full" },
];

/// Installs what is missing with apt-get.
pub(crate) fn setup() -> Outcome {
    let missing: Vec<&Optional> =
        OPTIONAL.iter().filter(|one| !works(one.program, &["--version"])).collect();
    if missing.is_empty() {
        note!("setup: every optional program is there");
        return Ok(());
    }
    for one in &missing {
        note!("setup: {} for {}", one.package, one.used_for);
    }
    if !works("apt-get", &["--version"]) {
        return Err("setup knows Debian's apt-get alone; install the programs above".to_owned());
    }
    let as_root = "setup needs root for apt-get; run it with sudo, or go without";
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["-qq", "-y"]).args(arguments);
        succeed(&mut command).map_err(|reason| format!("{reason} ({as_root})"))
    };
    apt(&["update"])?;
    let mut arguments = vec!["install", "--no-install-recommends"];
    arguments.extend(missing.iter().map(|one| one.package));
    apt(&arguments)
}
