//! Named places where a test may kill this process: before and after every durable write.
//!
//! `ROUNDELAY_FAILPOINT=NAME` aborts the process when it reaches the failpoint `NAME`, and
//! `NAME:3` when it reaches it for the third time. An abort is like `kill -9`: no destructor runs,
//! nothing is flushed. Unset, a failpoint costs one load and one branch. docs/failpoints.md lists
//! all of them, by program.

use std::env;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The variable that arms a failpoint.
pub const VARIABLE: &str = "ROUNDELAY_FAILPOINT";

struct Armed {
    name: String,
    hits_left: AtomicU64,
}

/// A failpoint: `failpoint!("blob.rename.before")`, or in parts where one of them is known only at
/// run time: `failpoint!("store", name, "before")` is `store.<name>.before`.
#[macro_export]
macro_rules! failpoint {
    ($($part:expr),+) => {
        $crate::failpoint::reach(&[$($part),+])
    };
}

/// Aborts if the failpoint whose parts these are is armed and its hits are used up.
pub fn reach(parts: &[&str]) {
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    if let Some(armed) = ARMED.get_or_init(|| env::var(VARIABLE).ok().map(|text| parse(&text))) {
        armed.reach(parts);
    }
}

impl Armed {
    fn reach(&self, parts: &[&str]) {
        if is_name(&self.name, parts) && self.hits_left.fetch_sub(1, Ordering::SeqCst) == 1 {
            crate::line::err(format_args!("failpoint {} reached: aborting", self.name));
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
#[must_use]
pub fn is_name(name: &str, parts: &[&str]) -> bool {
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
mod tests {
    use super::*;

    #[test]
    fn a_name_is_its_parts_joined_by_dots() {
        assert!(is_name("a.b.c", &["a.b.c"]));
        assert!(is_name("a.b.c", &["a", "b", "c"]));
        assert!(!is_name("a.b.c", &["a", "b"]));
        assert!(!is_name("a.b", &["a", "b", "c"]));
        assert!(!is_name("ab", &["a", "b"]));
    }

    #[test]
    fn the_count_after_the_colon_is_the_hit_that_aborts() {
        assert_eq!(parse("a.b:3").hits_left.into_inner(), 3);
        let armed = parse("a.b");
        assert_eq!((armed.name.as_str(), armed.hits_left.into_inner()), ("a.b", 1));
    }
}
