//! Named places around every durable write where a test may kill this process or fill its disk.
//!
//! `ROUNDELAY_FAILPOINT=NAME` aborts the daemon when it reaches the failpoint `NAME`, and `NAME:3`
//! when it reaches it for the third time. An abort is like `kill -9`: no destructor runs, nothing is
//! flushed. Unset, a failpoint costs one load and one branch. Unit tests arm one for their own
//! thread instead ([`arm`]).
//!
//! docs/failpoints.md lists all of them.

use std::env;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The variable that arms a failpoint.
const VARIABLE: &str = "ROUNDELAY_FAILPOINT";

struct Armed {
    name: String,
    hits_left: AtomicU64,
}

/// Passes the place whose name these parts are, joined by dots. `Err` only in a unit test.
pub(crate) fn reached(parts: &[&str]) -> io::Result<()> {
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    if let Some(armed) = ARMED.get_or_init(|| env::var(VARIABLE).ok().map(|text| parse(&text))) {
        armed.reach(parts);
    }
    #[cfg(test)]
    in_thread::reach(parts)?;
    Ok(())
}

impl Armed {
    fn reach(&self, parts: &[&str]) {
        if is_name(&self.name, parts) && self.hits_left.fetch_sub(1, Ordering::SeqCst) == 1 {
            eprintln!("failpoint {} reached: aborting", self.name);
            std::process::abort();
        }
    }
}

fn parse(text: &str) -> Armed {
    let (name, hits) = match text.rsplit_once(':') {
        Some((name, hits)) => (name, hits.parse().unwrap_or(1)),
        None => (text, 1),
    };
    Armed { name: name.to_owned(), hits_left: AtomicU64::new(hits) }
}

/// Whether `name` is `parts` joined by dots; allocates nothing.
fn is_name(name: &str, parts: &[&str]) -> bool {
    let mut rest = Some(name);
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            rest = rest.and_then(|rest| rest.strip_prefix('.'));
        }
        rest = rest.and_then(|rest| rest.strip_prefix(part));
    }
    rest == Some("")
}

#[cfg(test)]
pub(crate) use in_thread::{Fault, arm, disarm};

#[cfg(test)]
mod in_thread {
    use std::cell::Cell;
    use std::io;

    use super::is_name;

    /// What happens at an armed place.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Fault {
        /// The disk is full.
        Full,
        /// The thread dies there, as a killed process would, and leaves the files as they stand.
        Kill,
    }

    thread_local! {
        static ARMED: Cell<Option<(&'static str, Fault)>> = const { Cell::new(None) };
    }

    /// From now on this thread meets `fault` at `name`, once.
    pub(crate) fn arm(name: &'static str, fault: Fault) {
        ARMED.set(Some((name, fault)));
    }

    /// Nothing is armed any more; says whether something still was, so that a test notices a name
    /// that no code reaches.
    pub(crate) fn disarm() -> bool {
        ARMED.take().is_some()
    }

    pub(super) fn reach(parts: &[&str]) -> io::Result<()> {
        match ARMED.get() {
            Some((armed, fault)) if is_name(armed, parts) => {
                ARMED.set(None);
                match fault {
                    Fault::Full => Err(io::ErrorKind::StorageFull.into()),
                    Fault::Kill => std::panic::panic_any(Fault::Kill),
                }
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_its_parts_joined_by_dots() {
        assert!(is_name("a.b.c", &["a.b.c"]) && is_name("a.b.c", &["a", "b", "c"]));
        assert!(!is_name("a.b.c", &["a", "b"]) && !is_name("a.b", &["a", "b", "c"]));
        assert!(!is_name("ab", &["a", "b"]));
    }

    #[test]
    fn the_count_after_the_colon_is_the_hit_that_aborts() {
        assert_eq!(parse("a.b:3").hits_left.into_inner(), 3);
        let armed = parse("a.b");
        assert_eq!((armed.name.as_str(), armed.hits_left.into_inner()), ("a.b", 1));
    }
}
