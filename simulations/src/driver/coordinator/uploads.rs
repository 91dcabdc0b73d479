//! Masked vectors on their way into the sums of the rounds that take them.

use std::collections::BTreeMap;
use std::sync::Arc;

use roundelay_coordinator::accumulator::{Accumulator, Chunks, Undo, Upload, UploadError};
use roundelay_protocol::ids::{ClientId, RoundNumber};

use super::Mail;
use crate::network::ConnectionId;
use crate::packet::Piece;

/// The rounds that take uploads, and the uploads under way.
#[derive(Default)]
pub(super) struct Uploads {
    desk: BTreeMap<RoundNumber, Arc<Accumulator>>,
    under_way: BTreeMap<(ConnectionId, u64), Stream>,
}

/// One stream with a vector.
enum Stream {
    Taken(Box<Upload>, Arc<Accumulator>),
    /// Refused or withdrawn: what else comes on it is passed over.
    Refused,
}

impl Uploads {
    pub(super) fn open(&mut self, round: RoundNumber, accumulator: Arc<Accumulator>) {
        self.desk.insert(round, accumulator);
    }

    pub(super) fn close(&mut self, round: RoundNumber) -> Option<Arc<Accumulator>> {
        self.desk.remove(&round)
    }

    pub(super) fn discard(&mut self, round: RoundNumber, client: ClientId) {
        if let Some(accumulator) = self.desk.get(&round) {
            accumulator.discard(client);
        }
    }

    pub(super) fn settle(&mut self, round: RoundNumber, client: ClientId) {
        if let Some(accumulator) = self.desk.get(&round) {
            accumulator.settle(client);
        }
    }

    /// Whether an upload went into the sum that the round has now.
    pub(super) fn takes(&self, round: RoundNumber, to: &Arc<Accumulator>) -> bool {
        self.desk.get(&round).is_some_and(|now| Arc::ptr_eq(now, to))
    }

    /// The streams of a connection go with it; what they had added is taken back.
    pub(super) fn drop_connection(&mut self, connection: ConnectionId) {
        self.under_way.retain(|(of, _), _| *of != connection);
    }

    /// The next piece of a vector; gives what the engine has to hear of it.
    pub(super) fn take(
        &mut self,
        (client, connection): (ClientId, ConnectionId),
        piece: Piece,
    ) -> Option<Mail> {
        let Piece { stream, round, bytes_total, words, is_last } = piece;
        let key = (connection, stream);
        if !self.under_way.contains_key(&key) {
            let (begun, mail) = self.begin(client, round, bytes_total);
            self.under_way.insert(key, begun);
            if mail.is_some() {
                return mail;
            }
        }
        let Some(Stream::Taken(upload, to)) = self.under_way.get_mut(&key) else { return None };
        let to = Arc::clone(to);
        if let Err(error) = upload.write(&words) {
            self.under_way.insert(key, Stream::Refused);
            return refused(client, round, error, to);
        }
        if !is_last {
            return None;
        }
        let Some(Stream::Taken(upload, _)) = self.under_way.remove(&key) else { return None };
        match upload.finish() {
            Ok(root) => Some(Mail::Uploaded { client, round, root, to }),
            Err(error) => refused(client, round, error, to),
        }
    }

    fn begin(&self, client: ClientId, round: RoundNumber, bytes: u64) -> (Stream, Option<Mail>) {
        let Some(accumulator) = self.desk.get(&round) else { return (Stream::Refused, None) };
        match accumulator.begin(client, bytes, Undo::in_memory(&Chunks::default(), ())) {
            Ok(upload) => (Stream::Taken(Box::new(upload), Arc::clone(accumulator)), None),
            Err(error) => (Stream::Refused, refused(client, round, error, Arc::clone(accumulator))),
        }
    }
}

/// Only a fault of the client is for the engine; everything else is nobody's.
fn refused(
    client: ClientId,
    round: RoundNumber,
    error: UploadError,
    to: Arc<Accumulator>,
) -> Option<Mail> {
    match error {
        UploadError::Fault(fault) => Some(Mail::Refused { client, round, fault, to }),
        _ => None,
    }
}
