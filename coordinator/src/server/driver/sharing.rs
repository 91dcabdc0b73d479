//! The vector that clients of one federation are being sent from its shelf: read once, and sent to
//! all of them from there, so that what it takes does not grow with their number.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use roundelay_crypto::digest::Digest;
use tokio::sync::Mutex;

use super::boundary::VectorSource;
use crate::blobs::Shelf;
use crate::store::StoreError;

#[cfg(test)]
mod tests;

/// The one vector that is shared now. Nobody keeps it but those who are being sent it.
#[derive(Default)]
pub(super) struct Sharing(Mutex<Option<(Digest, Weak<Vec<u8>>)>>);

/// One client's hold on it: the pieces that are on their way.
struct Hold(Arc<Vec<u8>>);

impl AsRef<[u8]> for Hold {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Sharing {
    /// A vector on its way out. While another one is shared, it is read for this client alone, a
    /// small part at a time: a client that takes its vector slowly has one be held, and not all.
    pub(super) async fn source(
        &self,
        shelf: &Shelf,
        blob: Digest,
    ) -> Result<VectorSource, StoreError> {
        let mut shared = self.0.lock().await;
        let held = shared.as_ref().and_then(|(name, whole)| Some((*name, whole.upgrade()?)));
        let whole = match held {
            Some((name, whole)) if name == blob => whole,
            Some(_) => return shelf.get(blob).await.map(VectorSource::from_blob),
            None => {
                // Whoever comes meanwhile waits for the same.
                let whole = Arc::new(shelf.read(blob).await?);
                *shared = Some((blob, Arc::downgrade(&whole)));
                whole
            }
        };
        Ok(VectorSource::from_memory(Bytes::from_owner(Hold(whole))))
    }
}
