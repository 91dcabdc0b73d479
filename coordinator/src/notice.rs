//! Signed notices: where a client is to go, or when it is to come back. A client follows one only
//! if it is signed by the notice key that enrolment pinned.

use std::sync::Arc;
use std::time::Duration;

use roundelay_crypto::identity::{IdentityKey, IdentityPublic};
use roundelay_crypto::secret::{Secret, Seed};
use roundelay_protocol::bounded::Text;
use roundelay_protocol::session::{Notice, SignedNotice, ToClient};

use crate::clock::now_unix_ms;

/// The installation's key for notices.
#[derive(Clone)]
pub struct NoticeKey(Arc<IdentityKey>);

impl NoticeKey {
    /// A new key.
    #[must_use]
    pub fn random() -> Self {
        Self::from_seed(Seed::new(rand::random()))
    }

    /// The key that [`to_secret`](Self::to_secret) wrote; none if the bytes are not one.
    #[must_use]
    pub fn from_secret(kept: &Secret<Vec<u8>>) -> Option<Self> {
        Seed::from_slice(kept.expose()).map(Self::from_seed)
    }

    fn from_seed(seed: Seed) -> Self {
        Self(Arc::new(IdentityKey::from_seed(seed)))
    }

    /// The key, for the store to seal.
    #[must_use]
    pub fn to_secret(&self) -> Secret<Vec<u8>> {
        Secret::new(self.0.seed().expose().to_vec())
    }

    /// What clients pin.
    #[must_use]
    pub fn public(&self) -> IdentityPublic {
        self.0.public()
    }

    /// Tells a client to come back after `wait`.
    #[must_use]
    pub fn retry_after(&self, wait: Duration) -> ToClient {
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        ToClient::RetryAfter(self.signed(Notice::RetryAfter(wait)))
    }

    /// Tells a client to connect to another `host:port` from now on.
    #[must_use]
    pub fn redirect(&self, to: &str) -> ToClient {
        ToClient::Redirect(self.signed(Notice::Redirect(Text::clipped(to))))
    }

    fn signed(&self, notice: Notice) -> SignedNotice {
        SignedNotice::new(notice, now_unix_ms(), &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_key_survives_the_store_and_its_notices_verify() {
        let key = NoticeKey::random();
        let kept = NoticeKey::from_secret(&key.to_secret()).unwrap();
        let ToClient::RetryAfter(notice) = kept.retry_after(Duration::from_secs(3)) else {
            panic!("not a RetryAfter");
        };
        assert_eq!(notice.notice, Notice::RetryAfter(3_000));
        assert_eq!(notice.verify(&key.public()), Ok(()));
        assert!(NoticeKey::from_secret(&Secret::new(vec![0; 31])).is_none());
    }
}
