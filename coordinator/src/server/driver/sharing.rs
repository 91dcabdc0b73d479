//! The vector that clients of one federation are being sent from its shelf: read once, and sent to
//! all of them from there, so that what it takes does not grow with their number.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use roundelay_crypto::digest::Digest;
use tokio::sync::Mutex;

use super::boundary::VectorSource;
use crate::accumulator::budget::{Budget, Hold};
use crate::blobs::Shelf;
use crate::store::StoreError;

#[cfg(test)]
mod tests;

/// The one vector that is shared now. Nobody keeps it but those who are being sent it.
#[derive(Default)]
pub(super) struct Sharing(Mutex<Option<(Digest, Weak<Whole>)>>);

/// The vector, and the room that it takes.
struct Whole {
    bytes: Vec<u8>,
    _room: Hold,
}

/// What one client is being sent of it.
struct Sent(Arc<Whole>);

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl Sharing {
    /// A vector on its way out. While another one is shared, and where the budget has no room for
    /// it, it is read for this client alone, a small part at a time: a client that takes its vector
    /// slowly has one be held, and not all.
    pub(super) async fn source(
        &self,
        shelf: &Shelf,
        blob: Digest,
        budget: &Budget,
    ) -> Result<VectorSource, StoreError> {
        let mut shared = self.0.lock().await;
        let held = shared.as_ref().and_then(|(name, whole)| Some((*name, whole.upgrade()?)));
        let whole = match held {
            Some((name, whole)) if name == blob => whole,
            Some(_) => return shelf.get(blob).await.map(VectorSource::from_blob),
            None => {
                // Whoever comes meanwhile waits for the same.
                let reader = shelf.get(blob).await?;
                let Some(room) = budget.room(reader.bytes()).await else {
                    return Ok(VectorSource::from_blob(reader));
                };
                let whole = Arc::new(Whole { bytes: reader.whole().await?, _room: room });
                *shared = Some((blob, Arc::downgrade(&whole)));
                whole
            }
        };
        Ok(VectorSource::from_memory(Bytes::from_owner(Sent(whole))))
    }
}
