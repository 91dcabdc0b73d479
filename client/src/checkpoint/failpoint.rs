//! Named places around every durable write where a test may cut the power or fill the disk.
//!
//! Outside tests [`reached`] is empty and costs nothing. In a test a thread arms one name; when
//! that thread reaches it, the write fails as it would on a full disk, or the thread dies there as
//! a killed process would, leaving the files as they stand.

/// Passes a named place. `Err` only in a test that armed the name.
#[cfg(not(test))]
#[inline]
pub(crate) fn reached(_name: &'static str) -> std::io::Result<()> {
    Ok(())
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
