//! The client that is lied to: what it is told in a round, on the control stream and in rosters.

use quinn::{Connection, RecvStream, SendStream};
use roundelay_protocol::codec::{self, FrameReader};
use roundelay_protocol::ids::{ClientId, FederationId, RoundNumber};
use roundelay_protocol::limits::{FRAME_BYTES_MAX, ROSTER_ITEM_BYTES_MAX};
use roundelay_protocol::message::ToClient as InRound;

use roundelay_protocol::session::{Assembler, Roster, RosterKind, StreamHeader, ToClient};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::proxy::PIECE_BYTES;

/// What this client is told in place of a message of a round.
pub(super) type Lie = Box<dyn FnMut(ClientId, RoundNumber, InRound) -> Vec<InRound> + Send>;

/// Bytes of a stream to it at most: the models are small.
const STREAM_BYTES_MAX: usize = 16 << 20;

pub(super) struct Victim {
    id: ClientId,
    lie: Lie,
}

type Arrived = (RoundNumber, RosterKind, InRound);

impl Victim {
    pub(super) fn new(id: ClientId, lie: Lie) -> Self {
        Self { id, lie }
    }

    pub(super) async fn lied_to(
        self,
        client: &Connection,
        server: &Connection,
        from: RecvStream,
        to: SendStream,
    ) {
        let (arrived, rosters) = unbounded_channel();
        tokio::join!(streams(server, client, arrived), self.control(client, from, to, rosters));
    }

    async fn control(
        mut self,
        client: &Connection,
        mut from: RecvStream,
        mut to: SendStream,
        mut rosters: UnboundedReceiver<Arrived>,
    ) {
        let (mut reader, mut early) = (FrameReader::new(FRAME_BYTES_MAX), Vec::new());
        while let Ok(Some(piece)) = from.read_chunk(PIECE_BYTES, true).await {
            let mut bytes = &piece.bytes[..];
            while let Some(body) = reader.read(&mut bytes).expect("frames") {
                match codec::decode(&body, FRAME_BYTES_MAX).expect("a message") {
                    ToClient::Round { federation, round, message } => {
                        for message in (self.lie)(self.id, round, message) {
                            let message = ToClient::Round { federation, round, message };
                            send(&mut to, &message).await;
                        }
                    }
                    ToClient::RosterFollows { federation, round, kind } => {
                        let roster = wait_for(&mut rosters, &mut early, round, kind).await;
                        for message in (self.lie)(self.id, round, roster) {
                            send(&mut to, &ToClient::RosterFollows { federation, round, kind })
                                .await;
                            send_roster(client, federation, round, message).await;
                        }
                    }
                    message => send(&mut to, &message).await,
                }
            }
        }
    }
}

/// The roster that belongs here; others may have arrived before it.
async fn wait_for(
    rosters: &mut UnboundedReceiver<Arrived>,
    early: &mut Vec<Arrived>,
    round: RoundNumber,
    kind: RosterKind,
) -> InRound {
    loop {
        let found = early.iter().position(|arrived| (arrived.0, arrived.1) == (round, kind));
        if let Some(found) = found {
            return early.remove(found).2;
        }
        early.push(rosters.recv().await.expect("the roster that was announced"));
    }
}

/// A connection that is gone ends the proxy's part elsewhere.
async fn send(to: &mut SendStream, message: &ToClient) {
    let frame = codec::frame(&codec::encode(message), FRAME_BYTES_MAX).expect("a frame");
    let _ = to.write_all(&frame).await;
}

async fn send_roster(
    client: &Connection,
    federation: FederationId,
    round: RoundNumber,
    message: InRound,
) {
    let roster = Roster::from_coordinator(message).expect("a roster");
    let frames = roster.to_frames(federation, round).expect("frames").concat();
    send_stream(client, &frames).await;
}

async fn send_stream(client: &Connection, bytes: &[u8]) {
    if let Ok(mut stream) = client.open_uni().await {
        let _ = stream.write_all(bytes).await;
        let _ = stream.finish();
    }
}

/// Rosters wait for their place among the messages; vectors go on at once.
async fn streams(server: &Connection, client: &Connection, arrived: UnboundedSender<Arrived>) {
    while let Ok(mut stream) = server.accept_uni().await {
        let (client, arrived) = (client.clone(), arrived.clone());
        tokio::spawn(async move {
            let Ok(bytes) = stream.read_to_end(STREAM_BYTES_MAX).await else { return };
            match roster(&bytes) {
                Some(roster) => drop(arrived.send(roster)),
                None => send_stream(&client, &bytes).await,
            }
        });
    }
}

fn roster(mut bytes: &[u8]) -> Option<Arrived> {
    let mut reader = FrameReader::new(FRAME_BYTES_MAX);
    let header = reader.read(&mut bytes).expect("frames").expect("a header");
    let header = codec::decode(&header, FRAME_BYTES_MAX).expect("a header");
    let StreamHeader::Roster { round, kind, items, .. } = header else { return None };
    let mut assembler = Assembler::new(kind, items).expect("a roster");
    reader.set_limit(ROSTER_ITEM_BYTES_MAX);
    while let Some(item) = reader.read(&mut bytes).expect("frames") {
        assembler.push(&item).expect("an entry");
    }
    let roster = assembler.finish().expect("a roster").into_to_client();
    Some((round, kind, roster.expect("a roster to a client")))
}
