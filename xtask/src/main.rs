//! `cargo xtask`: the commands of this repository. Standard library only, so that it builds in
//! seconds on a fresh machine; it imports none of our crates and only runs things.

// First, for its macros.
#[macro_use]
#[path = "../../program/src/line.rs"]
#[allow(unreachable_pub, reason = "the file is public in the package that it belongs to")]
mod line;

mod bench;
mod build;
mod demo;
mod lint;
mod prerequisites;
mod provision;
mod run;
mod setup;
mod test;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask <command>

  demo [options]    train one model over five tenants' processes; `demo --help` lists the options
  test [filter]     every test of the workspace, with the time per crate and what was skipped
  bench NAME        one benchmark; --json prints one JSON object on the last line
  bench --list      the benchmarks there are
  setup             install the optional programs that some tests use (Debian, needs root)
  lint              rustfmt, clippy, and the builds without libtorch and without sockets
  deny              licences, advisories and sources of the dependencies; needs cargo-deny
  fmt               format the workspace
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &[][..]),
    };
    let outcome = match command {
        "demo" => {
            return line::finished(demo::demo(rest).unwrap_or_else(|reason| failed(&reason, rest)));
        }
        "test" => test::test(rest),
        "bench" => bench::bench(rest),
        "setup" => setup::setup(),
        "lint" => lint::lint(),
        "deny" => lint::dependencies(),
        "fmt" => lint::fmt(),
        "help" | "--help" | "-h" => {
            out!("{}", USAGE.trim_end());
            Ok(())
        }
        other => Err(format!("there is no command `{other}`; `cargo xtask help` lists them")),
    };
    line::finished(match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => failed(&reason, rest),
    })
}

/// Says why, to people or with `--output json` to programs, as the programs of the workspace do.
fn failed(reason: &str, arguments: &[String]) -> ExitCode {
    let json = arguments.windows(2).any(|pair| pair == ["--output", "json"])
        || arguments.iter().any(|argument| argument == "--output=json");
    if json {
        let message: String = reason.chars().map(escaped).collect();
        let (kind, code) = ("internal", "internal");
        note!(r#"{{"error":{{"kind":"{kind}","code":"{code}","message":"{message}"}}}}"#);
    } else {
        note!("error: {reason}");
    }
    ExitCode::FAILURE
}

/// A character inside a JSON string (RFC 8259, section 7).
fn escaped(character: char) -> String {
    match character {
        '"' | '\\' => format!("\\{character}"),
        control if control < ' ' => format!("\\u{:04x}", u32::from(control)),
        other => other.to_string(),
    }
}
