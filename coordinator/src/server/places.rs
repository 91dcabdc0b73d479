//! Places that newcomers take up, of which one address holds only so many at a time.
//!
//! There are two kinds. Whoever is in its handshake, or has shown a certificate and not said hello,
//! has one of `handshakes_max`. Whoever turns out to have no certificate gives that one back for one
//! of `enrolments_max`: however many strangers there are and however slow they are, they take no
//! place of an enrolled client.
//!
//! As in [`addresses`](super::addresses), attempts from addresses that prove nothing are counted
//! apart from those that do: whoever forges the address of another takes none of its places.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::addresses::Site;

/// Places of one kind.
pub struct Places {
    all: usize,
    of_one: u32,
    free: Arc<Semaphore>,
    held: Arc<Held>,
}

/// How many places each address holds that holds any: never more entries than there are places.
type Held = Mutex<HashMap<Holder, u32>>;

/// An address, and whether it was shown to be the sender's.
type Holder = (Site, bool);

/// One place, given back when it is dropped.
pub struct Place {
    holder: Holder,
    held: Arc<Held>,
    _permit: OwnedSemaphorePermit,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    /// All are taken.
    Full,
    /// This address holds as many as it may.
    Share,
}

impl Places {
    /// So many places, and so many of them for one address.
    #[must_use]
    pub fn new(all: u32, of_one: u32) -> Self {
        let all = all as usize;
        Self { all, of_one, free: Arc::new(Semaphore::new(all)), held: Arc::default() }
    }

    /// Places that are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.all.saturating_sub(self.free.available_permits())
    }

    /// A place for an attempt or a connection from `address`. `is_proven`: the address was shown to
    /// be the sender's.
    ///
    /// # Errors
    /// There is none.
    pub fn take(&self, address: IpAddr, is_proven: bool) -> Result<Place, NoPlace> {
        let permit = Arc::clone(&self.free).try_acquire_owned().map_err(|_| NoPlace::Full)?;
        let holder = (Site::of(address), is_proven);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.get(&holder).copied().unwrap_or(0);
        if count >= self.of_one {
            return Err(NoPlace::Share);
        }
        held.insert(holder, count + 1);
        Ok(Place { holder, held: Arc::clone(&self.held), _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match held.get_mut(&self.holder) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(held.remove(&self.holder)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_share_of_the_places_and_the_others_have_the_rest() {
        let places = Places::new(5, 2);
        let one = ip("192.0.2.1");
        let held = [places.take(one, true).unwrap(), places.take(one, true).unwrap()];
        assert_eq!(places.take(one, true).err(), Some(NoPlace::Share));
        assert_eq!(places.taken(), 2, "the refused one has given its place back");
        let other = [places.take(ip("192.0.2.2"), true), places.take(ip("192.0.2.2"), true)];
        let third = places.take(ip("192.0.2.3"), true).unwrap();
        assert!(other.iter().all(Result::is_ok));
        assert_eq!(places.take(ip("192.0.2.4"), true).err(), Some(NoPlace::Full));
        drop(third);
        drop(held);
        assert!(places.take(one, true).is_ok());
        drop(other);
        assert_eq!(places.taken(), 0);
        assert!(places.held.lock().unwrap().is_empty(), "nobody is remembered");
    }

    #[test]
    fn a_forged_address_takes_no_place_of_its_owner_and_an_ipv6_site_is_one_address() {
        let places = Places::new(8, 1);
        let _forged = places.take(ip("2001:db8::1"), false).unwrap();
        let _owner = places.take(ip("2001:db8::2"), true).unwrap();
        assert_eq!(places.take(ip("2001:db8::3"), true).err(), Some(NoPlace::Share));
        assert!(places.take(ip("2001:db8:0:1::3"), true).is_ok());
    }
}
