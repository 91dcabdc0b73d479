//! Named places around every durable write where a test may cut the power or fill the disk.
//!
//! In the daemon `ROUNDELAY_FAILPOINT=NAME:3` aborts the process when it reaches the place `NAME`
//! for the third time; unset, a place costs one load and one branch. In a unit test a thread arms
//! one name; when that thread reaches it, the write fails as it would on a full disk, or the thread
//! dies there as a killed process would, leaving the files as they stand.

#[cfg(not(test))]
pub(crate) use environment::reached;

#[cfg(not(test))]
mod environment {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Armed {
        name: String,
        hits_left: AtomicU64,
    }

    /// Passes a named place, or ends the process there where the environment says so.
    pub(crate) fn reached(name: &'static str) -> std::io::Result<()> {
        static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
        let armed = ARMED.get_or_init(|| std::env::var("ROUNDELAY_FAILPOINT").ok().map(parse));
        if let Some(armed) = armed
            && armed.name == name
            && armed.hits_left.fetch_sub(1, Ordering::SeqCst) == 1
        {
            eprintln!("failpoint {name} reached: aborting");
            std::process::abort();
        }
        Ok(())
    }

    fn parse(text: String) -> Armed {
        let split = text.rsplit_once(':');
        let counted = split.and_then(|(name, hits)| Some((name, hits.parse().ok()?)));
        let (name, hits) = counted.unwrap_or((&text, 1));
        Armed { name: name.to_owned(), hits_left: AtomicU64::new(hits) }
    }
}

#[cfg(test)]
pub(crate) use armed::{Fault, arm, disarm, reached};

#[cfg(test)]
mod armed {
    use std::cell::Cell;
    use std::io;

    /// What happens at an armed place.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Fault {
        /// The disk is full.
        Full,
        /// The process dies.
        Kill,
    }

    thread_local! {
        static ARMED: Cell<Option<(&'static str, Fault)>> = const { Cell::new(None) };
    }

    /// From now on this thread meets `fault` at `name`.
    pub(crate) fn arm(name: &'static str, fault: Fault) {
        ARMED.set(Some((name, fault)));
    }

    /// Nothing is armed any more; says whether something still was, so that a test notices a name
    /// that no code reaches.
    pub(crate) fn disarm() -> bool {
        ARMED.take().is_some()
    }

    pub(crate) fn reached(name: &'static str) -> io::Result<()> {
        match ARMED.get() {
            Some((armed, fault)) if armed == name => {
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
