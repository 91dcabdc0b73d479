//! Redirect and RetryAfter: obeyed only when the notice key that enrolment pinned signed them, and
//! only while they are fresh.

use std::time::Duration;

use roundelay_crypto::identity::IdentityPublic;
use roundelay_protocol::session::{Notice, SignedNotice};

/// A clock that differs by more than this from the coordinator's is refused; a notice that is older
/// or further ahead is stale.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(60 * 60);
/// The longest wait that a notice can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);

/// Where to go or how long to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obeyed {
    /// Connect to this `host:port` from now on.
    Redirect(String),
    /// Connect again after this long.
    RetryAfter(Duration),
}

/// Why a notice is not obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadNotice {
    /// The pinned key did not sign it.
    #[error("a redirect or retry notice is not signed by the pinned notice key; it is ignored")]
    Forged,
    /// It was signed too long ago, or before one that was obeyed.
    #[error("a redirect or retry notice is not fresh; it is ignored")]
    Stale,
    /// It names no address.
    #[error("a redirect notice names no host:port; it is ignored")]
    NoAddress,
}

/// Judges notices. Of two notices only the later one counts, so that an old one can't be replayed.
#[derive(Debug)]
pub struct Notices {
    key: IdentityPublic,
    newest_unix_ms: u64,
}

impl Notices {
    /// A judge who trusts `key` alone.
    #[must_use]
    pub fn new(key: IdentityPublic) -> Self {
        Self { key, newest_unix_ms: 0 }
    }

    /// What a notice asks for, if it is to be obeyed.
    ///
    /// # Errors
    /// It is forged, stale, or names no address.
    pub fn judge(&mut self, signed: &SignedNotice, now_unix_ms: u64) -> Result<Obeyed, BadNotice> {
        signed.verify(&self.key).map_err(|_| BadNotice::Forged)?;
        let age_ms = now_unix_ms.abs_diff(signed.unix_ms);
        let skew_ms = u64::try_from(CLOCK_SKEW_MAX.as_millis()).unwrap_or(u64::MAX);
        if age_ms > skew_ms || signed.unix_ms < self.newest_unix_ms {
            return Err(BadNotice::Stale);
        }
        let obeyed = match &signed.notice {
            Notice::Redirect(address) => Obeyed::Redirect(checked(address)?),
            Notice::RetryAfter(ms) => {
                Obeyed::RetryAfter(Duration::from_millis(*ms).min(RETRY_AFTER_MAX))
            }
        };
        self.newest_unix_ms = signed.unix_ms;
        Ok(obeyed)
    }
}

fn checked(address: &str) -> Result<String, BadNotice> {
    let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    let shaped = port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port != 0));
    let printable = address.chars().all(|c| c.is_ascii_graphic());
    if shaped && printable { Ok(address.to_owned()) } else { Err(BadNotice::NoAddress) }
}

#[cfg(test)]
mod tests {
    use roundelay_crypto::identity::IdentityKey;
    use roundelay_crypto::secret::Secret;
    use roundelay_protocol::bounded::Text;

    use super::*;

    const NOW: u64 = 1_800_000_000_000;
    const HOUR: u64 = 3_600_000;

    fn key(seed: u8) -> IdentityKey {
        IdentityKey::from_seed(Secret::new([seed; 32]))
    }

    fn redirect(unix_ms: u64) -> SignedNotice {
        SignedNotice::new(Notice::Redirect(Text::clipped("b.example:4433")), unix_ms, &key(1))
    }

    #[test]
    fn a_fresh_notice_of_the_pinned_key_is_obeyed() {
        let mut notices = Notices::new(key(1).public());
        assert_eq!(
            notices.judge(&redirect(NOW), NOW + 5),
            Ok(Obeyed::Redirect("b.example:4433".to_owned()))
        );
        let wait = SignedNotice::new(Notice::RetryAfter(2_500), NOW + 9, &key(1));
        assert_eq!(
            notices.judge(&wait, NOW + 10),
            Ok(Obeyed::RetryAfter(Duration::from_millis(2_500)))
        );
    }

    #[test]
    fn a_notice_of_another_key_or_changed_on_its_way_is_ignored() {
        let mut notices = Notices::new(key(2).public());
        assert_eq!(notices.judge(&redirect(NOW), NOW), Err(BadNotice::Forged));
        let mut notices = Notices::new(key(1).public());
        let notice = Notice::Redirect(Text::clipped("evil.example:4433"));
        let moved = SignedNotice { notice, ..redirect(NOW) };
        assert_eq!(notices.judge(&moved, NOW), Err(BadNotice::Forged));
    }

    #[test]
    fn an_old_notice_cannot_be_replayed() {
        let mut notices = Notices::new(key(1).public());
        assert_eq!(notices.judge(&redirect(NOW - HOUR - 1), NOW), Err(BadNotice::Stale));
        assert_eq!(notices.judge(&redirect(NOW + HOUR + 1), NOW), Err(BadNotice::Stale));
        notices.judge(&redirect(NOW), NOW).unwrap();
        assert_eq!(notices.judge(&redirect(NOW - 1), NOW), Err(BadNotice::Stale));
    }

    #[test]
    fn a_redirect_to_nowhere_is_ignored() {
        for address in ["", "host", "host:", ":1", "host:0", "host:70000", "a b:1", "h\n:1"] {
            let notice = SignedNotice::new(Notice::Redirect(Text::clipped(address)), NOW, &key(1));
            let mut notices = Notices::new(key(1).public());
            assert_eq!(notices.judge(&notice, NOW), Err(BadNotice::NoAddress), "{address}");
        }
    }

    #[test]
    fn no_notice_makes_a_client_wait_for_ever() {
        let notice = SignedNotice::new(Notice::RetryAfter(u64::MAX), NOW, &key(1));
        let mut notices = Notices::new(key(1).public());
        assert_eq!(notices.judge(&notice, NOW), Ok(Obeyed::RetryAfter(RETRY_AFTER_MAX)));
    }
}
