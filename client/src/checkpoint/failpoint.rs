//! The failpoints of [`roundelay_program::failpoint`] around every durable write. Here a unit test
//! may also arm one for its own thread ([`arm`]): it is killed there alone, or its disk is full.

use std::io;

/// Passes the place whose name these parts are, joined by dots. `Err` only in a unit test.
pub(crate) fn reached(parts: &[&str]) -> io::Result<()> {
    roundelay_program::failpoint::reach(parts);
    #[cfg(test)]
    in_thread::reach(parts)?;
    Ok(())
}

#[cfg(test)]
pub(crate) use in_thread::{Fault, arm, disarm};

#[cfg(test)]
mod in_thread {
    use std::cell::Cell;
    use std::io;

    use roundelay_program::failpoint::is_name;

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
